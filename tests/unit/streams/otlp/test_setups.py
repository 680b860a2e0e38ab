"""Golden exports of real set-ups: rows are calls, tokens the server's, and costs the provider's formula."""

import json
from random import Random
from typing import Any

import pytest
from barograph import parse_contract

from barograph_server.streams.otlp.nesting import NestedCalls
from barograph_server.streams.otlp.rejection import SpanOutcome, ValueReason
from barograph_server.streams.otlp.run import ContractCosts
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.registry.registry import Registry
from tests.support import otlp
from tests.support.otlp import CALL, SETUPS, as_json, export_of, exports, make_ingest, predictions, span

KINDS = {"embeddings": "embeddings", "generations": "images", "transcriptions": "audio", "speech": "audio"}
"""The end of a path → what the model is called for, if not for text."""
PRICES = """
  - {version: "*gpt-4o-transcribe", input: 2.5, output: 10}
  - {version: "*gpt-4o*", input: 2.5, cached_input: 1.25, output: 10}
  - {version: "*claude*", input: 3, cached_input: 0.3, cache_write: 3.75, output: 15}
  - {version: "gemini*", input: 0.3, cached_input: 0.03, output: 2.5}
  - {version: "text-embedding-3-small", input: 0.02}
  - {version: "gpt-image-1", input: 5, output: 40}
"""
MODELS = ("support-bot", *sorted(set(KINDS.values())))
CONTRACTS = {name: parse_contract(f"contract: 1\nmodel: {name}\nprices:{PRICES}") for name in MODELS}
ASSIGNED = OtlpSettings(models=", ".join(f"support-bot/{name}={name}" for name in MODELS[1:]))
NO_SPAN = {
    "anthropic-mlflow": {"stream manager"},
    "anthropic-openllmetry": {"cut"},
    "anthropic-openlit": {"cut"},
    "bedrock-openllmetry": {"cut"},
    "langchain-openinference": {"embeddings"},
    "litellm-otel": {"cut"},
    "openai-genai": {"image", "transcription", "speech"},
    "openai-langfuse": {"image", "transcription", "speech"},
    "openai-mlflow": {"cut", "image", "transcription", "speech"},
    "openai-openlit": {"cut"},
    "openai-openllmetry": {"image", "transcription", "speech"},
    "vercel-ai": {"cut"},
}
"""Calls that a set-up describes by no span, or not as a call of a model."""
NO_TOKENS = {
    "anthropic-mlflow": {"stream"},
    "anthropic-openllmetry": {"stream"},
    "anthropic-openlit": {"stream", "stream manager"},
    "dspy": {"plain"},
}
"""Calls whose tokens a set-up does not report, or reports wrong: the latter are published as estimated."""
ONE_TOO_MANY = {("anthropic-openllmetry", "stream manager")}
"""Calls whose output tokens are wrong, and nothing in the span says so."""
NO_CACHED_TOKENS = {"haystack", "semantic-kernel", "smolagents"}


def usage_of(call: dict[str, Any]) -> dict[str, float]:
    """Return the tokens of a call in Barograph's names, from the usage in the provider's form."""
    usage = call.get("usage", {})
    if "promptTokenCount" in usage:
        counts = usage["promptTokenCount"], usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
        return tokens(*counts, usage["cachedContentTokenCount"], 0)
    for names in (
        ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
        ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    ):
        if names[2] in usage:
            n_input, n_output, *parts = (usage[name] for name in names)
            return tokens(n_input + sum(parts), n_output, *parts)
    details = usage.get("prompt_tokens_details", usage.get("input_tokens_details", {}))
    counts = (
        usage.get("prompt_tokens", usage.get("input_tokens")),
        usage.get("completion_tokens", usage.get("output_tokens", 0)),
    )
    return tokens(*counts, details.get("cached_tokens", 0), 0)


def tokens(n_input: Any, n_output: Any, n_cached: int, n_written: int) -> dict[str, float]:
    names = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_input_tokens")
    return dict(zip(names, (n_input, n_output, n_cached, n_written), strict=True))


