"""Calls of tools: rows with calls, errors and time by tool, and keyed hashes of users."""

import msgspec
from barograph.contract import Field, Slice
from barograph.publisher.pii import KEY_VARIABLE

from barograph_server.sketches.baseline.baseline import Baseline
from tests.support.otlp import as_json, export_of, post, span, start
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract


def test_tools_have_calls_errors_and_time_by_tool_and_hashed_users(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.environ[KEY_VARIABLE] = "a key of sixteen bytes"
    contract = simple_contract(
        model="support-bot.tools",
        slices=(Slice(name="tool", source="context.tool", values=("search", "mail")),),
        fields=(*simple_contract().fields, Field(name="user", type="category", source="context.user", pii="hash")),
    )
    baseline = msgspec.json.encode(msgspec.structs.replace(simple_baseline(), model=contract.model, version="1"))
    for region, tool in ((b"region", b"tool"), (b"north", b"search"), (b"south", b"mail")):
        baseline = baseline.replace(region, tool)
    pipeline.register(contract, [msgspec.json.decode(baseline, type=Baseline)])
    port = start(pipeline)
    pipeline.clock = "replay"
    pipeline.start_all("sketcher", "recorder", "monitor")
    spans = []
    for i in range(10):
        name, failed = ("mail", {"error.type": "Refused"} if i == 9 else {}) if i >= 6 else ("search", {})
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "enduser.id": "ann", **failed}
        spans.append(span(f"{i + 1:x}", trace_id="99", attributes=attributes, duration_ms=10 * i + 10))
    assert post(port, as_json(export_of(*spans)))[0] == 200
    pipeline.end(1)
    pipeline.wait_rows("SELECT count() = 10 FROM predictions FINAL", "ten calls")
    by_tool = (
        "SELECT context['tool'] AS tool, count(), countIf(error != ''), max(latency_ms), uniqExact(context['user']) "
        "FROM predictions FINAL WHERE model = 'support-bot.tools' GROUP BY tool ORDER BY tool"
    )
    assert pipeline.rows(by_tool) == [("mail", 4, 1, 100, 1), ("search", 6, 0, 60, 1)]
    assert pipeline.rows("SELECT countIf(context['user'] = 'ann') FROM predictions") == [(0,)]
    pipeline.wait_judged(10)
    volume = "SELECT slice, sum(n), sum(errors) FROM volume FINAL WHERE n > 0 GROUP BY slice"
    assert {("all", 10, 1), ("tool=mail", 4, 1), ("tool=search", 6, 0)} <= {*pipeline.rows(volume)}
    pipeline.stop()
