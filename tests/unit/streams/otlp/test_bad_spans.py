"""Bad input: each value, span and request ends as observed, not observed, or rejected with a reason, and is counted."""

from __future__ import annotations

from typing import Any

import pytest

from streams.events.event_time import FUTURE_MS, RETENTION_MS
from streams.otlp.rejection import SpanReason, ValueReason
from streams.otlp.settings import MappingOptions
from tests.support.otlp import CALL, RECEIVED_MS, as_json, export_of, make_ingest, predictions, span

HOUR_MS = 3_600_000


def only(attributes: dict[str, Any], **members: Any) -> tuple[dict[str, Any], dict[tuple[str, ValueReason], int]]:
    ingest = make_ingest()
    (event,) = predictions([export_of(span(attributes=CALL | attributes, **members))], ingest=ingest)
    return event, dict(ingest.not_observed)


@pytest.mark.parametrize(
    ("name", "value", "meaning", "reason"),
    [
        ("gen_ai.usage.input_tokens", "25", "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", True, "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", 2.5, "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", [25], "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", {}, "input_tokens", ValueReason.WRONG_TYPE),
        ("gen_ai.usage.input_tokens", -1, "input_tokens", ValueReason.NEGATIVE),
        ("gen_ai.usage.output_tokens", 10_000_001, "output_tokens", ValueReason.TOO_LARGE),
        ("gen_ai.usage.output_tokens", {"doubleValue": "NaN"}, "output_tokens", ValueReason.NOT_FINITE),
        ("gen_ai.usage.cost", {"doubleValue": "Infinity"}, "cost_usd", ValueReason.NOT_FINITE),
        ("gen_ai.usage.cost", -0.5, "cost_usd", ValueReason.NEGATIVE),
        ("gen_ai.response.time_to_first_chunk", "soon", "ttft_ms", ValueReason.WRONG_TYPE),
        ("gen_ai.response.time_to_first_chunk", 5.0, "ttft_ms", ValueReason.AFTER_END),
        ("gen_ai.request.stream", "maybe", "is_stream", ValueReason.WRONG_TYPE),
        ("gen_ai.response.finish_reasons", 7, "finish_reasons", ValueReason.WRONG_TYPE),
        ("gen_ai.response.finish_reasons", "[broken", "finish_reasons", ValueReason.WRONG_TYPE),
        ("gen_ai.response.model", "two words", "response_model", ValueReason.NOT_A_NAME),
        ("gen_ai.response.model", "m" * 201, "response_model", ValueReason.NOT_A_NAME),
        ("mlflow.chat.tokenUsage", "no JSON", "input_tokens", ValueReason.WRONG_TYPE),
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


def test_zero_and_not_observed_are_different() -> None:
    event, _ = only({"gen_ai.usage.input_tokens": 0})
    assert event["metrics"]["input_tokens"] == 0
    assert "output_tokens" not in event["metrics"]


@pytest.mark.parametrize(("duration_ms", "reason"), [(-5, ValueReason.NEGATIVE), (25 * HOUR_MS, ValueReason.TOO_LARGE)])
def test_durations_that_are_impossible(duration_ms: float, reason: ValueReason) -> None:
    event, not_observed = only({}, duration_ms=duration_ms)
    assert not_observed == {("latency_ms", reason): 1}
    assert "latency_ms" not in event


def test_a_missing_end() -> None:
    event, not_observed = only({}, endTimeUnixNano="0")
    assert not_observed == {("latency_ms", ValueReason.NO_END): 1}
    assert "latency_ms" not in event


def test_a_first_token_before_the_start() -> None:
    early = [{"name": "First Token Stream Event", "timeUnixNano": "1795791999000000000"}]
    event, not_observed = only({}, events=early)
    assert not_observed == {("ttft_ms", ValueReason.AFTER_END): 1}
    assert "ttft_ms" not in event["metrics"]


def test_the_next_name_supplies_a_value_that_the_first_cannot() -> None:
    event, not_observed = only({"gen_ai.usage.input_tokens": "x", "llm.token_count.prompt": 9})
    assert event["metrics"]["input_tokens"] == 9
    assert not_observed == {("input_tokens", ValueReason.WRONG_TYPE): 1}


def test_the_preferred_name_counts_in_any_order() -> None:
    both = {"gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.input_tokens": 7}
    assert only(both)[0]["metrics"]["input_tokens"] == 7
    assert only(dict(reversed(both.items())))[0]["metrics"]["input_tokens"] == 7


@pytest.mark.parametrize(
    ("start_ms", "reason"),
    [
        (RECEIVED_MS + FUTURE_MS + 1, SpanReason.FUTURE_TIME),
        (RECEIVED_MS + 3 * HOUR_MS, SpanReason.FUTURE_TIME),
        (RECEIVED_MS - RETENTION_MS - 1, SpanReason.TOO_OLD),
        (2**64 // 1_000_000 - 1, SpanReason.FUTURE_TIME),
        (0, SpanReason.BAD_TIME),
    ],
)
def test_clocks_that_are_wrong(start_ms: int, reason: SpanReason) -> None:
    ingest = make_ingest()
    export = export_of(span(startTimeUnixNano=str(start_ms * 1_000_000)))
    assert predictions([export], ingest=ingest) == []
    assert ingest.rejected == {reason: 1}


@pytest.mark.parametrize("start_ms", [RECEIVED_MS + FUTURE_MS - 1, RECEIVED_MS - 3 * HOUR_MS])
def test_clocks_that_are_late_or_a_little_early_are_accepted(start_ms: int) -> None:
    export = export_of(span(startTimeUnixNano=str(start_ms * 1_000_000), endTimeUnixNano="0"))
    (event,) = predictions([export])
    assert event["at"] == start_ms


def test_a_model_call_without_service_or_model() -> None:
    ingest = make_ingest()
    nameless = {"gen_ai.operation.name": "chat"}
    exports = [export_of(span("01"), service=None), export_of(span("02", attributes=nameless, name="my chat"))]
    assert predictions(exports, ingest=ingest) == []
    assert ingest.rejected == {SpanReason.MISSING_MODEL: 1, SpanReason.MISSING_VERSION: 1}


def test_spans_that_are_no_model_calls_are_not_rejected_whatever_they_lack() -> None:
    ingest = make_ingest()
    odd = span(attributes={"http.url": "x"}, startTimeUnixNano="0", name="")
    assert predictions([export_of(odd, service=None)], ingest=ingest) == []
    assert ingest.rejected == {}


def test_rejected_spans_are_returned_by_reason() -> None:
    ingest = make_ingest()
    export = export_of(span("01"), span("02") | {"traceId": "x"}, span("03", startTimeUnixNano="0"))
    events, rejected = ingest.add(ingest.json.decode(as_json(export)), RECEIVED_MS)
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
    ("value", "status"),
    [
        (["stop"], "stop"),
        (["stop", "length", "stop"], "stop,length"),
        ('["tool_calls"]', "tool_calls"),
        ("end_turn", "end_turn"),
        (["a sentence of the answer"], "other"),
    ],
)
def test_forms_of_finish_reasons(value: Any, status: str) -> None:
    assert only({"gen_ai.response.finish_reasons": value})[0]["status"] == status


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("/srv/models/a.gguf", "a.gguf"),
        ("C:\\models\\b.gguf", "b.gguf"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("gpt-4o@2024-08-06", "gpt-4o@2024-08-06"),
    ],
)
def test_versions_have_no_paths(model: str, version: str) -> None:
    assert only({"gen_ai.response.model": model})[0]["version"] == version


def test_options_of_the_mapping() -> None:
    options = MappingOptions(models={"support-bot": "answers"}, prefers_request_model=True)
    export = export_of(span(attributes=CALL | {"gen_ai.response.model": "m-2"}))
    (event,) = predictions([export], ingest=make_ingest(mapping=options))
    assert (event["model"], event["version"]) == ("answers", "m")


def test_mlflow_and_langfuse() -> None:
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
        assert event["metrics"]["input_tokens"] == 5
        assert event["metrics"]["output_tokens"] == 6
        assert event["metrics"]["cost_usd"] == 0.3
    assert event["metrics"]["ttft_ms"] == 40
