import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, Field, Slice, Window

from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.monitor.state.offset_ledger import make_record_seq
from barograph_server.streams.rebuild import stopped_check
from barograph_server.streams.rebuild.raw_events import to_message
from barograph_server.streams.rebuild.recount import RebuildScope, recount
from barograph_server.streams.rebuild.stopped_check import MARGIN_S, POLL_INTERVAL_S, RebuildError, wait_until_stopped
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.registry.registry import build_registry
from barograph_server.warehouse.history.raw_rows import RawPrediction
from tests.support.fake_consumer import fake_settings
from tests.support.messages import NOW_MS, batch_of
from tests.support.monitor_harness import HOUR_S, MonitorHarness, event, make_registry
from tests.support.monitor_schedule import PARTIALS_TOPIC, T0_S, columns
from tests.support.pipeline import simple_contract

CONTRACT = Contract(
    model="toy",
    fields=(
        *simple_contract().fields,
        Field(name="score", type="float", source="score"),
        Field(name="class", type="category", source="class"),
        Field(name="cost", type="float", source="metrics.cost"),
        Field(name="latency", type="float", source="latency_ms"),
    ),
    slices=(Slice(name="region", source="context.region"), Slice(name="arm", source="arm")),
)
REGISTRY = build_registry([(CONTRACT, 1)], [])


def raw_event(i: int, **changes: Any) -> bytes:
    features = {"x": i / 7, "k": i % 5, "flag": i % 2 == 0, "colour": "rot \u2713"}
    plain = {"model": "toy", "version": "1", "id": f"e{i}", "at": NOW_MS - i, "features": features}
    more = {"score": 0.25, "class": "yes", "metrics": {"cost": 3}, "latency_ms": 12.5, "arm": "b"}
    return json.dumps(plain | more | {"context": {"region": "north"}} | changes).encode()


EVENTS = [
    raw_event(0),
    raw_event(1, features={"x": None, "k": 2**40, "flag": False}),
    raw_event(2, features={"x": 1e300, "colour": None}, score=None, metrics=None),
    raw_event(3, features={"x": "a text", "k": 0.5, "flag": 3, "colour": ""}),
    raw_event(4, features={}, context=None, arm=None, latency_ms=None),
    raw_event(5, error="timeout", status="504", **{"class": None}),
    raw_event(6, features={"x": "NaN", "k": "-Infinity"}),
]


def recorded(values: list[bytes]) -> list[bytes]:
    result = [row for table in JsonRows(REGISTRY).rows(batch_of(*values)) for row in table.to_pylist()]
    messages = []
    for row in sorted(result, key=lambda row: row["offset"]):
        maps = [dict(row[name]) for name in ("context", "numbers", "strings")]
        plain = [row[name] for name in ("partition", "offset", "version", "id")]
        times = [round(row[name].timestamp() * 1000) for name in ("at", "received_at")]
        rest = [row["nulls"], row["score"], row["class"], dict(row["scores"]), dict(row["metrics"])]
        rest += [row["latency_ms"], row["status"], row["error"]]
        messages.append(to_message("toy", RawPrediction._make([*plain, *times, row["arm"], *maps, *rest])))
    return messages


def decoded(values: list[bytes]) -> EventColumns:
    decoded = JsonDecoder(REGISTRY).decode(batch_of(*values))
    assert not decoded.rejected
    (events,) = decoded.events
    return events


def test_an_event_survives_recording() -> None:
    before, after = decoded(EVENTS), decoded(recorded(EVENTS))
    assert before.at_ms.tolist() == after.at_ms.tolist()
    assert before.errors.tolist() == after.errors.tolist()
    assert set(before.numbers) == set(after.numbers)
    for source, values in before.numbers.items():
        np.testing.assert_array_equal(after.numbers[source], values, err_msg=source)
    for source, texts in before.texts.items():
        assert after.texts[source].to_pylist() == texts.to_pylist(), source


def test_values_that_raw_rows_lack_give_fewer_invalid_values() -> None:
    odd = [raw_event(0, features={"x": True}, score=[1], latency_ms="slow")]
    before, after = decoded(odd), decoded(recorded(odd))
    for source in ("features.x", "score", "latency_ms"):
        assert np.isinf(before.numbers[source][0]), source
        assert not np.isinf(after.numbers[source][0]), source


