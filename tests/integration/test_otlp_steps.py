"""Calls of tools: rows with calls, errors and time by tool, and keyed hashes of users and sessions."""

import time

import msgspec
from barograph.contract import Field, Slice, Window
from barograph.publisher.pii import KEY_VARIABLE

from tests.support.otlp import RECEIVED_MS, as_json, export_of, post, span, start
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract


def test_tools_have_calls_errors_and_time_by_tool_and_hashed_users(pipeline: Pipeline) -> None:
    pipeline.create()
    pipeline.environ[KEY_VARIABLE] = "a key of sixteen bytes"
    toy = simple_contract()
    contract = simple_contract(
        model="support-bot.tools",
        pane_s=60,
        lateness_s=0,
        out_of_order_s=0,
        windows=(Window(3600, 600),),
        slices=(*toy.slices, Slice(name="tool", source="context.tool", values=("search", "mail"))),
        fields=(*toy.fields, Field(name="user", type="category", source="context.user", pii="hash")),
    )
    baseline = msgspec.structs.replace(simple_baseline(), model=contract.model, version="1")
    pipeline.register(contract, [baseline])
    port = start(pipeline)
    pipeline.start_all("sketcher", "recorder", "monitor")
    now_ms = time.time() * 1000 - RECEIVED_MS - 180_000
    spans = []
    for i in range(10):
        name, failed = ("mail", {"error.type": "Refused"} if i == 9 else {}) if i >= 6 else ("search", {})
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "enduser.id": "ann", **failed}
        spans.append(span(f"{i + 1:x}", trace_id="99", attributes=attributes, start_ms=now_ms, duration_ms=10 * i + 10))
    assert post(port, as_json(export_of(*spans)))[0] == 200
    by_tool = (
        "SELECT context['tool'] AS tool, count(), countIf(error != ''), max(latency_ms), uniqExact(context['user']) "
        "FROM predictions FINAL WHERE model = 'support-bot.tools' GROUP BY tool ORDER BY tool"
    )
    pipeline.wait_rows("SELECT count() = 10 FROM predictions FINAL", "ten calls")
    assert pipeline.rows(by_tool) == [("mail", 4, 1, 100, 1), ("search", 6, 0, 60, 1)]
    assert pipeline.rows("SELECT countIf(context['user'] = 'ann') FROM predictions") == [(0,)]
    volume = (
        "SELECT slice, sum(n), sum(errors) FROM volume FINAL WHERE n > 0 AND slice NOT LIKE 'region%' "
        "GROUP BY slice ORDER BY slice"
    )
    pipeline.wait_rows(f"SELECT count() = 3 FROM ({volume})", "slices of tools")
    assert pipeline.rows(volume) == [("all", 10, 1), ("tool=mail", 4, 1), ("tool=search", 6, 0)]
    pipeline.stop()
