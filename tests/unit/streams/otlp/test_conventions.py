"""Spans of instrumentations that count or name differently: rows, tokens and costs are those of the provider."""

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from barograph import cost, parse_contract
from barograph.pricing import TokenCounts

from barograph_server.streams.otlp.ingest import IngestReport
from barograph_server.streams.otlp.rejection import SpanOutcome, ValueReason
from barograph_server.streams.otlp.run import ContractCosts
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.warehouse.operations import metrics
from tests.support.otlp import CALL, RECORDED, export_of, exports, make_ingest, predictions, span

CONTRACT = parse_contract("""
contract: 1
model: support-bot
prices:
  - {version: "gpt-4o-audio*", input: 2.5, input_audio: 40, output: 10, output_audio: 80, tiers: {batch: 0.5}}
  - {version: "gpt-4o*", input: 2.5, cached_input: 1.25, output: 10}
  - {version: "claude*", input: 3, cached_input: 0.3, cache_write: 3.75, output: 15}
  - {version: "text-embedding-3-small", input: 0.02}
""")
OPENAI = (200 * 2.5 + 800 * 1.25 + 50 * 10) / 1e6
"""The published formula for 1,000 input tokens, 800 of them cached, and 50 output tokens."""
ANTHROPIC = (100 * 3 + 900 * 0.3 + 200 * 3.75 + 50 * 15) / 1e6
"""The published formula for 100 input tokens, 900 read from the cache, 200 written to it, and 50 output tokens."""
COSTS = {
    "logfire": [OPENAI] * 3 + [ANTHROPIC],
    "langfuse": [OPENAI] * 3 + [ANTHROPIC],
    "pydantic-ai": [OPENAI] * 2,
    "anthropic": [ANTHROPIC],
}
DROPPED = {"logfire": {SpanOutcome.STREAM_START: 1}, "anthropic": {SpanOutcome.TWIN: 1}}


def cost_of(event: dict[str, Any]) -> float | None:
    tokens: Any = {name: event["metrics"][name] for name in TokenCounts.__annotations__ if name in event["metrics"]}
    tier = event["context"].get("service_tier")
    return cost(CONTRACT, event["version"], **tokens, service_tier=tier, at=datetime(2026, 11, 27, tzinfo=UTC))


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_calls_are_rows_with_the_costs_of_the_provider(name: str) -> None:
    ingest = make_ingest()
    events = predictions(exports(name), ingest=ingest)
    assert [cost_of(event) for event in events] == pytest.approx(COSTS[name])
    reported = [event["metrics"]["cost_usd"] for event in events if "cost_usd" in event["metrics"]]
    assert reported == pytest.approx(COSTS[name] if name in ("logfire", "pydantic-ai") else [])
    outcomes = {each: n for each, n in ingest.nested.outcomes.items() if each not in ("counted", "no-call", "step")}
    assert outcomes == DROPPED.get(name, {})
    assert not any((ingest.not_observed, ingest.unknown, ingest.unlisted, ingest.operations))


def test_streams_of_logfire_and_pydantic_ai_have_their_times() -> None:
    logged = predictions(exports("logfire"))[1]
    assert logged["context"]["stream"] == "true"
    assert logged["latency_ms"] == pytest.approx(66.799115)
    assert predictions(exports("pydantic-ai"))[1]["metrics"]["ttft_ms"] == pytest.approx(457.004178)
    # A request that failed has no log record: its span is the call.
    failed = span(attributes=CALL | {"error.type": "RateLimitError"}, status={"code": 2})
    assert [each["error"] for each in predictions([export_of(failed, scope="logfire.openai")])] == ["RateLimitError"]


CLAUDE = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-x"}
CACHED = {"gen_ai.usage.cache_read.input_tokens": 900, "gen_ai.usage.cache_creation.input_tokens": 200}
EXCLUSIVE = CLAUDE | CACHED | {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 50}


def test_langfuses_own_names_have_the_parts_beside_the_whole() -> None:
    """Hand-made after Langfuse's source."""
    usage = '{"input": 200, "input_cache_read": 800, "output": 30, "output_reasoning": 20}'
    members = {"type": "generation", "model.name": "gpt-4o", "usage_details": usage}
    attributes = {f"langfuse.observation.{name}": value for name, value in members.items()}
    (event,) = predictions([export_of(span(attributes=attributes), scope="langfuse-sdk")])
    assert cost_of(event) == pytest.approx(OPENAI)


