import itertools
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from barograph_server.streams.events.event_time import FUTURE_MS, RETENTION_MS
from barograph_server.streams.otlp.conventions import Conventions, Use, load_conventions
from barograph_server.streams.otlp.model_call import CallReader, ModelCall
from barograph_server.streams.otlp.nesting import Candidate, NestedCalls
from barograph_server.streams.otlp.rejection import SpanOutcome, SpanReason, ValueReason
from barograph_server.streams.otlp.settings import OtlpSettings
from barograph_server.streams.otlp.span import Span
from barograph_server.warehouse.operations.metrics import SPAN_OUTCOME, VALUE_REASON
from tests.support import otlp
from tests.support.otlp import CALL, as_json, as_protobuf, export_of, exports, make_ingest, predictions, span, truth
from tests.support.pipeline import ROOT

TEXT = (ROOT / "streams" / "otlp" / "conventions.yaml").read_text(encoding="utf-8")
TABLE = load_conventions()


def test_the_table_is_well_formed() -> None:
    aliases = [(meaning, alias) for meaning, each in TABLE.meanings.items() for alias in each.names]
    read = {alias.name for _, alias in aliases}
    assert len({(meaning, alias.name, alias.member) for meaning, alias in aliases}) == len(aliases)
    content = [each.name for names in TABLE.content.values() for each in names]
    assert len(content) == len(set(content))
    assert not read & set(content)
    assert not (read | set(content)) & set(TABLE.ignored)
    for meaning, each in TABLE.meanings.items():
        assert bool(each.unit) == (each.form in ("count", "number")), meaning
    rules = [*(rule.meaning for rule in TABLE.model_calls), *TABLE.model_calls_by_presence]
    evidence = [entry.evidence.meaning for entry in TABLE.trust if entry.evidence is not None]
    assert set(rules) | set(evidence) <= set(TABLE.meanings) | {"span_name"}
    keys = re.findall(r"^(?:  )?([a-z_]+):", TEXT, re.MULTILINE)
    assert [key for key, n in Counter(keys).items() if n > 1 and key not in ("form", "unit", "names")] == []
    with pytest.raises(msgspec.ValidationError, match="count"):
        Conventions(TEXT.replace("form: count", "form: counts", 1))


