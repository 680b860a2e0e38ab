"""Bad input: each value, span and request ends as observed, not observed, or rejected with a reason, and is counted."""

from __future__ import annotations

from typing import Any

import pytest

from barograph_server.streams.events.event_time import FUTURE_MS, RETENTION_MS
from barograph_server.streams.otlp.rejection import SpanReason, ValueReason
from barograph_server.streams.otlp.settings import MappingOptions
from tests.support.otlp import CALL, RECEIVED_MS, as_json, export_of, make_ingest, predictions, span

HOUR_MS = 3_600_000
EARLY_TOKEN = [{"name": "First Token Stream Event", "timeUnixNano": "1795791999000000000"}]


def only(attributes: dict[str, Any], **members: Any) -> tuple[dict[str, Any], dict[tuple[str, ValueReason], int]]:
    ingest = make_ingest()
    (event,) = predictions([export_of(span(attributes=CALL | attributes, **members))], ingest=ingest)
    return event, dict(ingest.not_observed)


@pytest.mark.parametrize(
    ("name", "value", "meaning", "reason"),
    [
        ("gen_ai.usage.input_tokens", "25", "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", True, "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", [25], "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", 2.5, "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", {}, "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.cost", {"doubleValue": "Infinity"}, "cost_usd", ValueReason.NOT_FINITE),
        ("gen_ai.usage.cost", -0.5, "cost_usd", ValueReason.NEGATIVE),
        ("gen_ai.usage.input_tokens", -1, "input_tokens", ValueReason.NEGATIVE),
        ("gen_ai.usage.output_tokens", 10_000_001, "output_tokens", ValueReason.TOO_LARGE),
        ("gen_ai.usage.output_tokens", {"doubleValue": "NaN"}, "output_tokens", ValueReason.NOT_FINITE),
        ("gen_ai.response.time_to_first_chunk", "soon", "ttft_ms", ValueReason.WRONG_TYPE),
        ("gen_ai.response.time_to_first_chunk", 5.0, "ttft_ms", ValueReason.AFTER_END),
        ("gen_ai.request.stream", "maybe", "is_stream", ValueReason.WRONG_TYPE),
        ("gen_ai.response.finish_reasons", "[broken", "finish_reasons", ValueReason.WRONG_TYPE),
        ("gen_ai.response.finish_reasons", 7, "finish_reasons", ValueReason.WRONG_TYPE),
        ("gen_ai.response.model", "two words", "response_model", ValueReason.NOT_A_NAME),
        ("gen_ai.response.model", "m" * 201, "response_model", ValueReason.NOT_A_NAME),
        ("langfuse.observation.completion_start_time", "yesterday", "first_token_at", ValueReason.WRONG_TYPE),
    ],
)
def test_values_that_count_as_not_observed(name: str, value: Any, meaning: str, reason: ValueReason) -> None:
    attributes = {name: value}
    if name.startswith("mlflow"):
        attributes["gen_ai.usage.input_tokens"] = ""
    event, not_observed = only(attributes)
    assert (meaning, reason) in not_observed
    assert meaning not in event.get("metrics", {})


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


@pytest.mark.parametrize(
    ("members", "meaning", "reason"),
    [
        ({"duration_ms": -5}, "latency_ms", ValueReason.NEGATIVE),
        ({"duration_ms": 25 * HOUR_MS}, "latency_ms", ValueReason.TOO_LARGE),
        ({"endTimeUnixNano": "0"}, "latency_ms", ValueReason.NO_END),
        ({"events": EARLY_TOKEN}, "ttft_ms", ValueReason.AFTER_END),
    ],
)
def test_times_that_are_impossible(members: dict[str, Any], meaning: str, reason: ValueReason) -> None:
    event, not_observed = only({}, **members)
    assert not_observed == {(meaning, reason): 1}
    assert meaning not in event | event["metrics"]


@pytest.mark.parametrize(
    ("start_ms", "reason"),
    [
        (RECEIVED_MS + FUTURE_MS + 1, SpanReason.FUTURE_TIME),
        (RECEIVED_MS - RETENTION_MS - 1, SpanReason.TOO_OLD),
        (2**64 // 1_000_000 - 1, SpanReason.FUTURE_TIME),
        (0, SpanReason.BAD_TIME),
        (RECEIVED_MS + FUTURE_MS - 1, None),
    ],
)
def test_clocks_that_are_wrong(start_ms: int, reason: SpanReason | None) -> None:
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
    events, rejected, _ = ingest.add(ingest.json.decode(as_json(export)), RECEIVED_MS)
    assert len(events) == 1
    assert rejected == {SpanReason.BAD_ID: 1, SpanReason.BAD_TIME: 1}


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"attributes": CALL | {"error.type": "openai.RateLimitError"}}, "RateLimitError"),
        ({"attributes": CALL | {"error.type": "Could not reach the server of ACME"}}, "other"),
        ({"status": {"code": 2, "message": "secret"}}, "unknown"),
        ({"status": {"code": "STATUS_CODE_ERROR"}}, "unknown"),
        ({"status": {"code": 1}}, None),
    ],
)
def test_kinds_of_errors(members: dict[str, Any], error: str | None) -> None:
    (event,) = predictions([export_of(span(**members))])
    assert event.get("error") == error


@pytest.mark.parametrize(
    ("name", "value", "member", "expected"),
    [
        ("finish_reasons", ["stop", "length", "stop"], "status", "stop,length"),
        ("finish_reasons", '["tool_calls"]', "status", "tool_calls"),
        ("finish_reasons", "end_turn", "status", "end_turn"),
        ("finish_reasons", ["a sentence of the answer"], "status", "other"),
        ("model", "/srv/models/a.gguf", "version", "a.gguf"),
        ("model", "C:\\models\\b.gguf", "version", "b.gguf"),
        ("model", "meta-llama/Llama-3.1-8B", "version", "meta-llama/Llama-3.1-8B"),
    ],
)
def test_finish_reasons_have_one_form_and_versions_no_paths(name: str, value: Any, member: str, expected: str) -> None:
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
    options = MappingOptions(models={"support-bot": "answers"}, prefers_request_model=True)
    export = export_of(span(attributes=CALL | {"gen_ai.response.model": "m-2"}))
    (event,) = predictions([export], ingest=make_ingest(mapping=options))
    assert (event["model"], event["version"]) == ("answers", "m")
