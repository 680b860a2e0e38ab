"""Calls of tools and agents are predictions of models of their own, if these have a contract."""

from typing import Any

import pytest

from barograph_server.streams.otlp.rejection import SpanOutcome, SpanReason
from tests.support.otlp import RECEIVED_MS, as_json, export_of, make_ingest, predictions, span

ALL = frozenset(("support-bot.tools", "support-bot.agents"))
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search", "gen_ai.tool.call.arguments": "SECRET"}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "Support agent", "gen_ai.usage.input_tokens": 9}


def ingest_of(*models: str) -> Any:
    return make_ingest(has_contract={*models}.__contains__)


def steps_of(*spans: dict[str, Any], models: Any = ALL) -> list[dict[str, Any]]:
    return predictions([export_of(*spans)], ingest=ingest_of(*models))


def test_tools_and_agents_are_rows_with_errors_and_time() -> None:
    failed: dict[str, Any] = {"status": {"code": 2, "message": "SECRET"}}
    agent, tool, call = steps_of(
        span("01", attributes=AGENT | {"gen_ai.conversation.id": "c1", "user.id": "ann"}, duration_ms=900),
        span("02", "01", attributes=TOOL | {"error.type": "TimeoutError"}, start_ms=1, duration_ms=50, **failed),
        span("03", "01", start_ms=2),
    )
    assert (agent["model"], agent["version"], agent["latency_ms"]) == ("support-bot.agents", "1", 900)
    assert agent["context"] == {
        **{"agent": "Support agent", "operation": "invoke_agent", "instrumentation": "test"},
        **{"session": "c1", "user": "ann"},
    }
    assert "metrics" not in agent, "its tokens are those of the calls inside"
    assert (tool["model"], tool["error"], tool["latency_ms"]) == ("support-bot.tools", "TimeoutError", 50)
    assert tool["context"] == {"tool": "search", "operation": "execute_tool", "instrumentation": "test"}
    assert call["model"] == "support-bot"
    assert "SECRET" not in str((agent, tool))


@pytest.mark.parametrize(
    ("attributes", "model", "context"),
    [
        ({"openinference.span.kind": "TOOL", "tool.name": "t"}, "support-bot.tools", {"tool": "t"}),
        ({"openinference.span.kind": "AGENT", "agent.name": "a"}, "support-bot.agents", {"agent": "a"}),
        ({"traceloop.span.kind": "tool", "traceloop.entity.name": "t"}, "support-bot.tools", {"tool": "t"}),
        ({"langfuse.observation.type": "agent"}, "support-bot.agents", {}),
    ],
)
def test_tools_and_agents_of_other_conventions(attributes: Any, model: str, context: dict[str, str]) -> None:
    (event,) = steps_of(span(attributes=attributes))
    assert (event["model"], event["context"]) == (model, {"instrumentation": "test"} | context)


@pytest.mark.parametrize("first", [0, 1])
def test_a_tool_that_two_instrumentations_describe_counts_once(first: int) -> None:
    """Two calls of a tool in parallel; beside them a tool of another name, and one with another id."""
    other = {"traceloop.span.kind": "tool", "traceloop.entity.name": "search"}
    tool, named = TOOL | {"gen_ai.tool.call.id": "1"}, {"gen_ai.tool.name": "mail"}
    exports = [
        export_of(*(span(f"1{i}", "01", attributes=tool, duration_ms=50) for i in range(2)), scope="outer"),
        export_of(
            *(span(f"2{i}", f"1{i}", attributes=other, start_ms=1, duration_ms=48) for i in range(2)),
            span("22", "01", attributes=TOOL | named, start_ms=1, duration_ms=10),
            span("23", "01", attributes=TOOL | {"gen_ai.tool.call.id": "2"}, start_ms=1, duration_ms=10),
            scope="inner",
        ),
    ]
    ingest = ingest_of(*ALL)
    events = predictions([exports[first], exports[1 - first]], ingest=ingest)
    assert sorted(event["context"]["tool"] for event in events) == ["mail", "search", "search", "search"]
    assert (ingest.nested.outcomes[SpanOutcome.TWIN], ingest.nested.outcomes[SpanOutcome.STEP]) == (2, 4)


def test_only_what_has_a_contract_is_published_once_and_acknowledged_with_the_rest() -> None:
    tool, agent = span("02", "01", attributes=TOOL), span("01", attributes=AGENT)
    assert steps_of(tool, agent, models=()) == []
    assert [each["model"] for each in steps_of(tool, agent, models=["support-bot.tools"])] == ["support-bot.tools"]
    ingest = ingest_of(*ALL)
    decode = ingest.json.decode
    export = as_json(export_of(tool, tool, agent))
    first, again = (ingest.add(decode(export), RECEIVED_MS) for _ in range(2))
    assert (len(first.events), len(again.events)) == (2, 0)
    assert len(first.calls) == len(again.calls) == 2, "an answer waits until Kafka has them"
    # A tool without a time counts nowhere, and still separates the calls inside of it from those around.
    outer, late, inner = span("11"), span("12", "11", attributes=TOOL), span("13", "12")
    added = ingest.add(decode(as_json(export_of(outer, late | {"startTimeUnixNano": "0"}, inner))), RECEIVED_MS)
    assert (len(added.events), added.rejected) == (2, {SpanReason.BAD_TIME: 1})