def test_all_names_that_were_seen_in_golden_files_are_seen() -> None:
    """`unseen` marks exactly the names that no golden file has."""
    present: set[str] = set()
    for name in (*otlp.INSTRUMENTATIONS, *otlp.RECORDED, *otlp.SETUPS):
        present |= set(re.findall(r'"key": ?"([^"]+)"', (otlp.FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")))
    marked = {alias.name for each in TABLE.meanings.values() for alias in each.names if alias.unseen}
    unmarked = {alias.name for each in TABLE.meanings.values() for alias in each.names if not alias.unseen}
    assert marked & present == set()
    assert unmarked - present == set()


def test_names_match_with_numbers_and_prefixes_and_of_scopes_the_first() -> None:
    def use(name: str) -> Use | None:
        attribute = TABLE.attribute(name)
        return None if attribute is None else attribute.use

    assert use("llm.input_messages.12.message.content") is Use.LENGTH
    assert use("llm.input_messages.12.message.tool_call_id") is Use.IGNORED
    assert use("gen_ai.usage.output_tokens") is Use.VALUE
    assert use("gen_ai.usage.blue_tokens") is Use.UNKNOWN
    assert use("http.url") is None
    trust: Any = TABLE.trust_of("opentelemetry.instrumentation.openai.v1")
    assert trust.tokens == "reported"
    other: Any = TABLE.trust_of("openlit.instrumentation.anthropic")
    assert other.tokens == "estimated on streams"
    assert TABLE.trust_of("someone.else") is None


def test_unknown_names_and_scopes_are_counted_and_bounded() -> None:
    ingest = make_ingest()
    names: dict[str, Any] = {f"gen_ai.new.{i}.part": "x" for i in range(3)} | {"gen_ai.odd name": "x"}
    names |= {f"llm.a{i}": 1 for i in range(1_000)}
    predictions([export_of(span(attributes=CALL | names))], ingest=ingest)
    assert ingest.unknown["gen_ai.new.N.part"] == 3
    assert "gen_ai.odd name" not in ingest.unknown
    assert len(ingest.unknown) <= 201
    assert ingest.unknown.total() == 1_004
    ingest = make_ingest()
    for i in range(300):
        predictions([export_of(span(trace_id=f"{i + 1:x}"), scope=f"scope-{i}")], ingest=ingest)
    assert (ingest.unlisted["scope-0"], ingest.unlisted["other"], len(ingest.unlisted)) == (1, 100, 201)


TITLES = {
    "genai-openai-default": "`opentelemetry-instrumentation-genai-openai` 1.3b0",
    "genai-openai-content": "the same with content",
    "v2-default": "`opentelemetry-instrumentation-openai-v2` 2.4b0",
    "v2-latest": "the same with `gen_ai_latest_experimental`",
    "openllmetry": "OpenLLMetry 0.62.4",
    "openinference": "OpenInference 0.1.66",
    "openlit": "OpenLIT 1.45.0",
    "litellm": "LiteLLM 1.110.2",
}


def instrumentation_row(name: str) -> str:
    events = predictions(exports(name))
    _, with_usage, stream = events[:3]

    used, streamed = with_usage.get("metrics", {}), stream.get("metrics", {})
    yes = {True: "yes", False: "no"}
    cells = [
        TITLES[name],
        yes["input_tokens" in used],
        yes["cached_input_tokens" in used],
        "invented: published as estimated" if "input_tokens_estimated" in streamed else "not observed",
        "published as estimated" if "ttft_ms_estimated" in streamed else yes["ttft_ms" in streamed],
        yes["status" in stream],
        yes["output_chars" in streamed],
    ]
    return f"| {' | '.join(cells)} |"


def test_the_table_of_instrumentations_is_what_the_golden_files_show() -> None:
    page = (ROOT / "docs" / "llm.md").read_text(encoding="utf-8")
    section = page.partition("<!-- instrumentations: begin -->")[2].partition("<!-- instrumentations: end -->")[0]
    assert section.strip().splitlines()[2:] == [instrumentation_row(name) for name in otlp.INSTRUMENTATIONS]


def test_every_reason_is_a_label_of_its_metric() -> None:
    assert {reason.value for reason in SpanReason} <= set(SPAN_OUTCOME.values)
    assert {reason.value for reason in ValueReason} == set(VALUE_REASON.values)


CALLS = ("plain", "stream+usage", "stream", "tool", "error400", "refused", "stream cut by client", "responses")
"""The calls in their order."""
ABSENT = {"v2-default": ("responses",), "v2-latest": ("responses",), "openlit": ("stream cut by client",)}
"""Calls for which an instrumentation emits no span."""
WITH_TTFT = ("genai-openai-default", "genai-openai-content", "openllmetry", "openinference")
WITH_CACHED = ("genai-openai-default", "genai-openai-content", "openllmetry", "openinference", "openlit")
WITH_TRUTH = tuple(name for name in otlp.INSTRUMENTATIONS if name != "litellm")
TOKENS = ("input_tokens", "output_tokens", "cached_input_tokens")


def by_call(name: str, encode: Callable[[dict[str, Any]], bytes] = as_json) -> dict[str, dict[str, Any]]:
    events = predictions(exports(name), encode)
    calls = [call for call in CALLS if call not in ABSENT.get(name, ())]
    assert len(events) == len(calls), "no call is counted twice, and none is missing"
    return dict(zip(calls, events, strict=True))


def tokens_of(event: dict[str, Any]) -> dict[str, float]:
    metrics = event.get("metrics", {})
    return {name: metrics[name] for name in TOKENS if name in metrics}


def usage_of(call: dict[str, Any]) -> dict[str, int]:
    usage = call.get("usage") or {}
    if "prompt_tokens" in usage:
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        return dict(zip(TOKENS, (usage["prompt_tokens"], usage["completion_tokens"], cached), strict=True))
    if "input_tokens" in usage:
        cached = usage["input_tokens_details"]["cached_tokens"]
        return dict(zip(TOKENS, (usage["input_tokens"], usage["output_tokens"], cached), strict=True))
    return {}


@pytest.mark.parametrize("encode", [as_json, as_protobuf])
@pytest.mark.parametrize("name", WITH_TRUTH)
def test_tokens_are_the_servers_usage_or_not_observed(name: str, encode: Callable[[dict[str, Any]], bytes]) -> None:
    calls = truth(name)
    for call, event in by_call(name, encode).items():
        expected = usage_of(calls[call])
        if name not in WITH_CACHED:
            expected.pop("cached_input_tokens", None)
        if name == "openlit" and call == "responses":
            expected = {}  # its own AttributeError lost them
        assert tokens_of(event) == expected, call


def test_what_openlit_invents_is_marked_and_its_own_errors_are_no_failures() -> None:
    event, with_usage = (by_call("openlit")[call] for call in ("stream", "stream+usage"))
    assert event["metrics"] | {"input_tokens_estimated": 30, "output_tokens_estimated": 55} == event["metrics"]
    assert "time_per_output_token_ms" not in event["metrics"]
    assert tokens_of(event) == {}
    # The first token is 10.6 ms early: its clock starts when the headers of the answer have arrived.
    metrics = with_usage["metrics"]
    client_ms = truth("openlit")["stream+usage"]["ttft"] * 1000
    assert metrics["ttft_ms_estimated"] == pytest.approx(client_ms - 10.6, abs=0.1)
    expected = (with_usage["latency_ms"] - metrics["ttft_ms_estimated"]) / (24 - 1)
    assert metrics["time_per_output_token_ms_estimated"] == pytest.approx(expected)
    assert not {"ttft_ms", "time_per_output_token_ms"} & metrics.keys()
    ingest = make_ingest()
    predictions(exports("openlit"), ingest=ingest)
    assert ingest.not_observed == {("error_type", ValueReason.INSTRUMENTATION_ERROR): 1}


def test_litellm_counts_once_and_its_invented_tokens_are_marked() -> None:
    """LiteLLM has no truth file: the calls were plain, a stream with usage, one without (truth 25/24), an error."""
    ingest = make_ingest()
    plain, with_usage, stream, error = predictions(exports("litellm"), ingest=ingest)
    assert tokens_of(plain) == tokens_of(with_usage) == {"input_tokens": 25, "output_tokens": 24}
    assert tokens_of(stream) == {}
    assert stream["metrics"] | {"input_tokens_estimated": 22, "output_tokens_estimated": 25} == stream["metrics"]
    assert error["error"] == "ContextWindowExceededError"
    # The children `raw_gen_ai_request` repeat the usage and are no model calls.
    assert ingest.nested.outcomes == {SpanOutcome.COUNTED: 4, SpanOutcome.NO_CALL: 3}


@pytest.mark.parametrize("name", WITH_TRUTH)
def test_times_and_errors_are_those_of_the_client(name: str) -> None:
    calls = truth(name)
    events = by_call(name)
    for call, event in events.items():
        if "s" in calls[call]:
            # OpenInference's span of the first call is 138 ms shorter: it starts after the client was set up.
            assert calls[call]["s"] * 1000 - 140 < event["latency_ms"] < calls[call]["s"] * 1000
        ttft_ms = event.get("metrics", {}).get("ttft_ms")
        if name not in WITH_TTFT or not call.startswith("stream"):
            assert ttft_ms is None, "without streaming, or a convention for it, no first token is observed"
            continue
        assert ttft_ms is not None
        if "ttft" in calls[call]:  # the client did not measure the stream that it cut
            assert abs(ttft_ms - calls[call]["ttft"] * 1000) <= 10
    if name in WITH_TTFT:
        event = events["stream+usage"]
        expected = (event["latency_ms"] - event["metrics"]["ttft_ms"]) / (24 - 1)
        assert event["metrics"]["time_per_output_token_ms"] == pytest.approx(expected)
    errors = {call: event["error"] for call, event in events.items() if "error" in event}
    assert errors == {"error400": "BadRequestError", "refused": "APIConnectionError"}


@pytest.mark.parametrize("name", otlp.INSTRUMENTATIONS)
def test_forms_and_names_are_known_and_a_repeated_export_counts_once(name: str) -> None:
    events = predictions(exports(name))
    statuses = Counter(event.get("status") for event in events)
    assert statuses["length"] >= 2
    assert set(statuses) <= {None, "length", "stop", "error"}
    versions = {event["version"] for event in events}
    assert versions <= {"SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2"}, "the model that answered, and no path"
    ingest = make_ingest()
    assert [event["id"] for event in predictions(exports(name) * 2, ingest=ingest)] == [event["id"] for event in events]
    assert ingest.nested.outcomes[SpanOutcome.DUPLICATE] == sum(ingest.nested.outcomes.values()) // 2
    assert (ingest.unknown, ingest.unlisted) == ({}, {})


def test_prompt_and_instrumentation_are_context_and_lengths_of_dropped_text_metrics() -> None:
    context = by_call("openinference")["stream"]["context"]
    assert context == {
        "provider": "openai",
        "request_model": "smollm2",
        "prompt_version": "v7",
        "prompt": "v7",
        "stream": "true",
        "instrumentation": "openinference.instrumentation.openai",
        # Contracts decide whether these two are published.
        "user": "u-1",
        "session": "s-1",
    }
    metrics = by_call("openinference")["plain"]["metrics"]
    assert (metrics["input_chars"], metrics["output_chars"]) == (44, 110)
    assert "input_chars" not in by_call("genai-openai-default")["plain"]["metrics"], "not observed"


def test_messages_of_the_collector_give_the_same_prediction() -> None:
    for name in ("collector.otlp_json.json", "collector.otlp_proto.bin"):
        ingest = make_ingest()
        decoder = ingest.json if name.endswith("json") else ingest.protobuf
        (event,) = ingest.add(decoder.decode((otlp.FOLDER / name).read_bytes()), otlp.RECEIVED_MS).events
        assert b'"model":"via-collector","version":"m"' in event


HOUR_MS = 3_600_000
EARLY_TOKEN = [{"name": "First Token Stream Event", "timeUnixNano": "1795791999000000000"}]


def only(attributes: dict[str, Any], **members: Any) -> tuple[dict[str, Any], dict[tuple[str, ValueReason], int]]:
    ingest = make_ingest()
    (event,) = predictions([export_of(span(attributes=CALL | attributes, **members))], ingest=ingest)
    return event, dict(ingest.not_observed)


def test_values_that_count_as_not_observed() -> None:
    for name, value, meaning, reason in (
        ("gen_ai.usage.input_tokens", "25", "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", True, "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", [25], "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", 2.5, "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", {}, "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.cost", {"doubleValue": "Infinity"}, "cost_usd", ValueReason.NOT_FINITE),
        ("gen_ai.usage.cost", -0.5, "cost_usd", ValueReason.NEGATIVE),
        ("gen_ai.usage.output_tokens", 10_000_001, "output_tokens", ValueReason.TOO_LARGE),
        ("gen_ai.usage.output_tokens", {"doubleValue": "NaN"}, "output_tokens", ValueReason.NOT_FINITE),
        ("gen_ai.response.time_to_first_chunk", "soon", "ttft_ms", ValueReason.WRONG_TYPE),
        ("gen_ai.response.time_to_first_chunk", 5.0, "ttft_ms", ValueReason.AFTER_END),
        ("gen_ai.request.stream", "maybe", "is_stream", ValueReason.WRONG_TYPE),
        ("gen_ai.response.finish_reasons", "[broken", "finish_reasons", ValueReason.WRONG_TYPE),
        ("gen_ai.response.model", "two words", "response_model", ValueReason.NOT_A_NAME),
        ("gen_ai.response.model", "m" * 201, "response_model", ValueReason.NOT_A_NAME),
        ("langfuse.observation.completion_start_time", "yesterday", "first_token_at", ValueReason.WRONG_TYPE),
    ):
        event, not_observed = only({name: value})
        assert (meaning, reason) in not_observed
        assert meaning not in event.get("metrics", {})


def test_refused_answers_are_counted_and_unknown_ones_are_not() -> None:
    for reasons, refused in (
        (["stop"], 0),
        (["length", "content_filter"], 1),
        (["Content_Filter"], 1),
        (["tool_calls"], 0),
    ):
        assert only({"gen_ai.response.finish_reasons": reasons})[0]["metrics"]["refused"] == refused
    assert "refused" not in only({})[0]["metrics"]


def test_zero_counts_and_of_several_names_the_preferred_one_that_can_be_read() -> None:
    event, _ = only({"gen_ai.usage.input_tokens": 0})
    assert event["metrics"]["input_tokens"] == 0
    assert "output_tokens" not in event["metrics"]
    event, not_observed = only({"gen_ai.usage.input_tokens": "x", "llm.token_count.prompt": 9})
    assert event["metrics"]["input_tokens"] == 9
    assert not_observed == {("input_tokens", ValueReason.WRONG_TYPE): 1}
    both = {"gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.input_tokens": 7}
    assert only(both)[0]["metrics"]["input_tokens"] == 7
    assert only(dict(reversed(both.items())))[0]["metrics"]["input_tokens"] == 7


def test_times_that_are_impossible() -> None:
    for members, meaning, reason in (
        ({"duration_ms": -5}, "latency_ms", ValueReason.NEGATIVE),
        ({"duration_ms": 25 * HOUR_MS}, "latency_ms", ValueReason.TOO_LARGE),
        ({"endTimeUnixNano": "0"}, "latency_ms", ValueReason.NO_END),
        ({"events": EARLY_TOKEN}, "ttft_ms", ValueReason.AFTER_END),
    ):
        event, not_observed = only({}, **members)
        assert not_observed == {(meaning, reason): 1}
        assert meaning not in event | event["metrics"]


def test_clocks_that_are_wrong() -> None:
    for start_ms, reason in (
        (otlp.RECEIVED_MS + FUTURE_MS + 1, SpanReason.FUTURE_TIME),
        (otlp.RECEIVED_MS - RETENTION_MS - 1, SpanReason.TOO_OLD),
        (2**64 // 1_000_000 - 1, SpanReason.FUTURE_TIME),
        (0, SpanReason.BAD_TIME),
        (otlp.RECEIVED_MS + FUTURE_MS - 1, None),
    ):
        ingest = make_ingest()
        export = export_of(span(startTimeUnixNano=str(start_ms * 1_000_000), endTimeUnixNano="0"))
        events = predictions([export], ingest=ingest)
        assert [event["at"] for event in events] == ([start_ms] if reason is None else [])
        assert ingest.rejected == ({} if reason is None else {reason: 1})


def test_rejected_spans_are_returned_by_reason_and_others_may_lack_anything() -> None:
    ingest = make_ingest()
    nameless = {"gen_ai.operation.name": "chat"}
    exports = [export_of(span("01"), service=None), export_of(span("02", attributes=nameless, name="my chat"))]
    exports.append(export_of(span(attributes={"http.url": "x"}, startTimeUnixNano="0", name=""), service=None))
    assert predictions(exports, ingest=ingest) == []
    assert ingest.rejected == {SpanReason.MISSING_MODEL: 1, SpanReason.MISSING_VERSION: 1}
    ingest = make_ingest()
    export = export_of(span("01"), span("02") | {"traceId": "x"}, span("03", startTimeUnixNano="0"))
    events, rejected, _ = ingest.add(ingest.json.decode(as_json(export)), otlp.RECEIVED_MS)
    assert len(events) == 1
    assert rejected == {SpanReason.BAD_ID: 1, SpanReason.BAD_TIME: 1}


def test_kinds_of_errors() -> None:
    for members, error in (
        ({"attributes": CALL | {"error.type": "openai.RateLimitError"}}, "RateLimitError"),
        ({"attributes": CALL | {"error.type": "Could not reach the server of ACME"}}, "other"),
        ({"status": {"code": 2, "message": "secret"}}, "unknown"),
        ({"status": {"code": "STATUS_CODE_ERROR"}}, "unknown"),
        ({"status": {"code": 1}}, None),
    ):
        (event,) = predictions([export_of(span(**members))])
        assert event.get("error") == error


def test_finish_reasons_have_one_form_and_versions_no_paths() -> None:
    for name, value, member, expected in (
        ("finish_reasons", ["stop", "length", "stop"], "status", "stop,length"),
        ("finish_reasons", '["tool_calls"]', "status", "tool_calls"),
        ("finish_reasons", "end_turn", "status", "end_turn"),
        ("finish_reasons", ["a sentence of the answer"], "status", "other"),
        ("model", "/srv/models/a.gguf", "version", "a.gguf"),
        ("model", "C:\\models\\b.gguf", "version", "b.gguf"),
        ("model", "meta-llama/Llama-3.1-8B", "version", "meta-llama/Llama-3.1-8B"),
    ):
        assert only({f"gen_ai.response.{name}": value})[0][member] == expected


def test_mlflow_langfuse_and_options_of_the_mapping() -> None:
    mlflow = {
        "mlflow.spanType": '"CHAT_MODEL"',
        "mlflow.llm.model": '"m"',
        "mlflow.chat.tokenUsage": '{"input_tokens": 5, "output_tokens": 6, "total_tokens": 11}',
        "mlflow.linkedPrompts": '[{"name": "answer", "version": "7"}]',
        "mlflow.llm.cost": '{"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.3}',
    }
    langfuse = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "m",
        "langfuse.observation.usage_details": '{"input": 5, "output": 6}',
        "langfuse.observation.cost_details": '{"total": 0.3}',
        "langfuse.observation.prompt.name": "answer",
        "langfuse.observation.prompt.version": 7,
        "langfuse.observation.completion_start_time": '"2026-11-27T15:06:40.040Z"',
    }
    for attributes in (mlflow, langfuse):
        (event,) = predictions([export_of(span(attributes=attributes))])
        assert event["version"] == "m"
        assert event["context"]["prompt"] == "answer@7"
        expected = {"input_tokens": 5, "output_tokens": 6, "cost_usd": 0.3}
        assert event["metrics"] | expected == event["metrics"]
    assert event["metrics"]["ttft_ms"] == 40
    options = OtlpSettings(models="support-bot=answers", version="request")
    export = export_of(span(attributes=CALL | {"gen_ai.response.model": "m-2"}))
    (event,) = predictions([export], ingest=make_ingest(otlp=options))
    assert (event["model"], event["version"]) == ("answers", "m")


AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 14}
"""An agent repeats the tokens of its calls."""
CHAIN = {"openinference.span.kind": "CHAIN", "llm.token_count.prompt": 14}
HTTP = {"http.url": "x"}
TOOL = {"gen_ai.operation.name": "execute_tool"}


def test_parents_that_are_no_model_calls_do_not_count() -> None:
    spans = [
        span("01", attributes=AGENT, duration_ms=900),
        span("02", "01", attributes=CHAIN, duration_ms=800),
        span("03", "02", start_ms=10),
        span("04", "02", start_ms=200),
        span("05", "01", attributes={"gen_ai.operation.name": "execute_tool"}),
        span("06", "01", attributes={"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 3}),
    ]
    events = predictions([export_of(*spans)])
    assert sum(event["metrics"].get("input_tokens", 0) for event in events) == 14


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_client_and_server_count_once_under_the_applications_name(order: tuple[int, ...]) -> None:
    server = {"gen_ai.usage.prompt_tokens": 7, "gen_ai.response.model": "m", "gen_ai.latency.time_in_queue": 0.004}
    exports = [
        export_of(span("01", duration_ms=300), scope="openinference.instrumentation.openai"),
        export_of(span("02", "01", attributes=HTTP, duration_ms=290), scope="opentelemetry.instrumentation.httpx"),
        export_of(span("03", "02", start_ms=5, attributes=server), scope="vllm.llm_engine", service="vllm"),
    ]
    (event,) = predictions([exports[i] for i in order])
    assert event["metrics"]["input_tokens"] == 7
    assert event["model"] == "support-bot"


def test_the_outer_call_takes_over_what_only_the_inner_one_observed() -> None:
    outer = CALL | {"gen_ai.usage.output_tokens": 55, "llm.is_streaming": "True", "barograph.prompt.name": "answer"}
    inner = CALL | {
        "gen_ai.usage.input_tokens": 25,
        "gen_ai.usage.output_tokens": 24,
        "gen_ai.response.time_to_first_chunk": 0.04,
    }
    both = export_of(span("01", attributes=outer), scope="litellm")
    both["resourceSpans"] += export_of(span("02", "01", attributes=inner))["resourceSpans"]
    (event,) = predictions([both])
    assert event["metrics"] | {"input_tokens": 25, "output_tokens": 24, "ttft_ms": 40} == event["metrics"]
    assert not [name for name in event["metrics"] if name.endswith("estimated")]
    assert event["context"]["prompt"] == "answer"


def test_of_several_attempts_inside_only_the_outer_call_counts() -> None:
    spans = [span("01", duration_ms=500), span("02", "01"), span("03", "01", start_ms=200)]
    (event,) = predictions([export_of(*spans)])
    assert event["id"].endswith("01")
    assert event["metrics"] == {"input_tokens": 7}
    spans[0] = span("01", attributes=AGENT, duration_ms=500)
    assert len(predictions([export_of(*spans)])) == 2, "side by side, all count"
    # So do calls of one scope whose parent never comes.
    spans = [span(f"{i:02}", "99", start_ms=i, duration_ms=200 - 10 * i) for i in range(2, 8)]
    assert len(predictions([export_of(*spans)])) == 6


def test_a_call_waits_for_its_parent_and_then_counts() -> None:
    now_s = [0.0]
    ingest = make_ingest(nested=NestedCalls(OtlpSettings(wait_s=10), clock=lambda: now_s[0]))
    events = ingest.add(ingest.json.decode(as_json(export_of(span("02", "01")))), otlp.RECEIVED_MS).events
    assert events == ingest.expire() == []
    now_s[0] = 9.9
    assert ingest.expire() == []
    now_s[0] = 10
    assert len(ingest.expire()) == 1
    # The parent arrives too late, and is a model call: what it wraps has counted.
    late = ingest.add(ingest.json.decode(as_json(export_of(span("01", duration_ms=300)))), otlp.RECEIVED_MS).events
    assert late == ingest.release() == []
    assert ingest.nested.outcomes == {SpanOutcome.COUNTED: 1, SpanOutcome.NESTED: 1}


def test_a_late_chain_between_two_calls_does_not_make_them_count_twice() -> None:
    now_s = [0.0]
    ingest = make_ingest(nested=NestedCalls(OtlpSettings(wait_s=10), clock=lambda: now_s[0]))
    arrivals = [export_of(span("01", duration_ms=300), scope="a"), export_of(span("03", "02", start_ms=50), scope="b")]
    events = [
        each for export in arrivals for each in ingest.add(ingest.json.decode(as_json(export)), otlp.RECEIVED_MS)[0]
    ]
    now_s[0] = 11
    events += ingest.expire()
    assert len(events) == 1
    middle = export_of(span("02", "01", attributes=HTTP))
    assert ingest.add(ingest.json.decode(as_json(middle)), otlp.RECEIVED_MS)[0] == []


def test_an_inner_call_that_counted_suppresses_only_what_is_around_it() -> None:
    """The outer call arrives after one of its two inner calls counted: the inner ones count, the outer does not."""
    now_s = [0.0]
    ingest = make_ingest(nested=NestedCalls(OtlpSettings(wait_s=10), clock=lambda: now_s[0]))
    ingest.add(ingest.json.decode(as_json(export_of(span("02", "01")))), otlp.RECEIVED_MS)
    now_s[0] = 11
    assert len(ingest.expire()) == 1
    rest = export_of(span("01", duration_ms=500), span("03", "01", start_ms=200))
    events = ingest.add(ingest.json.decode(as_json(rest)), otlp.RECEIVED_MS).events
    assert [event.decode().count("0000000003") for event in events] == [1]


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 1_000), marks=pytest.mark.long)])
def test_random_traces_count_the_outermost_calls_in_any_order_and_grouping(seeds: range) -> None:
    for seed in seeds:
        check_random_trace(seed)