DETAILS = (
    '{"prompt_tokens": 1000, "prompt_tokens_details": {"audio_tokens": 300}, '
    '"completion_tokens": 200, "completion_tokens_details": {"audio_tokens": 150}}'
)
BUCKETS = '{"input": 700, "input_audio": 300, "output": 50, "output_audio": 150}'


@pytest.mark.parametrize("tier", ["openai.response.service_tier", "gen_ai.openai.response.service_tier"])
@pytest.mark.parametrize(
    ("scope", "names", "values"),
    [
        ("pydantic-ai", "gen_ai.usage.{}_tokens gen_ai.usage.details.{}_audio_tokens", ("input", "output")),
        (
            "openinference.instrumentation.openai",
            "llm.token_count.{} llm.token_count.{}_details.audio",
            ("prompt", "completion"),
        ),
        ("langfuse-sdk", "langfuse.observation.usage_details", DETAILS),
        ("langfuse-sdk", "langfuse.observation.usage_details", BUCKETS),
    ],
)
def test_audio_and_batches_have_the_price_of_the_provider(scope: str, names: str, values: Any, tier: str) -> None:
    """The parts are in the whole, but for Langfuse's own names, which have them beside it."""
    call: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-audio-preview"}
    if isinstance(values, str):
        call[names] = values
    else:
        for side, counts in zip(values, ((1000, 300), (200, 150)), strict=True):
            call |= zip(names.format(side, side).split(), counts, strict=True)
    spans = [span("01", attributes=call), span("02", start_ms=1, attributes=call | {tier: "batch"})]
    published = (700 * 2.5 + 300 * 40 + 50 * 10 + 150 * 80) / 1e6
    events = predictions([export_of(*spans, scope=scope)])
    assert [cost_of(event) for event in events] == pytest.approx([published, published / 2])


def test_an_impossible_combination_is_counted_and_has_no_cost() -> None:
    ingest = make_ingest()
    reasoning = CALL | {"gen_ai.usage.output_tokens": 5, "gen_ai.usage.reasoning.output_tokens": 6}
    spans = [span("01", attributes=EXCLUSIVE), span("02", start_ms=1, attributes=reasoning)]
    cached, thought = predictions([export_of(*spans)], ingest=ingest)
    assert (cached["metrics"], cost_of(cached)) == ({"output_tokens": 50}, None)
    assert thought["metrics"] == {"input_tokens": 7}
    sides = "input_tokens", "output_tokens"
    assert ingest.not_observed == dict.fromkeys(((side, ValueReason.INCONSISTENT) for side in sides), 1)


BOTH_KINDS = {"gen_ai.usage.details.input_audio_tokens": 3, "gen_ai.usage.cache_read.input_tokens": 3}


@pytest.mark.parametrize(
    "attributes",
    [
        {"openai.response.service_tier": "flex"},
        {"gen_ai.openai.response.service_tier": "batch"},
        {"gen_ai.usage.details.input_audio_tokens": 3},
        {"llm.token_count.completion_details.audio": 1},
        # Cached tokens may be those of audio.
        {"gen_ai.request.model": "gpt-4o-audio", **BOTH_KINDS},
    ],
)
def test_tokens_without_a_price_in_the_contract_have_no_cost(attributes: dict[str, Any]) -> None:
    usage = {"gen_ai.request.model": "gpt-4o", "gen_ai.usage.output_tokens": 1}

    def priced(further: dict[str, Any]) -> tuple[dict[str, Any], dict[Any, int]]:
        add_cost = ContractCosts(lambda: Registry(contracts={"support-bot": CONTRACT})).add_cost
        ingest = make_ingest(steps=[add_cost])
        (event,) = predictions([export_of(span(attributes=CALL | usage | further))], ingest=ingest)
        return event["metrics"], dict(ingest.not_observed)

    assert "cost_usd" in priced({"openai.response.service_tier": "default"})[0]
    values, not_observed = priced(attributes)
    assert "cost_usd" not in values
    assert not_observed == {("cost_usd", ValueReason.NO_PRICE): 1}
    # What the instrumentation reports stays.
    assert priced(attributes | {"operation.cost": 0.5}) == ({**values, "cost_usd": 0.5}, {})
    assert cost(CONTRACT, "text-embedding-3-small", input_tokens=1_000_000) == 0.02