def formula(model: str, used: dict[str, float]) -> float:
    """The providers' own: each kind of tokens times its price."""
    price = next(
        prices
        for name, prices in {
            "gpt-4o-transcribe": (2.5, 2.5, 2.5, 10),
            "gpt-4o": (2.5, 1.25, 2.5, 10),
            "claude": (3, 0.3, 3.75, 15),
            "gemini": (0.3, 0.03, 0.3, 2.5),
            "text-embedding": (0.02, 0.02, 0.02, 0),
            "gpt-image": (5, 5, 5, 40),
        }.items()
        if name in model
    )
    cached, written = used["cached_input_tokens"], used["cache_write_input_tokens"]
    counts = (used["input_tokens"] - cached - written, cached, written, used["output_tokens"])
    return sum(n * each for n, each in zip(counts, price, strict=True)) / 1e6


@pytest.mark.parametrize("name", SETUPS)
def test_rows_are_calls_with_the_tokens_of_the_server_and_the_costs_of_the_provider(name: str) -> None:
    ingest = make_ingest(otlp=ASSIGNED, steps=[ContractCosts(lambda: Registry(contracts=CONTRACTS)).add_cost])
    events = predictions(exports(name), ingest=ingest)
    calls = json.loads((otlp.FOLDER / f"{name}.truth.json").read_text(encoding="utf-8"))
    calls = [call for call in calls if call["call"] not in NO_SPAN.get(name, ())]
    unknown_costs = 0
    for event, call in zip(events, calls, strict=True):
        assert event["model"] == KINDS.get(call["path"].rpartition("/")[2], "support-bot")
        metrics, used, label = event.get("metrics", {}), usage_of(call), call["call"]
        assert ("error" in event) == (call["status"] != 200), label
        assert "error" in event or call["model"].partition(".")[2] or call["model"] in event["version"], label
        has_tokens = used["input_tokens"] and label != "cut" and label not in NO_TOKENS.get(name, ())
        if not has_tokens or "input_tokens" not in metrics:
            assert not {"input_tokens", "output_tokens"} & metrics.keys(), label
            assert not metrics.get("cost_usd"), label
            assert not has_tokens or event["model"] != "support-bot", label
            continue
        if (name, label) in ONE_TOO_MANY:
            used["output_tokens"] += 1
        assert {each: metrics.get(each, used[each]) for each in used} == used, label
        if "cost_usd" not in metrics:
            unknown_costs += 1
        else:
            assert metrics["cost_usd"] == pytest.approx(formula(call["model"], used), rel=0.001), label
    assert ingest.not_observed["cost_usd", ValueReason.NO_CACHED_TOKENS] == unknown_costs
    assert (unknown_costs > 0) == (name in NO_CACHED_TOKENS)
    assert not any((ingest.unknown, ingest.unlisted, ingest.operations, ingest.rejected))


def test_calls_that_generate_no_text_need_a_model_of_their_own() -> None:
    ingest = make_ingest()
    models = {event["model"] for event in predictions(exports("openai-openlit"), ingest=ingest)}
    assert models == {"support-bot"}
    assert ingest.nested.outcomes[SpanOutcome.UNASSIGNED] == 4
    assert ingest.unassigned == {"support-bot/embeddings": 1, "support-bot/images": 1, "support-bot/audio": 2}


CHAIN, TOOL, AGENT = "CHAIN", "TOOL", "AGENT"
LANGCHAIN, LLMETRY = "opentelemetry.instrumentation.langchain", "opentelemetry.instrumentation.openai.v1"
INFERENCE, PYDANTIC = "openinference.instrumentation.openai", "pydantic-ai"


