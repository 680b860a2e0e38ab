"""Calls of a real server by the `openai` client, and what both measured: `calls.py NAME BASE_URL MODEL`.

Runs in the environment of the project NAME, whose instrumentation sends spans to OTEL_EXPORTER_OTLP_ENDPOINT: only one
can instrument a client, and they need different versions of it.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import openai

QUESTION = "How do I send back a parcel that arrived broken?"
SYSTEM = "You answer customers in one short sentence."
MAX_TOKENS = 24

INSTRUMENTORS = {
    "genai_openai": "opentelemetry.instrumentation.genai.openai",
    "openai_v2": "opentelemetry.instrumentation.openai_v2",
    "openinference": "openinference.instrumentation.openai",
    "openllmetry": "opentelemetry.instrumentation.openai",
}
"""Name → the module whose `OpenAIInstrumentor` takes a provider of OpenTelemetry's SDK."""


def instrument(name: str) -> Callable[[], object]:
    if name == "openlit":
        import openlit
        from opentelemetry import trace

        openlit.init(disable_metrics=True)
        return lambda: trace.get_tracer_provider().force_flush()
    # Not at the top: OpenLIT brings a provider of its own.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    importlib.import_module(INSTRUMENTORS[name]).OpenAIInstrumentor().instrument(tracer_provider=provider)
    return provider.force_flush


def main(name: str, base_url: str, model: str) -> None:
    """Make the calls, print what was measured as a JSON list, and flush the spans."""
    flush = instrument(name)
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    refused = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0)
    results = [
        _answer(client, model),
        _stream(client, model, usage=True),
        _stream(client, model, usage=False),
        _failure("too long", lambda: _create(client, model, messages=_messages("word " * 9000))),
        _failure("refused", lambda: _create(refused, model)),
    ]
    flush()
    print(json.dumps(results))


def _answer(client: Any, model: str) -> dict[str, Any]:
    began_s = time.perf_counter()
    answer = _create(client, model)
    seconds = time.perf_counter() - began_s
    return {"call": "answer", "seconds": seconds, "timings": answer.timings, "usage": answer.usage.model_dump()}


def _stream(client: Any, model: str, *, usage: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    began_s = time.perf_counter()
    first_s = timings = None
    for chunk in _create(client, model, stream=True, **options):
        if first_s is None and chunk.choices and chunk.choices[0].delta.content:
            first_s = time.perf_counter() - began_s
        timings = getattr(chunk, "timings", None) or timings
    seconds = time.perf_counter() - began_s
    name = "stream with usage" if usage else "stream"
    return {"call": name, "seconds": seconds, "first_token_s": first_s, "timings": timings}


def _failure(name: str, call: Callable[[], object]) -> dict[str, Any]:
    try:
        call()
    except openai.OpenAIError as error:
        return {"call": name, "error": type(error).__name__}
    raise AssertionError(f"{name}: the call did not fail")


def _create(client: Any, model: str, **options: Any) -> Any:
    options = {"messages": _messages(QUESTION), "max_tokens": MAX_TOKENS, "seed": 1, "temperature": 0.0} | options
    return client.chat.completions.create(model=model, **options)


def _messages(question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


if __name__ == "__main__":
    main(*sys.argv[1:])