def check_random_trace(seed: int) -> None:
    """Whatever the order within the wait, a call counts unless a call is around it without a tool between them."""
    rng = random.Random(seed)
    n = rng.randint(2, 12)
    parents = [0, *(rng.randint(0, i) for i in range(1, n))]
    kinds = [HTTP, *rng.choices((CALL, HTTP, TOOL), weights=(5, 3, 2), k=n)]
    spans = []
    for i in range(1, n + 1):
        parent = f"{parents[i - 1]:02x}" if parents[i - 1] else ""
        spans.append(span(f"{i:02x}", parent, start_ms=i, attributes=kinds[i]))
    rng.shuffle(spans)
    cuts = sorted(rng.sample(range(1, n), rng.randint(0, min(3, n - 1))))
    exports = [export_of(*spans[a:b], scope=rng.choice("ab")) for a, b in itertools.pairwise([0, *cuts, n])]

    def is_inside(i: int) -> bool:
        while (i := parents[i - 1]) and kinds[i] is not TOOL:
            if kinds[i] is CALL:
                return True
        return False

    counted = {int(event["id"][-16:], 16) for event in predictions(exports)}
    assert counted == {i for i in range(1, n + 1) if kinds[i] is CALL and not is_inside(i)}, seed


def call_of(trace: int, span_id: int, parent: int = 0) -> Candidate:
    built = span(f"{span_id:x}", f"{parent:x}" if parent else "", trace_id=f"{trace:x}")
    (decoded,) = make_ingest().json.decode(as_json(export_of(built))).spans
    assert isinstance(decoded, Span)
    call = CallReader(load_conventions(), OtlpSettings()).read(decoded)
    assert isinstance(call, ModelCall)
    return Candidate(call.trace_id, call.span_id, call.parent_id, call)


def test_memory_is_bounded_evicted_calls_count_and_a_circle_of_parents_ends() -> None:
    nested = NestedCalls(OtlpSettings(), max_spans=10)
    counted = []
    for trace in range(1, 31):
        counted += nested.add([call_of(trace, 2, parent=1)])
        assert nested.remembered <= 10
        assert nested.waiting <= 10
    counted += nested.release()
    assert len(counted) == 30
    assert nested.waiting == 0
    nested = NestedCalls(OtlpSettings(), max_waiting=5)
    oldest = [call for trace in range(1, 9) for call in nested.add([call_of(trace, 2, parent=1)])]
    assert [int(call.trace_id.hex(), 16) for call in oldest] == [1, 2, 3]
    assert nested.waiting == 5
    nested = NestedCalls(OtlpSettings())
    assert len(nested.add([call_of(1, 2, parent=3), call_of(1, 3, parent=2)])) <= 2
    assert nested.waiting == 0