def test_operations_are_understood_or_counted_by_name() -> None:
    def outcome(attributes: dict[str, Any]) -> tuple[SpanOutcome, dict[str, int]]:
        ingest = make_ingest()
        predictions([export_of(span(attributes=attributes))], ingest=ingest)
        (each,) = ingest.nested.outcomes
        return each, dict(ingest.operations)

    for name in ("chat.completions", "text.completions", "text_completions", "converse", "converse_stream"):
        assert outcome(CALL | {"gen_ai.operation.name": name})[0] is SpanOutcome.COUNTED
    for name in ("invoke_agent", "execute_tool"):
        assert outcome(CALL | {"gen_ai.operation.name": name}) == (SpanOutcome.STEP, {})
    assert outcome(CALL | {"gen_ai.operation.name": "embeddings"}) == (SpanOutcome.UNASSIGNED, {})
    unknown = SpanOutcome.UNKNOWN_OPERATION
    assert outcome(CALL | {"gen_ai.operation.name": "video"}) == (unknown, {"video": 1})
    assert outcome({"gen_ai.request.model": "m"}) == (unknown, {"none": 1})
    assert outcome({"langfuse.observation.type": "new", "gen_ai.usage.input_tokens": 1}) == (unknown, {"new": 1})
    assert outcome({"gen_ai.operation.name": "new"}) == (SpanOutcome.NO_CALL, {})
    # A kind that says nothing leaves the decision to the operation.
    assert outcome(CALL | {"openinference.span.kind": "UNKNOWN"})[0] is SpanOutcome.COUNTED


def test_operations_that_are_not_understood_are_in_metrics_and_log(capsys: pytest.CaptureFixture[str]) -> None:
    ingest, report = make_ingest(), Report("otlp", "o-1")
    findings = IngestReport(ingest, report)
    video = CALL | {"gen_ai.operation.name": "video"}
    predictions([export_of(*(span(f"{i:02}", attributes=video) for i in range(1, 4)))], ingest=ingest)
    findings.update()
    assert report.values(metrics.SPANS) == {("unknown-operation",): 3}
    assert report.row().details["unknown_operations_total video"] == 3
    assert capsys.readouterr().out.count("video") == 1


@pytest.mark.parametrize(("version", "expected"), [("response", "gpt-4o-1"), ("request", "gpt-4o")])
def test_an_error_has_the_version_that_its_route_last_answered_with(version: Any, expected: str) -> None:
    ingest = make_ingest(otlp=OtlpSettings(version=version))
    request = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
    answer, error = request | {"gen_ai.response.model": "gpt-4o-1"}, request | {"error.type": "RateLimitError"}
    # Logfire names the requested model as the one that answered.
    logged = error | {"gen_ai.response.model": "gpt-4o"}
    other = error | {"gen_ai.request.model": "gpt-5"}
    each = (error, answer, error, logged, request, other)
    spans = [span(f"{i + 1:02}", attributes=attributes, start_ms=i) for i, attributes in enumerate(each)]
    versions = [event["version"] for event in predictions([export_of(*spans)], ingest=ingest)]
    assert versions == ["gpt-4o", *[expected] * 4, "gpt-5"]
    elsewhere = predictions([export_of(span(attributes=error, trace_id="0b"), service="web")], ingest=ingest)
    assert elsewhere[0]["version"] == "gpt-4o"


TOOL, AGENT = {"gen_ai.operation.name": "execute_tool"}, {"gen_ai.operation.name": "invoke_agent"}
ANSWER = CALL | {"gen_ai.usage.output_tokens": 9}
EMBEDDINGS = CALL | {"gen_ai.operation.name": "embeddings"}


def test_an_error_without_a_model_has_the_version_that_its_application_last_answered_with() -> None:
    error = {"openinference.span.kind": "LLM"}
    answer = error | {"llm.model_name": "gpt-4o-1"}
    spans = [
        span("01", attributes=error, status={"code": 2}),
        span("02", attributes=answer, start_ms=1),
        span("03", attributes=error, start_ms=2, status={"code": 2}),
    ]
    assert [event["version"] for event in predictions([export_of(*spans)])] == ["unknown", "gpt-4o-1", "gpt-4o-1"]