class Traffic:
    """Spans of agents, by exporter, and how many tokens each call has: a number of its own."""

    def __init__(self) -> None:
        self.calls = 0
        self.spans: dict[str, list[dict[str, Any]]] = {}

    def add(self, scope: str, trace: int, parent: str, at: tuple[float, float], **attributes: Any) -> str:
        span_id = f"{sum(map(len, self.spans.values())) + 1:x}"
        attributes = {name.replace("__", "."): value for name, value in attributes.items()}
        times = {"start_ms": at[0], "duration_ms": at[1] - at[0]}
        built = span(span_id, parent, trace_id=f"{trace:x}", attributes=attributes, **times)
        self.spans.setdefault(scope, []).append(built)
        return span_id

    def step(self, scope: str, kind: str, trace: int, parent: str, at: tuple[float, float]) -> str:
        return self.add(scope, trace, parent, at, openinference__span__kind=kind)

    def call(self, trace: int, parent: str, at: tuple[float, float], *scopes: str, has_id: bool = False) -> None:
        """Add a call that instrumentations describe, each inside of the one before, or side by side with an id."""
        self.calls += 1
        for i, scope in enumerate(scopes):
            usage = CALL | {"gen_ai.usage.input_tokens": 100 + self.calls, "gen_ai.usage.output_tokens": 1}
            usage |= {"gen_ai.response.id": f"r-{self.calls}"} if has_id else {}
            span_id = self.add(scope, trace, parent, (at[0] + i, at[1] - i), **usage)
            parent = parent if has_id else span_id

    def agent(self, trace: int, parent: str, at: float) -> None:
        """An agent with parallel calls, and a tool whose model call has a tool with model calls of its own."""
        agent = self.step(PYDANTIC, AGENT, trace, parent, (at, at + 2_000))
        self.call(trace, agent, (at + 10, at + 300), LANGCHAIN, LLMETRY)
        self.call(trace, agent, (at + 12, at + 200), INFERENCE)
        self.call(trace, agent, (at + 14, at + 190), PYDANTIC)
        self.call(trace, agent, (at + 16, at + 180), LANGCHAIN, INFERENCE, has_id=True)
        tool = self.step(INFERENCE, TOOL, trace, agent, (at + 400, at + 1_900))
        chain = self.step(LANGCHAIN, CHAIN, trace, tool, (at + 401, at + 1_800))
        self.call(trace, chain, (at + 410, at + 900), LANGCHAIN, LLMETRY)
        inner = self.step(PYDANTIC, TOOL, trace, chain, (at + 950, at + 1_500))
        self.call(trace, inner, (at + 960, at + 1_200), INFERENCE)
        self.call(trace, inner, (at + 961, at + 1_190), LANGCHAIN, LLMETRY)
        inner_agent = self.step(INFERENCE, AGENT, trace, inner, (at + 1_210, at + 1_410))
        self.call(trace, inner_agent, (at + 1_215, at + 1_310), PYDANTIC)
        self.call(trace, inner_agent, (at + 1_216, at + 1_300), LLMETRY)

    def exports(self, random: Random) -> list[dict[str, Any]]:
        """Each instrumentation's spans by their ends, in batches, which arrive in any order, some twice."""
        batches = []
        for scope, spans in self.spans.items():
            rest = sorted(spans, key=lambda each: int(each["endTimeUnixNano"]))
            while rest:
                n = random.randint(1, 40)
                batches.append(export_of(*rest[:n], scope=scope))
                rest = rest[n:]
        batches += random.sample(batches, len(batches) // 3)
        random.shuffle(batches)
        return batches


@pytest.mark.parametrize("seed", range(12))
def test_twenty_parallel_agents_with_nested_tools_and_four_instrumentations_lose_and_repeat_no_call(seed: int) -> None:
    random, traffic = Random(seed), Traffic()
    for i in range(20):
        # Half of the agents are in one trace, under a span that does not end while they run.
        traffic.agent(*((1, "ffff") if i % 2 else (i + 2, "")), at=random.uniform(0, 300))
    now_s = 0.0
    ingest = make_ingest(nested=NestedCalls(OtlpSettings(), clock=lambda: now_s))
    rows: list[bytes] = []
    for export in traffic.exports(random):
        rows += ingest.add(ingest.json.decode(as_json(export)), otlp.RECEIVED_MS)[0]
        now_s += random.choice([0.0, 3.0])  # some waits end before the spans around arrive
        rows += ingest.expire()
    rows += ingest.release()
    counted = sorted(json.loads(row)["metrics"]["input_tokens"] for row in rows)
    assert counted == [100 + i for i in range(1, traffic.calls + 1)]