AT_S = (T0_S + 10, T0_S + HOUR_S, T0_S + 4 * HOUR_S)
LATE_S = T0_S + 2 * HOUR_S


def test_late_events_do_not_move_the_start_of_a_window_in_a_recount() -> None:
    registry = make_registry(windows=(Window(6 * HOUR_S, HOUR_S, last=2),))
    monitor = MonitorHarness(registry, live=True)
    monitor.flush(*AT_S, caught_up_s=T0_S + 6 * HOUR_S + 1200)
    monitor.flush(LATE_S)
    late = {
        (row["version"], row["baseline_id"], row["slice"], row["pane_start"]): row["late"]
        for row in monitor.warehouse.tables["volume"].values()
        if row["late"]
    }
    assert {at_s for *_, at_s in late} == {LATE_S}
    expected = {
        (row["slice"], row["field"], row["window_start"], row["window_end"]): (row["n"], row["level"], row["reason"])
        for row in monitor.warehouse.last("drift").values()
    }
    scope = RebuildScope(
        model="m",
        from_s=T0_S,
        to_s=T0_S + 6 * HOUR_S,
        sealed_until_s=T0_S + 6 * HOUR_S,
        ended=False,
        partition=0,
        n_partitions=1,
        partials_topic_id=PARTIALS_TOPIC,
        record_seq=make_record_seq(1, monitor.offset),
        losses=(),
        keeps_panes=False,
        late=late,
    )
    events = columns("m", 0, [(i, event(at_s)) for i, at_s in enumerate([*AT_S, LATE_S])])
    tables = list(recount(monitor.make_store(), registry, scope, [events]))
    actual = {
        (row["slice"], row["field"], *(int(row[f"window_{end}"].timestamp()) for end in ("start", "end"))): (
            *(row["n"], row["level"], row["reason"]),
        )
        for name, table in tables
        if name == "drift"
        for row in table.to_pylist()
    }
    assert actual
    assert actual == {key: row for key, row in expected.items() if key in actual}
    starts = {int((end_s - T0_S) / HOUR_S): start_s for name, _, start_s, end_s in actual if name == "all"}
    assert starts[5] == T0_S + HOUR_S
    volume = [row for name, table in tables if name == "volume" for row in table.to_pylist() if row["slice"] == "all"]
    assert np.sum([row["late"] for row in volume]) == 1


SESSION_S = 10.0
SETTINGS = fake_settings(session_timeout_s=SESSION_S)


def wait(
    monkeypatch: pytest.MonkeyPatch, members: Callable[[float], int], last_report_ms: Callable[[float], int]
) -> tuple[float, list[str]]:
    """Wait for the monitors, on a clock that only pauses advance; return how long it took and the reported steps."""
    pauses_s: list[float] = []

    def now_s() -> float:
        return sum(pauses_s)

    admin = SimpleNamespace(members=lambda group: {"monitor": members(now_s())}[group])
    monkeypatch.setattr(stopped_check, "Admin", lambda *_, **__: admin)
    steps: list[str] = []
    client: Any = SimpleNamespace(rows=lambda sql, parameters: [("monitor", "monitor-0", last_report_ms(now_s()))])
    wait_until_stopped(SETTINGS, client, ["monitor"], steps.append, clock=now_s, sleep=pauses_s.append)
    return now_s(), steps


def test_it_waits_until_the_session_of_a_stopped_processor_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    took_s, steps = wait(monkeypatch, lambda now_s: int(now_s < SESSION_S), lambda _: 1)
    assert took_s == SESSION_S
    assert set(steps) == {"waiting for the sessions of monitor to expire"}
    assert len(steps) == SESSION_S / POLL_INTERVAL_S
    assert wait(monkeypatch, lambda _: 0, lambda _: 1) == (0.0, [])
    with pytest.raises(RebuildError, match="Running: monitor monitor-0"):
        wait(monkeypatch, lambda _: 1, lambda now_s: int(now_s))


def test_a_group_that_never_empties_is_rejected_after_the_session_and_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    polls: list[float] = []

    def members(now_s: float) -> int:
        polls.append(now_s)
        return 1

    with pytest.raises(RebuildError, match="Running: monitor"):
        wait(monkeypatch, members, lambda _: 1)
    assert SESSION_S + MARGIN_S < polls[-1] <= SESSION_S + MARGIN_S + POLL_INTERVAL_S
