"""Of nested model calls exactly one counts, in every order of arrival."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.model_call import CallReader, ModelCall
from barograph_server.streams.otlp.nesting import Candidate, NestedCalls, SpanOutcome
from barograph_server.streams.otlp.span import Span
from tests.support.otlp import CALL, RECEIVED_MS, as_json, export_of, make_ingest, predictions, span

AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 14}
"""An agent repeats the tokens of its calls."""
CHAIN = {"openinference.span.kind": "CHAIN", "llm.token_count.prompt": 14}
HTTP = {"http.url": "x"}


def tokens(events: list[dict[str, Any]]) -> float:
    return sum(float(event["metrics"].get("input_tokens", 0)) for event in events)


def test_parents_that_are_no_model_calls_do_not_count() -> None:
    spans = [
        span("01", attributes=AGENT, duration_ms=900),
        span("02", "01", attributes=CHAIN, duration_ms=800),
        span("03", "02", start_ms=10),
        span("04", "02", start_ms=200),
        span("05", "01", attributes={"gen_ai.operation.name": "execute_tool"}),
        span("06", "01", attributes={"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 3}),
    ]
    assert tokens(predictions([export_of(*spans)])) == 14


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_two_instrumentations_of_one_process_count_once(order: tuple[int, ...]) -> None:
    exports = [
        export_of(span("01", attributes=CHAIN, duration_ms=300), scope="openinference.instrumentation.langchain"),
        export_of(span("02", "01", duration_ms=200), scope="openinference.instrumentation.langchain"),
        export_of(span("03", "02", start_ms=10), scope="opentelemetry.instrumentation.openai.v1"),
    ]
    assert tokens(predictions(exports)) == 7
    assert tokens(predictions([exports[i] for i in order])) == 7


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
    assert event["metrics"]["input_tokens"] == 25
    assert event["metrics"]["output_tokens"] == 24
    assert event["metrics"]["ttft_ms"] == 40
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
    ingest = make_ingest(nested=NestedCalls(wait_s=10, clock=lambda: now_s[0]))
    events = ingest.add(ingest.json.decode(as_json(export_of(span("02", "01")))), RECEIVED_MS).events
    assert events == ingest.expire() == []
    now_s[0] = 9.9
    assert ingest.expire() == []
    now_s[0] = 10
    assert len(ingest.expire()) == 1
    # The parent arrives too late, and is a model call: what it wraps has counted.
    late = ingest.add(ingest.json.decode(as_json(export_of(span("01", duration_ms=300)))), RECEIVED_MS).events
    assert late == ingest.release() == []
    assert ingest.nested.outcomes == {SpanOutcome.COUNTED: 1, SpanOutcome.NESTED: 1}


def test_a_late_chain_between_two_calls_does_not_make_them_count_twice() -> None:
    now_s = [0.0]
    ingest = make_ingest(nested=NestedCalls(wait_s=10, clock=lambda: now_s[0]))
    arrivals = [export_of(span("01", duration_ms=300), scope="a"), export_of(span("03", "02", start_ms=50), scope="b")]
    events = [each for export in arrivals for each in ingest.add(ingest.json.decode(as_json(export)), RECEIVED_MS)[0]]
    now_s[0] = 11
    events += ingest.expire()
    assert len(events) == 1
    middle = export_of(span("02", "01", attributes=HTTP))
    assert ingest.add(ingest.json.decode(as_json(middle)), RECEIVED_MS)[0] == []


def test_an_inner_call_that_counted_suppresses_only_what_is_around_it() -> None:
    """The outer call arrives after one of its two inner calls counted: the inner ones count, the outer does not."""
    now_s = [0.0]
    ingest = make_ingest(nested=NestedCalls(wait_s=10, clock=lambda: now_s[0]))
    ingest.add(ingest.json.decode(as_json(export_of(span("02", "01")))), RECEIVED_MS)
    now_s[0] = 11
    assert len(ingest.expire()) == 1
    rest = export_of(span("01", duration_ms=500), span("03", "01", start_ms=200))
    events = ingest.add(ingest.json.decode(as_json(rest)), RECEIVED_MS).events
    assert [event.decode().count("0000000003") for event in events] == [1]


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 1_000), marks=pytest.mark.long)])
def test_random_traces_count_the_outermost_calls_in_any_order_and_grouping(seeds: range) -> None:
    for seed in seeds:
        check_random_trace(seed)


def check_random_trace(seed: int) -> None:
    """Whatever the order within the wait, no counted call is inside of another, and every call is covered by one."""
    rng = random.Random(seed)
    n = rng.randint(2, 12)
    parents = [0, *(rng.randint(0, i) for i in range(1, n))]
    is_call = [rng.random() < 0.5 for _ in range(n + 1)]
    spans = []
    for i in range(1, n + 1):
        attributes = CALL if is_call[i] else HTTP
        parent = f"{parents[i - 1]:02x}" if parents[i - 1] else ""
        spans.append(span(f"{i:02x}", parent, start_ms=i, attributes=attributes))
    rng.shuffle(spans)
    cuts = sorted(rng.sample(range(1, n), rng.randint(0, min(3, n - 1))))
    exports = [export_of(*spans[a:b]) for a, b in itertools.pairwise([0, *cuts, n])]
    counted = {int(event["id"][-16:], 16) for event in predictions(exports)}

    def ancestors(i: int) -> list[int]:
        chain = []
        while parents[i - 1]:
            i = parents[i - 1]
            chain.append(i)
        return chain

    for i in range(1, n + 1):
        if is_call[i]:
            around = [j for j in ancestors(i) if j in counted]
            inside = [j for j in counted if i in ancestors(j)]
            assert (i in counted) + len(around) <= 1, seed
            assert i in counted or around or inside, seed


def call_of(trace: int, span_id: int, parent: int = 0) -> Candidate:
    built = span(f"{span_id:x}", f"{parent:x}" if parent else "", trace_id=f"{trace:x}")
    (decoded,) = make_ingest().json.decode(as_json(export_of(built))).spans
    assert isinstance(decoded, Span)
    call = CallReader(load_conventions()).read(decoded)
    assert isinstance(call, ModelCall)
    return Candidate(call.trace_id, call.span_id, call.parent_id, call)


def test_memory_is_bounded_evicted_calls_count_and_a_circle_of_parents_ends() -> None:
    nested = NestedCalls(max_spans=10)
    counted = []
    for trace in range(1, 31):
        counted += nested.add([call_of(trace, 2, parent=1)])
        assert nested.remembered <= 10
        assert nested.waiting <= 10
    counted += nested.release()
    assert len(counted) == 30
    assert nested.waiting == 0
    nested = NestedCalls(max_waiting=5)
    oldest = [call for trace in range(1, 9) for call in nested.add([call_of(trace, 2, parent=1)])]
    assert [int(call.trace_id.hex(), 16) for call in oldest] == [1, 2, 3]
    assert nested.waiting == 5
    nested = NestedCalls()
    assert len(nested.add([call_of(1, 2, parent=3), call_of(1, 3, parent=2)])) <= 2
    assert nested.waiting == 0
