"""Records golden files of spans, tests/golden/otlp: `python tests/instrumentations/record.py [NAME …]`.

Each set-up of `SETUPS` has its own environment and calls `provider.py`. NAME.jsonl gets its export requests,
NAME.truth.json what the server answered.
"""

import asyncio
import base64
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import provider

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "golden" / "otlp"
FIRST_NS = 1_795_792_000_000_000_000
"""When the first span begins: times are moved, so that all golden files have the same."""
EXPORTER = "opentelemetry-exporter-otlp-proto-http==1.45.*"
OPENAI, ANTHROPIC, BOTO = "openai==3.57.0", "anthropic==2.15.0", "boto3==1.44.8"
SETUPS: dict[str, tuple[str, ...]] = {
    "openai-genai": (OPENAI, "opentelemetry-instrumentation-genai-openai==1.3b0"),
    "openai-openllmetry": (OPENAI, "opentelemetry-instrumentation-openai==0.62.4"),
    "openai-openinference": (OPENAI, "openinference-instrumentation-openai==0.1.66"),
    "openai-openlit": ("openai==2.54.0", "openlit==1.45.0"),
    "openai-langfuse": (OPENAI, "langfuse==5.2.0"),
    "openai-mlflow": (OPENAI, "mlflow-skinny==3.17.2"),
    "openai-logfire": (OPENAI, "logfire==5.4.0"),
    "anthropic-openllmetry": ("anthropic==0.125.0", "opentelemetry-instrumentation-anthropic==0.62.4"),
    "anthropic-openinference": (ANTHROPIC, "openinference-instrumentation-anthropic==3.1.0"),
    "anthropic-openlit": ("anthropic==0.125.0", "openlit==1.45.0"),
    "anthropic-mlflow": (ANTHROPIC, "mlflow-skinny==3.17.2"),
    "bedrock-openllmetry": (BOTO, "opentelemetry-instrumentation-bedrock==0.62.4"),
    "bedrock-openinference": (BOTO, "openinference-instrumentation-bedrock==0.1.61"),
    "gemini-genai": ("google-genai==2.34.0", "opentelemetry-instrumentation-google-genai==1.3b0"),
    "langchain-openllmetry": (
        *("langchain==1.5.2", "langchain-openai==1.7.4", "opentelemetry-instrumentation-langchain==0.62.4"),
        "opentelemetry-instrumentation-openai==0.62.4",
    ),
    "langchain-openinference": (
        *("langchain==1.5.2", "langchain-openai==1.7.4", "openinference-instrumentation-langchain==0.1.80"),
    ),
    "llama-index-openinference": (
        *("llama-index-core==0.14.25", "llama-index-llms-openai==0.8.3", "llama-index-embeddings-openai==0.7.0"),
        "openinference-instrumentation-llama-index==4.6.1",
    ),
    "litellm-otel": ("litellm==1.110.2",),
    "litellm-openinference": ("litellm==1.110.2", "openinference-instrumentation-litellm==0.1.51"),
    "pydantic-ai-openai": ("pydantic-ai-slim[openai]==2.31.1",),
    "semantic-kernel": ("semantic-kernel==1.45.0",),
    "strands": ("strands-agents==1.62.0", BOTO),
    "openai-agents": ("openai-agents==0.24.0", "openinference-instrumentation-openai-agents==2.6.0"),
    "smolagents": ("smolagents[openai]==1.26.0", "openinference-instrumentation-smolagents==0.1.43"),
    "agno": ("agno==3.1.10", OPENAI, "openinference-instrumentation-agno==1.0.15"),
    "haystack": ("haystack-ai==3.4.1", "openinference-instrumentation-haystack==0.1.46"),
    "dspy": ("dspy==3.4.1", "openinference-instrumentation-dspy==0.1.48"),
    "vercel-ai": (),  # its packages are npm's
}
GPT, CLAUDE, EMBEDDER = "gpt-4o", "claude-sonnet-4-5", "text-embedding-3-small"
ASK, LONG = [{"role": "user", "content": "Hello?"}], [{"role": "user", "content": "A long answer?"}]
TOOLS = [{"type": "function", "function": provider.TOOL}]


