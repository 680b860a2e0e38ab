from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from barograph.contract.file import dump_contract
from barograph.publisher.pii import KEY_VARIABLE, FieldHash, PiiKeyError

from barograph_server.alerts.settings import AlertSettings
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables, InjectionRequest, find_fault
from barograph_server.drills.faults.fault import epoch_ms
from barograph_server.drills.run import live_checks
from barograph_server.drills.run.plan import DrillPlan, DrillRequest, control_model, fault_period, plan_drill
from barograph_server.drills.run.session import read_event_files
from barograph_server.drills.run.suite import read_suite
from barograph_server.errors import ApplyError
from barograph_server.provisioning.files import read_contracts
from barograph_server.settings import Settings
from tests.support.drill_events import CONTRACT, HOUR_MS, START_MS, baseline, make_events, without
from tests.support.drill_simulation import ON_CALL
from tests.support.live_model import LIVE_CONTRACT, live_events

EVENTS = make_events()
ROUTED = without(CONTRACT, route="shop")


def plan(fault: str = "mean-shift", contract: Any = ROUTED, **options: Any) -> DrillPlan:
    request = DrillRequest(InjectionRequest(find_fault(fault)), **options)
    return plan_drill("7", request, contract, baseline(), EVENTS, ON_CALL)


def test_the_fault_starts_in_the_middle_or_as_requested() -> None:
    at = epoch_ms(EVENTS.predictions)
    period = fault_period(EVENTS, None, None)
    middle = (at.min() + at.max() + 1) // 2
    assert abs(period.start_ms - middle) <= 1
    assert abs((at.max() - period.end_ms) - (period.end_ms - middle)) <= 2000
    assert fault_period(EVENTS, None, 3600).end_ms == period.start_ms + HOUR_MS
    period = fault_period(EVENTS, 7200, 3600)
    assert (period.start_ms - at.min(), period.end_ms - at.min()) == (2 * HOUR_MS, 3 * HOUR_MS)


def test_periods_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(DrillError, match="use a shorter --duration, an earlier --start or a longer --history"):
        fault_period(EVENTS, None, 30 * 86_400)
    with pytest.raises(DrillError, match="use a shorter --start or a longer --history"):
        fault_period(EVENTS, 30 * 86_400, None)
    one = EventTables(EVENTS.predictions.slice(0, 1), EVENTS.labels)
    with pytest.raises(DrillError, match="All events are at the same time"):
        fault_period(one, None, None)


def test_a_plan_states_what_must_happen() -> None:
    result = plan()
    assert result.model.contract.model == "drill.shop.7"
    assert list(map(str, result.expectation.alerts)) == ["page psi-major x to on-call"]
    assert result.expectation.guard == "degraded"
    assert {rule.model for rule in result.model.rules} == {"drill.shop.7"}
    assert result.events.predictions != EVENTS.predictions


def test_a_broken_route_is_rejected_and_the_control_needs_none() -> None:
    with pytest.raises(DrillError, match=r"No notification would arrive: .*the route 'nowhere' is not known here"):
        plan(route="nowhere")
    with pytest.raises(DrillError, match="the route 'old' is not known"):
        plan(contract=without(CONTRACT, route="old"))
    assert str(plan(route="tickets").expectation.alerts[0]) == "page psi-major x to tickets"
    control = control_model(without(CONTRACT, route="nowhere"), baseline(), "r", ON_CALL)
    assert control.contract.model == "drill.shop.r-control"
    assert control.rules


ROOT = Path(__file__).resolve().parents[3]


def test_a_suite_is_read(tmp_path: Path) -> None:
    path = tmp_path / "drills.yaml"
    path.write_text(
        "suite: 1\nmodel: shop\nhistory: 8d\ndrills:\n"
        "  - {fault: mean-shift, field: x, magnitude: -2, duration: 1d, route: ops}\n  - {fault: silence}\n"
    )
    suite = read_suite(path)
    assert (suite.model, suite.version, suite.history_s) == ("shop", None, 8 * 86_400)
    first, second = suite.requests
    assert (first.injection.fault.name, first.injection.field, first.injection.magnitude) == ("mean-shift", "x", -2.0)
    assert (first.duration_s, first.route) == (86_400, "ops")
    assert second.injection.fault.name == "silence"


