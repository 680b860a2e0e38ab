"""Predictions of real instrumentations equal what client and server measured for the same calls.

Each instrumentation saw the same nine calls; embeddings are no generation. What an instrumentation does not carry is
not observed, and what it invents has another name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from barograph_server.streams.otlp.nesting import SpanOutcome
from barograph_server.streams.otlp.rejection import ValueReason
from tests.support.otlp import (
    FOLDER,
    INSTRUMENTATIONS,
    as_json,
    as_protobuf,
    export_of,
    exports,
    make_ingest,
    predictions,
    span,
    truth,
)

CALLS = ("plain", "stream+usage", "stream", "tool", "error400", "refused", "stream cut by client", "responses")
"""The calls in their order."""
ABSENT = {"v2-default": ("responses",), "v2-latest": ("responses",), "openlit": ("stream cut by client",)}
"""Calls for which an instrumentation emits no span."""
WITH_TTFT = ("genai-openai-default", "genai-openai-content", "openllmetry", "openinference")
WITH_CACHED = ("genai-openai-default", "genai-openai-content", "openllmetry", "openinference", "openlit")
WITH_TRUTH = tuple(name for name in INSTRUMENTATIONS if name != "litellm")
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
    event = by_call("openlit")["stream"]
    assert event["metrics"]["input_tokens_estimated"] == 30
    assert event["metrics"]["output_tokens_estimated"] == 55
    assert "time_per_output_token_ms" not in event["metrics"]
    assert tokens_of(event) == {}
    # The first token is 10.6 ms early: its clock starts when the headers of the answer have arrived.
    metrics = by_call("openlit")["stream+usage"]["metrics"]
    client_ms = truth("openlit")["stream+usage"]["ttft"] * 1000
    assert metrics["ttft_ms_estimated"] == pytest.approx(client_ms - 10.6, abs=0.1)
    expected = (by_call("openlit")["stream+usage"]["latency_ms"] - metrics["ttft_ms_estimated"]) / (24 - 1)
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
    assert stream["metrics"]["input_tokens_estimated"] == 22
    assert stream["metrics"]["output_tokens_estimated"] == 25
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


@pytest.mark.parametrize("name", INSTRUMENTATIONS)
def test_forms_are_the_same_and_a_repeated_export_counts_once(name: str) -> None:
    events = predictions(exports(name))
    statuses = Counter(event.get("status") for event in events)
    assert statuses["length"] >= 2
    assert set(statuses) <= {None, "length", "stop", "error"}
    versions = {event["version"] for event in events}
    assert versions <= {"SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2"}, "the model that answered, and no path"
    ingest = make_ingest()
    assert [event["id"] for event in predictions(exports(name) * 2, ingest=ingest)] == [event["id"] for event in events]
    assert ingest.nested.outcomes[SpanOutcome.DUPLICATE] == sum(ingest.nested.outcomes.values()) // 2


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
    ingest = make_ingest()
    by_json = ingest.add(ingest.json.decode((FOLDER / "collector.otlp_json.json").read_bytes()), 1_795_792_020_000)
    other = make_ingest()
    data = (FOLDER / "collector.otlp_proto.bin").read_bytes()
    by_protobuf = other.add(other.protobuf.decode(data), 1_795_792_020_000)
    assert len(by_json[0]) == len(by_protobuf[0]) == 1
    members = b'"model":"via-collector","version":"m"'
    assert members in by_json[0][0]
    assert members in by_protobuf[0][0]


@pytest.mark.parametrize(
    ("reasons", "refused"),
    [(["stop"], 0), (["length", "content_filter"], 1), (["Content_Filter"], 1), (["tool_calls"], 0), (None, None)],
)
def test_refused_answers_are_counted_and_unknown_ones_are_not(reasons: list[str] | None, refused: int | None) -> None:
    attributes: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    if reasons is not None:
        attributes["gen_ai.response.finish_reasons"] = reasons
    (event,) = predictions([export_of(span(attributes=attributes))])
    assert event.get("metrics", {}).get("refused") == refused