def call(name: str, make: Callable[[], Any]) -> None:
    SERVER.call = name
    try:
        make()
    except Exception as error:
        print(f"  {name}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)


def drain(stream: Any) -> None:
    for _ in stream:
        pass


def tracer_provider() -> Any:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    built = TracerProvider()
    built.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(built)
    return built


def instrument(*names: str) -> Any:
    built = tracer_provider()
    for name in names:
        module, _, instrumentor = name.partition(":")
        getattr(importlib.import_module(module), instrumentor)().instrument(tracer_provider=built)
    return built


def openai_calls(client: Any = None) -> None:
    import openai

    client = client or openai.OpenAI(max_retries=0)
    chat, usage = client.chat.completions.create, {"stream": True, "stream_options": {"include_usage": True}}
    call("plain", lambda: chat(model=GPT, messages=ASK))
    call("stream", lambda: drain(chat(model=GPT, messages=ASK, **usage)))
    call("cut", lambda: cut(chat(model=GPT, messages=LONG, **usage)))
    call("error", lambda: chat(model="bad-model", messages=ASK))
    call("tool", lambda: chat(model=GPT, messages=ASK, tools=TOOLS))
    call("responses", lambda: client.responses.create(model=GPT, input="Hello?"))
    call("responses stream", lambda: drain(client.responses.create(model=GPT, input="Hello?", stream=True)))
    call("embeddings", lambda: client.embeddings.create(model=EMBEDDER, input=["a", "b"]))
    call("image", lambda: client.images.generate(model="gpt-image-1", prompt="a parcel"))
    recording = "a.wav", io.BytesIO(b"RIFF")
    call("transcription", lambda: client.audio.transcriptions.create(model="gpt-4o-transcribe", file=recording))
    call("speech", lambda: client.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="Hello."))


def cut(stream: Any) -> None:
    """Read three parts of a stream, and close it; of LiteLLM's, what it reads from."""
    for i, _ in enumerate(stream):
        if i == 2:
            break
    getattr(stream, "completion_stream", stream).close()


def anthropic_calls() -> None:
    import anthropic

    client = anthropic.Anthropic(api_key="none", base_url=SERVER.url, max_retries=0)
    create, common = client.messages.create, {"model": CLAUDE, "max_tokens": 99, "messages": ASK}

    def managed() -> None:
        with client.messages.stream(**common) as stream:
            stream.get_final_message()

    call("plain", lambda: create(**common))
    call("stream", lambda: drain(create(**common, stream=True)))
    call("stream manager", managed)
    call("cut", lambda: cut(create(**common | {"messages": LONG}, stream=True)))
    call("error", lambda: create(**common | {"model": "claude-bad"}))
    tool = {"name": "track", "description": "Where a parcel is.", "input_schema": provider.SCHEMA}
    call("tool", lambda: create(**common, tools=[tool]))


def instrumented(instrumentor: str, calls: Callable[[], None]) -> None:
    instrument(instrumentor)
    calls()


def openlit(calls: Callable[[], None]) -> None:
    import openlit

    openlit.init(disable_metrics=True, disable_batch=True)
    calls()


def langfuse() -> None:
    built = tracer_provider()
    from langfuse import Langfuse
    from langfuse.openai import OpenAI

    Langfuse(public_key="pk", secret_key="sk", host=SERVER.url, tracer_provider=built)
    openai_calls(OpenAI(max_retries=0))


def mlflow(flavor: str, calls: Callable[[], None]) -> None:
    importlib.import_module(f"mlflow.{flavor}").autolog()
    calls()