def test_the_suite_of_the_flights_is_valid() -> None:
    assert len(read_suite(ROOT / "examples" / "flights" / "drills.yaml").requests) >= 8


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    events = make_events(300)
    paths = [tmp_path / "predictions.parquet", tmp_path / "labels.parquet"]
    pq.write_table(events.predictions, paths[0])
    pq.write_table(events.labels, paths[1])
    return paths


def test_predictions_and_labels_are_read(files: list[Path]) -> None:
    events = make_events(300)
    version, result = read_event_files(files, CONTRACT, None)
    assert version == "1"
    assert set(result.predictions.column_names) == set(events.predictions.column_names)
    for name in events.predictions.column_names:
        assert result.predictions[name].to_pylist() == events.predictions[name].to_pylist(), name
    assert result.labels.to_pylist() == events.labels.to_pylist()
    _, result = read_event_files(files[:1], CONTRACT, "1")
    assert (result.labels.num_rows, result.labels.column_names) == (0, ["id", "label", "at"])


def test_hashed_fields_have_the_hashes_of_the_model(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    fields = tuple(
        msgspec.structs.replace(field, pii="hash") if field.name == "colour" else field for field in CONTRACT.fields
    )
    contract = without(CONTRACT, fields=fields)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(PiiKeyError):
        read_event_files(files, contract, None)
    key = "a key that only this test uses"
    monkeypatch.setenv(KEY_VARIABLE, key)
    _, result = read_event_files(files, contract, None)
    hashed = FieldHash(key.encode(), "shop", "features.colour")
    colours = make_events(300).predictions["features.colour"].to_pylist()
    values = result.predictions["features.colour"].to_pylist()
    assert values == [None if colour is None else hashed(colour) for colour in colours]


KINDS = ("sketcher", "recorder", "monitor", "scorer")
CLIENT: Any = SimpleNamespace(where="clickhouse.example.com:8123")


def check(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, silent: tuple[str, ...] = (), timeout_s: float = 600
) -> None:
    rows = [SimpleNamespace(kind=kind, silent_s=60 if kind in silent else 1) for kind in KINDS]
    monkeypatch.setattr(live_checks, "processors", lambda client: rows)
    live_checks.check_live(CLIENT, settings, LIVE_CONTRACT, live_events(START_MS, 300), timeout_s)


def test_a_live_drill_needs_processors_on_the_live_clock_and_enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, Settings())
    with pytest.raises(DrillError, match=r"^No sketcher and no scorer reports to ClickHouse at clickhouse.example.com"):
        check(monkeypatch, Settings(), silent=("sketcher", "scorer"))
    with pytest.raises(DrillError, match="run on the replay clock"):
        check(monkeypatch, replace(Settings(), clock="replay"))
    with pytest.raises(DrillError, match=r"takes as long as its events: 5m 20s.* with --timeout 320,"):
        check(monkeypatch, Settings(), timeout_s=200)


def test_the_windows_of_the_expected_rules_must_fit_into_the_events() -> None:
    request = DrillRequest(InjectionRequest(find_fault("mean-shift"), "x"))
    events = live_events(START_MS, 300)
    fitting = plan_drill("1", request, LIVE_CONTRACT, baseline(LIVE_CONTRACT), events, AlertSettings(), "live")
    live_checks.check_windows(fitting)
    long = plan_drill("1", request, CONTRACT, baseline(), events, AlertSettings(), "live")
    with pytest.raises(DrillError, match=r"windows of 1d, and only 3m 44s of events precede the end of the fault"):
        live_checks.check_windows(long)
    assert live_checks.live_range_s(CONTRACT, Settings()) >= 6 * 86_400, "long enough for the recovery"
    assert live_checks.live_range_s(LIVE_CONTRACT, Settings()) > 4 * 80


def test_apply_rejects_the_names_of_drills(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(dump_contract(msgspec.structs.replace(LIVE_CONTRACT, model="drill.shop.1")), encoding="utf-8")
    with pytest.raises(ApplyError, match=r"the model is called drill.shop.1, and names that begin with drill. belong"):
        read_contracts([path])