def one(scope: str, *members: Any, **more: Any) -> dict[str, Any]:
    return export_of(span(*members, **more), scope=scope)


def with_id(response_id: str) -> dict[str, Any]:
    return CALL | {"gen_ai.response.id": response_id}


TRACES: dict[str, tuple[Any, ...]] = {
    "parallel calls of three SDKs, their agent still open": (
        3,
        one("a", "02", "99", duration_ms=300),
        one("b", "03", "99", start_ms=10),
        one("c", "04", "99", start_ms=20, duration_ms=50),
    ),
    "the same under a chain": (
        2,
        one("a", "02", "99", duration_ms=300),
        one("x", "03", "99", attributes={"openinference.span.kind": "CHAIN"}, duration_ms=200),
        one("b", "04", "03", start_ms=10),
    ),
    "a call in a tool in a call": (
        2,
        one("a", "01", duration_ms=500),
        one("a", "02", "01", start_ms=10, attributes=TOOL, duration_ms=300),
        one("a", "03", "02", start_ms=20),
        one("b", "04", "03", start_ms=21, duration_ms=90),
    ),
    "two instrumentations side by side, with the response's id": (
        1,
        one("x", "01", attributes=AGENT, duration_ms=500),
        one("a", "02", "01", attributes=with_id("r-1")),
        one("b", "03", "01", start_ms=1, attributes=with_id("r-1"), duration_ms=98),
    ),
    "two instrumentations side by side, with the same tokens": (
        1,
        one("a", "02", "99", attributes=ANSWER),
        one("b", "03", "99", attributes=ANSWER, duration_ms=90),
    ),
    "two calls whose ids differ, with an unknown chain": (
        2,
        one("a", "02", "98", attributes=with_id("r-1"), duration_ms=300),
        one("b", "03", "99", attributes=with_id("r-2")),
    ),
    "two models at once, with an unknown chain": (
        2,
        one("a", "02", "98", duration_ms=300),
        one("b", "03", "99", attributes=CALL | {"gen_ai.request.model": "n"}),
    ),
    "client and server, the chain between them lost": (
        1,
        one("a", "01", duration_ms=300),
        one("b", "03", "02", start_ms=10, attributes=CALL | {"gen_ai.request.model": "openai/m"}),
        one("x", "04", "01", attributes={"http.url": "x"}),
    ),
    "parallel agents that have not ended, whose calls have the same number of output tokens": (
        2,
        one("a", "02", "98", duration_ms=300, attributes=ANSWER),
        one("b", "03", "99", start_ms=10, attributes=ANSWER | {"gen_ai.usage.input_tokens": 8}),
    ),
    "two instrumentations in traces of their own": (
        1,
        one("a", "01", "99", attributes=ANSWER),
        one("b", "02", trace_id="0b", start_ms=1, attributes=ANSWER, duration_ms=90),
    ),
    "two calls in traces of their own that begin one after the other": (
        2,
        one("a", "01", attributes=ANSWER, duration_ms=900),
        one("b", "02", trace_id="0b", start_ms=200, attributes=ANSWER),
    ),
    "a call for embeddings in a call": (
        1,
        one("a", "01", duration_ms=300),
        one("b", "02", "01", start_ms=10, attributes=EMBEDDINGS),
    ),
    "client and server under an open span, the chain between them lost": (
        1,
        one("a", "01", "99", duration_ms=300),
        one("b", "03", "02", start_ms=10),
    ),
}


@pytest.mark.parametrize("name", TRACES)
def test_rows_are_calls_in_any_order_and_grouping(name: str) -> None:
    expected, *spans = TRACES[name]
    for order in itertools.permutations(spans):
        for grouped in (order, [{"resourceSpans": [part for each in order for part in each["resourceSpans"]]}]):
            assert len(predictions(grouped)) == expected, [each["resourceSpans"][0] for each in order]


def test_a_call_that_counted_late_does_not_suppress_the_call_around_its_tool() -> None:
    ingest = make_ingest()
    _, *spans = TRACES["a call in a tool in a call"]
    rows = [len(predictions([each], ingest=ingest)) for each in (spans[2], spans[1], spans[0])]
    assert rows == [1, 0, 1], "each wait ends before the next span arrives"