def logfire() -> None:
    import logfire
    import openai

    logfire.configure(send_to_logfire=False, console=False)
    client = openai.OpenAI(max_retries=0)
    logfire.instrument_openai(client)
    openai_calls(client)
    logfire.force_flush()


def bedrock(instrumentor: str) -> None:
    instrument(instrumentor)
    import boto3

    client = boto3.client("bedrock-runtime", endpoint_url=SERVER.url, region_name="us-east-1")
    ask = [{"role": "user", "content": [{"text": "Hello?"}]}]
    common = {"modelId": "anthropic.claude-sonnet-4-5-v1:0", "messages": ask}
    call("plain", lambda: client.converse(**common))
    call("stream", lambda: drain(client.converse_stream(**common)["stream"]))
    call("cut", lambda: cut(client.converse_stream(**common | {"system": [{"text": "a long answer"}]})["stream"]))
    call("error", lambda: client.converse(**common | {"modelId": "claude-bad"}))
    spec = {"name": "track", "description": "Where a parcel is.", "inputSchema": {"json": provider.SCHEMA}}
    call("tool", lambda: client.converse(**common, toolConfig={"tools": [{"toolSpec": spec}]}))


def gemini() -> None:
    instrument("opentelemetry.instrumentation.google_genai:GoogleGenAiSdkInstrumentor")
    from google import genai

    client = genai.Client(api_key="none", http_options={"base_url": SERVER.url})
    models = client.models
    call("plain", lambda: models.generate_content(model="gemini-2.5-flash", contents="Hello?"))
    call("stream", lambda: drain(models.generate_content_stream(model="gemini-2.5-flash", contents="Hello?")))
    call("cut", lambda: cut(models.generate_content_stream(model="gemini-2.5-flash", contents="A long answer?")))
    call("error", lambda: models.generate_content(model="bad-model", contents="Hello?"))


def langchain(*instrumentors: str) -> None:
    instrument(*instrumentors)
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    model = ChatOpenAI(model=GPT, max_retries=0, stream_usage=True)
    call("plain", lambda: model.invoke("Hello?"))
    call("stream", lambda: drain(model.stream("Hello?")))
    call("cut", lambda: cut(model.stream("A long answer?")))
    call("error", lambda: ChatOpenAI(model="bad-model", max_retries=0).invoke("Hello?"))
    call("agent", lambda: create_agent(model, [track]).invoke({"messages": ASK}))
    call("embeddings", lambda: OpenAIEmbeddings(model=EMBEDDER, check_embedding_ctx_length=False).embed_query("a"))


def track(parcel: str) -> str:
    """Where a parcel is.

    Args:
        parcel: its number.
    """
    return "in Bern"


def llama_index() -> None:
    instrument("openinference.instrumentation.llama_index:LlamaIndexInstrumentor")
    from llama_index.core.llms import ChatMessage
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.llms.openai import OpenAI

    common: dict[str, Any] = {"max_retries": 0, "api_base": os.environ["OPENAI_BASE_URL"]}
    model = OpenAI(model=GPT, additional_kwargs={"stream_options": {"include_usage": True}}, **common)
    plain = OpenAI(model=GPT, **common)
    call("plain", lambda: plain.chat([ChatMessage(content="Hello?")]))
    call("stream", lambda: drain(model.stream_chat([ChatMessage(content="Hello?")])))
    call("cut", lambda: cut(model.stream_chat([ChatMessage(content="A long answer?")])))
    call("error", lambda: OpenAI(model="gpt-4", **common).chat([ChatMessage(content="Hello?")]))
    call("embeddings", lambda: OpenAIEmbedding(model=EMBEDDER, **common).get_text_embedding("a"))


def litellm(*instrumentors: str) -> None:
    if instrumentors:
        instrument(*instrumentors)
    import litellm

    if not instrumentors:
        litellm.callbacks = ["otel"]
    common = {"model": f"openai/{GPT}", "messages": ASK, "max_retries": 0}
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    call("plain", lambda: litellm.completion(**common))
    call("stream", lambda: drain(litellm.completion(**common, **usage)))
    call("cut", lambda: cut(litellm.completion(**common | {"messages": LONG}, **usage)))
    call("error", lambda: litellm.completion(**common | {"model": "openai/bad-model"}))
    call("tool", lambda: litellm.completion(**common, tools=TOOLS))
    call("embeddings", lambda: litellm.embedding(model=f"openai/{EMBEDDER}", input=["a"], encoding_format="float"))
    claude = {"model": f"anthropic/{CLAUDE}", "api_base": SERVER.url, "api_key": "none"}
    call("claude", lambda: litellm.completion(**common | claude))


def pydantic_ai() -> None:
    built = tracer_provider()
    from pydantic_ai import Agent
    from pydantic_ai.models.instrumented import InstrumentationSettings
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

    Agent.instrument_all(InstrumentationSettings(tracer_provider=built))
    call("agent", lambda: Agent(OpenAIChatModel(GPT), tools=[track]).run_sync("Hello?"))
    call("responses", lambda: Agent(OpenAIResponsesModel(GPT)).run_sync("Hello?"))

    async def stream() -> None:
        async with Agent(OpenAIChatModel(GPT)).run_stream("Hello?") as result:
            await result.get_output()

    call("stream", lambda: asyncio.run(stream()))
    call("error", lambda: Agent(OpenAIChatModel("bad-model"), retries=0).run_sync("Hello?"))


def semantic_kernel() -> None:
    os.environ["SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS"] = "true"
    tracer_provider()
    from openai import AsyncOpenAI
    from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
    from semantic_kernel.contents import ChatHistory

    def service(model: str) -> Any:
        return OpenAIChatCompletion(model, async_client=AsyncOpenAI(max_retries=0))

    history = ChatHistory()
    history.add_user_message("Hello?")
    options = OpenAIChatPromptExecutionSettings()

    async def stream() -> None:
        async for _ in service(GPT).get_streaming_chat_message_content(history, options):
            pass

    call("plain", lambda: asyncio.run(service(GPT).get_chat_message_content(history, options)))
    call("stream", lambda: asyncio.run(stream()))
    call("error", lambda: asyncio.run(service("bad-model").get_chat_message_content(history, options)))


def strands() -> None:
    tracer_provider()
    import boto3
    from strands import Agent, tool
    from strands.models import BedrockModel

    def agent(**options: Any) -> Any:
        os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = SERVER.url
        model = BedrockModel(boto_session=boto3.Session(region_name="us-east-1"), **options)
        return Agent(model=model, tools=[tool(track)], callback_handler=None)

    call("agent", lambda: agent(model_id="anthropic.claude-sonnet-4-5-v1:0")("Hello?"))
    call("error", lambda: agent(model_id="claude-bad")("Hello?"))


def openai_agents() -> None:
    instrument("openinference.instrumentation.openai_agents:OpenAIAgentsInstrumentor")
    from agents import Agent, Runner, function_tool

    call("agent", lambda: Runner.run_sync(Agent(name="bot", model=GPT, tools=[function_tool(track)]), "Hello?"))
    call("error", lambda: Runner.run_sync(Agent(name="bot", model="bad-model"), "Hello?"))


def smolagents() -> None:
    instrument("openinference.instrumentation.smolagents:SmolagentsInstrumentor")
    from smolagents import OpenAIModel, ToolCallingAgent, tool

    call("plain", lambda: OpenAIModel(model_id=GPT)(ASK))
    agent = ToolCallingAgent([tool(track)], OpenAIModel(model_id=GPT), max_steps=1, verbosity_level=0)
    call("agent", lambda: agent.run("Hello?"))
    call("error", lambda: OpenAIModel(model_id="bad-model")(ASK))


def agno() -> None:
    instrument("openinference.instrumentation.agno:AgnoInstrumentor")
    from agno.agent import Agent
    from agno.models.openai import OpenAIChat

    call("agent", lambda: Agent(model=OpenAIChat(id=GPT), tools=[track], telemetry=False).run("Hello?"))
    call("stream", lambda: drain(Agent(model=OpenAIChat(id=GPT), telemetry=False).run("Hello?", stream=True)))
    call("error", lambda: Agent(model=OpenAIChat(id="bad-model", max_retries=0), telemetry=False).run("Hello?"))


def haystack() -> None:
    instrument("openinference.instrumentation.haystack:HaystackInstrumentor")
    from haystack import Pipeline
    from haystack.components.embedders import OpenAITextEmbedder
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage

    def run(component: Any, **inputs: Any) -> None:
        pipeline = Pipeline()
        pipeline.add_component("it", component)
        pipeline.run({"it": inputs})

    ask = [ChatMessage.from_user("Hello?")]
    call("plain", lambda: run(OpenAIChatGenerator(model=GPT, max_retries=0), messages=ask))
    call("error", lambda: run(OpenAIChatGenerator(model="bad-model", max_retries=0), messages=ask))
    call("embeddings", lambda: run(OpenAITextEmbedder(model=EMBEDDER, max_retries=0), text="a"))


def dspy() -> None:
    instrument("openinference.instrumentation.dspy:DSPyInstrumentor")
    import dspy

    call("plain", lambda: dspy.LM(f"openai/{GPT}", cache=False, num_retries=0)("Hello?"))
    call("error", lambda: dspy.LM("openai/bad-model", cache=False, num_retries=0)("Hello?"))


def vercel_ai() -> None:
    packages = ("ai@6.0.326", "@ai-sdk/openai@3.0.141", "@opentelemetry/sdk-node@0.223.0", "zod@4")
    subprocess.run(["npm", "install", "--silent", *packages], check=True)
    script = Path(shutil.copy(Path(__file__).with_name("vercel_ai.mjs"), Path.cwd()))
    subprocess.run(["node", script, SERVER.url], check=True)


LLMETRY, INFERENCE = "opentelemetry.instrumentation", "openinference.instrumentation"
RUNS: dict[str, Callable[[], None]] = {
    "openai-genai": partial(instrumented, f"{LLMETRY}.genai.openai:OpenAIInstrumentor", openai_calls),
    "openai-openllmetry": partial(instrumented, f"{LLMETRY}.openai:OpenAIInstrumentor", openai_calls),
    "openai-openinference": partial(instrumented, f"{INFERENCE}.openai:OpenAIInstrumentor", openai_calls),
    "openai-openlit": partial(openlit, openai_calls),
    "openai-langfuse": langfuse,
    "openai-mlflow": partial(mlflow, "openai", openai_calls),
    "openai-logfire": logfire,
    "anthropic-openllmetry": partial(instrumented, f"{LLMETRY}.anthropic:AnthropicInstrumentor", anthropic_calls),
    "anthropic-openinference": partial(instrumented, f"{INFERENCE}.anthropic:AnthropicInstrumentor", anthropic_calls),
    "anthropic-openlit": partial(openlit, anthropic_calls),
    "anthropic-mlflow": partial(mlflow, "anthropic", anthropic_calls),
    "bedrock-openllmetry": partial(bedrock, f"{LLMETRY}.bedrock:BedrockInstrumentor"),
    "bedrock-openinference": partial(bedrock, f"{INFERENCE}.bedrock:BedrockInstrumentor"),
    "gemini-genai": gemini,
    "langchain-openllmetry": partial(
        langchain, f"{LLMETRY}.langchain:LangchainInstrumentor", f"{LLMETRY}.openai:OpenAIInstrumentor"
    ),
    "langchain-openinference": partial(langchain, f"{INFERENCE}.langchain:LangChainInstrumentor"),
    "llama-index-openinference": llama_index,
    "litellm-otel": litellm,
    "litellm-openinference": partial(litellm, f"{INFERENCE}.litellm:LiteLLMInstrumentor"),
    "pydantic-ai-openai": pydantic_ai,
    **{each.__name__.replace("_", "-"): each for each in (semantic_kernel, strands, openai_agents, smolagents)},
    **{each.__name__.replace("_", "-"): each for each in (agno, haystack, dspy, vercel_ai)},
}


def record(name: str) -> None:
    os.environ |= {
        "OTEL_SERVICE_NAME": "support-bot",
        "OTEL_EXPORTER_OTLP_ENDPOINT": SERVER.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER": "otlp_http",  # LiteLLM's name
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental" if name in ("strands",) else "",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{SERVER.url}/v1",
        "OPENAI_AGENTS_DISABLE_TRACING": "0",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "DO_NOT_TRACK": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    RUNS[name]()
    time.sleep(4)  # some export in the background
    lines = [
        {"path": path, "body": otlp_json(body, kind)} for path, kind, body in SERVER.exports if path == "/v1/traces"
    ]
    text = moved("\n".join(map(json.dumps, lines)))
    (FOLDER / f"{name}.jsonl").write_text(f"{text}\n", encoding="utf-8")
    truth = "\n".join(f"  {json.dumps(each)}," for each in SERVER.truth).removesuffix(",")
    (FOLDER / f"{name}.truth.json").write_text(f"[\n{truth}\n]\n", encoding="utf-8")
    print(f"{name}: {len(SERVER.truth)} calls, {len(text):,} bytes")


def otlp_json(body: bytes, kind: str) -> Any:
    """Return an export request in OTLP/JSON, with only the resource's name and without stack traces."""
    if "json" in kind:
        parsed = json.loads(body)
    else:
        from google.protobuf.json_format import MessageToDict
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        parsed = MessageToDict(ExportTraceServiceRequest.FromString(body))
    for resource in parsed["resourceSpans"]:
        attributes = resource["resource"]["attributes"]
        resource["resource"]["attributes"] = [each for each in attributes if each["key"] == "service.name"]
        for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
            for each in (span, *span.get("links", [])):
                for key in ("traceId", "spanId", "parentSpanId"):
                    if each.get(key) and "json" not in kind:
                        each[key] = base64.b64decode(each[key]).hex()
            for event in span.get("events", []):
                attributes = event.get("attributes", [])
                event["attributes"] = [each for each in attributes if each["key"] != "exception.stacktrace"]
    return parsed


def moved(text: str) -> str:
    """Move all times so that the first span begins at `FIRST_NS`, and replace paths and the server's port."""
    offset_ns = FIRST_NS - min(map(int, re.findall(r'"startTimeUnixNano": "(\d+)"', text)))

    def move(match: re.Match[str]) -> str:
        at = datetime.fromisoformat(match[0]) + timedelta(microseconds=offset_ns // 1000)
        return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    text = re.sub(r'(?<=imeUnixNano": ")\d+', lambda match: str(int(match[0]) + offset_ns), text)
    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)", move, text)
    return re.sub(r"(/[\w.-]+)+/(?=[\w.-]+\.py)", "/app/", text).replace(SERVER.url, "http://127.0.0.1:8000")


if __name__ == "__main__":
    if sys.argv[1:2] == ["in-this-environment"]:
        SERVER = provider.Server()
        record(sys.argv[2])
        sys.stdout.flush()
        os._exit(0)
    for each in sys.argv[1:] or SETUPS:
        packages = [argument for package in (EXPORTER, *SETUPS[each]) for argument in ("--with", package)]
        program = ["python", __file__, "in-this-environment", each]
        with tempfile.TemporaryDirectory() as scratch:  # uv and some set-ups read files of the working folder
            command = [ROOT / "tools" / "uv", "run", "--no-project", "--quiet", *packages, *program]
            subprocess.run(command, check=True, cwd=scratch)
