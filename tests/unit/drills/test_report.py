import random
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Contract, Fallback, Field
from barograph.contract.alerts import AlertRule, Alerts
from barograph.contract.check import check_contract
from barograph.contract.file import dump_contract, parse_contract
from barograph.publisher.pii import KEY_VARIABLE, FieldHash, PiiKeyError

from barograph_server.alerts.guard.degrading import degrading_instances
from barograph_server.alerts.guard.model_guard import ModelGuard
from barograph_server.alerts.rules import rules_of
from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.simulator import Simulation
from barograph_server.alerts.wall_clock import LiveInstance
from barograph_server.drills.derived_model import derive_baseline, derive_contract, drill_name
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables, FaultPeriod, InjectionRequest, find_fault, plan_injection
from barograph_server.drills.faults.fault import Injection, epoch_ms
from barograph_server.drills.guard_states import guard_states
from barograph_server.drills.live_times import label_arrivals, move_to, prediction_arrivals
from barograph_server.drills.report import DrillObservations, DrillReport, GuardObservation, expect, recovery_s, report
from barograph_server.drills.run import live_checks
from barograph_server.drills.run.plan import DrillPlan, DrillRequest, control_model, fault_period, plan_drill
from barograph_server.drills.run.run import arrival_days, publish
from barograph_server.drills.run.session import read_event_files
from barograph_server.drills.run.suite import read_suite
from barograph_server.drills.webhook import DeliveredAlert, Deliveries, WebhookReceiver, deliver, to_webhook
from barograph_server.errors import ApplyError
from barograph_server.provisioning.files import read_contracts
from barograph_server.settings import Settings
from barograph_server.sketches.baseline.fit import fit_problems
from tests.support import drill_models
from tests.support.drill_models import CONTRACT, HOUR_MS, LIVE_CONTRACT, baseline, make_events, without
from tests.support.drill_simulation import HOUR_S, ON_CALL, rule_of, simulation

EVENTS = make_events()
START_S, END_S, UNTIL_S = 100 * HOUR_S, 200 * HOUR_S, 400 * HOUR_S
ROUTED = without(CONTRACT, route="shop", fallback=Fallback(recover_s=HOUR_S))


def injected(
    fault: str, contract: Contract = CONTRACT, period: FaultPeriod = drill_models.PERIOD, **options: Any
) -> Injection:
    return plan_injection(InjectionRequest(find_fault(fault), **options), contract, baseline(), period)


def run(
    contract: Contract = ROUTED,
    fires: Sequence[tuple[str, str, int, int]] = (("psi-major", "x", 110, 230),),
    control: Sequence[tuple[str, str, int, int]] = (),
    fault: str = "mean-shift",
    arrives: bool = True,
    point: str = "",
    problems: Sequence[str] = (),
    guard: Sequence[GuardObservation] | None = None,
    until_s: int = UNTIL_S,
) -> DrillReport:
    rules = rules_of(contract, ON_CALL)
    injection = injected(fault, contract, FaultPeriod(START_S * 1000, END_S * 1000))
    expectation = expect(injection, contract, rules, ON_CALL)

    def simulated(hours: Sequence[tuple[str, str, int, int]]) -> Any:
        periods = [(rule_of(contract, name, key), key, a * HOUR_S, b * HOUR_S) for name, key, a, b in hours]
        return simulation(rules, periods, until_s)

    happened, base = simulated(fires), simulated(control)
    delivered = [
        DeliveredAlert(sent.at, alert.start, point or sent.point, alert.label_map)
        for sent in happened.notifications
        for alert in sent.firing
    ]
    served = {"degraded": "fallback", "healthy": "primary"}
    if guard is None:
        states = guard_states(contract, happened)
        guard = [GuardObservation(each.at_ms // 1000, each.state, served[each.state]) for each in states]
    deliveries = Deliveries(delivered if arrives else [], list(problems))
    observations = DrillObservations(happened, base, deliveries, guard, guard_states(contract, base))
    return report(injection, contract, expectation, observations)


def failures(result: DrillReport) -> list[tuple[str, str]]:
    return [(check.expected, check.observed) for check in result.checks if not check.is_met]


def test_a_drill_passes() -> None:
    result = run()
    assert result.passed, failures(result)
    assert [check.expected for check in result.checks] == [
        "page psi-major x to on-call",
        "no other page",
        "the guard degrades and serving uses the fallback",
        "the guard recovers and serving uses the primary",
    ]
    assert result.page_after_s == 10 * HOUR_S + 30
    assert result.degraded_after_s == 10 * HOUR_S
    assert result.recovered_after_s == 31 * HOUR_S


PAGE, DEGRADES = "page psi-major x to on-call", "the guard degrades and serving uses the fallback"
HEALTHY = (DEGRADES, "it stayed healthy")
DISABLED = without(ROUTED, alerts=Alerts(rules={"psi-major": AlertRule(severity="none")}))
NO_RULE = "the contract has no rule psi-major for x; see alerts.rules.psi-major in it"
FAILED = "on-call: notification by webhook failed: the server returned 500 Internal Server Error."
LATE = (GuardObservation(110 * HOUR_S, "degraded", "primary"), GuardObservation(231 * HOUR_S, "healthy", "primary"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"fires": ()}, [(PAGE, "it did not fire"), HEALTHY], id="no-firing"),
        pytest.param(
            {"fires": (), "contract": DISABLED},
            [("psi-major x, which the contract disables", NO_RULE), HEALTHY],
            id="disabled",
        ),
        pytest.param(
            {"arrives": False, "problems": [FAILED]},
            [(PAGE, "it fired, and no notification arrived"), ("every notification is delivered", FAILED)],
            id="no-notification",
        ),
        pytest.param({"point": "tickets"}, [(PAGE, "the notification arrived at tickets")], id="contact-point"),
        pytest.param({"guard": LATE}, [(DEGRADES, "degraded, the primary answered 0 ms after the record")], id="serve"),
    ],
)
def test_a_drill_that_fails_says_what_was_expected_and_observed(changes: Any, expected: list[tuple[str, str]]) -> None:
    assert failures(run(**changes))[: len(expected)] == expected


def test_a_rule_that_fires_without_the_fault_proves_nothing() -> None:
    result = run(control=(("psi-major", "x", 90, 230),))
    assert failures(result)[0][1] == "it fires without the fault too; choose another field or range"
    assert result.notes == ("The guard is not checked: without the fault the model is degraded in this range as well.",)


def test_a_page_of_the_control_that_is_over_does_not_hide_the_fault() -> None:
    assert run(control=(("psi-major", "x", 10, 20),)).passed


def test_another_page_fails_and_one_of_the_control_does_not() -> None:
    other = (("psi-major", "x", 110, 230), ("silence", "", 150, 160))
    assert failures(run(fires=other)) == [("no other page", "page silence")]
    assert run(fires=other, control=(("silence", "", 151, 160),)).passed
    assert run(fires=(("psi-major", "x", 110, 230), ("silence", "", 50, 60))).passed, "before the fault"


def test_the_guard_must_recover_if_the_range_is_long_enough() -> None:
    stuck = [GuardObservation(0, "healthy", "primary"), GuardObservation(110 * HOUR_S, "degraded", "fallback")]
    assert failures(run(guard=stuck)) == [("the guard recovers and serving uses the primary", "it stayed degraded")]
    short = run(until_s=END_S + 10 * HOUR_S)
    assert short.passed
    assert "The events end before the guard can recover" in short.notes[0]
    assert 24 * HOUR_S < recovery_s(ROUTED, rules_of(ROUTED, ON_CALL)) < 40 * HOUR_S


def test_a_fault_that_no_rule_sees_must_change_nothing() -> None:
    assert run(fault="duplicates", fires=()).passed
    wrong = run(fault="duplicates")
    assert failures(wrong) == [("no other page", "page psi-major x"), ("the guard stays healthy", "degraded")]


def test_the_expected_state_follows_the_contract() -> None:
    def state(fault: str, contract: Contract = ROUTED, **options: Any) -> Any:
        injection = injected(fault, contract, **options)
        return expect(injection, contract, rules_of(contract, ON_CALL), ON_CALL).guard

    without_errors = without(ROUTED, fallback=msgspec.structs.replace(ROUTED.fallback, rules=("psi-major",)))
    assert state("mean-shift", field="x") == "degraded"
    assert state("mean-shift", field="y") == "healthy", "not critical"
    assert state("error-burst", without_errors) == "healthy", "not a rule of the fallback"
    assert state("silence") is None, "psi-major may fire in the partial windows after it"
    assert state("slice-lost") is None, "psi-major of a critical field may fire"
    only = without(ROUTED, fallback=msgspec.structs.replace(ROUTED.fallback, rules=("silence",)))
    assert state("mean-shift", only, field="x") == "healthy"
    assert state("silence", only) == "degraded"


SHOP = without(CONTRACT, route="shop")


def happened(n: int = 1) -> Simulation:
    rules = rules_of(SHOP, ON_CALL)
    x, y = (rule_of(SHOP, "psi-major", key) for key in ("x", "y"))
    periods = [(x, "x", (10 + 50 * i) * HOUR_S, (30 + 50 * i) * HOUR_S) for i in range(n)]
    return simulation(rules, [*periods, (y, "y", 40 * HOUR_S, 50 * HOUR_S)], 2000 * HOUR_S)


def test_notifications_arrive_at_the_contact_points_of_the_routes() -> None:
    with WebhookReceiver() as receiver:
        deliveries = deliver(happened(), ON_CALL, receiver.url, receiver)
        bodies = receiver.bodies
    assert not deliveries.problems
    assert [(each.point, each.labels["rule"], each.labels["field"]) for each in deliveries.alerts] == [
        ("on-call", "psi-major", "x"),
        ("tickets", "psi-major", "y"),
    ]
    assert (deliveries.alerts[0].at_s, deliveries.alerts[0].since_s) == (10 * HOUR_S + 30, 10 * HOUR_S)
    assert [body["status"] for body in bodies] == ["firing", "resolved", "firing", "resolved"]
    assert bodies[0]["alerts"][0]["annotations"]["summary"].startswith("shop: PSI of x is 1")


def test_nobody_is_paged() -> None:
    integrations = {each for point in to_webhook(ON_CALL).contact_points.values() for each in point}
    assert {(each.kind, each.variable) for each in integrations} == {("webhook", "DRILL_WEBHOOK")}


def test_a_webhook_that_fails_or_never_answers_is_reported_and_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    start_s = time.monotonic()
    with WebhookReceiver(status=500) as receiver:
        failing = deliver(happened(20), ON_CALL, receiver.url, receiver)
    monkeypatch.setattr("barograph_server.alerts.webhooks.TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = deliver(happened(20), ON_CALL, f"http://127.0.0.1:{server.getsockname()[1]}/", None)
    assert time.monotonic() - start_s < 40
    assert not failing.alerts
    assert failing.problems[0].startswith("on-call: notification by webhook failed: the server returned 500")
    assert failing.problems[-1] == "The remaining notifications were not sent."
    text = "on-call: notification by webhook failed: timed out."
    assert not silent.alerts
    assert silent.problems == [text, text, "The remaining notifications were not sent."]


def test_another_webhook_decides_by_its_answers() -> None:
    with WebhookReceiver() as receiver:
        assert len(deliver(happened(), ON_CALL, receiver.url, None).alerts) == 2
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    deliveries = deliver(happened(), ON_CALL, url, None)
    assert not deliveries.alerts
    assert "connection refused" in deliveries.problems[0]
    with pytest.raises(DrillError, match="does not start with http"):
        deliver(happened(), ON_CALL, "ftp://x", None)


@pytest.mark.parametrize("seed", range(2))
def test_states_equal_those_of_every_second(seed: int) -> None:
    generator = random.Random(seed)
    contract = without(CONTRACT, fallback=Fallback(hold_s=generator.choice([0, 700]), recover_s=900))
    rules = rules_of(contract, ON_CALL)
    periods = []
    for name, key in (("psi-major", "x"), ("psi-major", "y"), ("errors", ""), ("silence", "")):
        rule, at = rule_of(contract, name, key), 0
        for _ in range(4):
            at += 1200 + 60 * generator.randrange(60)
            end = at + 600 + 60 * generator.randrange(40)
            periods.append((rule, key, at, end))
            at = end + 600
    replayed = simulation(rules, periods, 30_000)
    changes = sorted(
        ((change, replay.rule) for replay in replayed.replays for change in replay.transitions),
        key=lambda pair: pair[0].at,
    )
    guard = ModelGuard(contract.model, contract.fallback, "drill")
    active: dict[tuple[str, str], LiveInstance] = {}
    states: list[tuple[int, str]] = []
    for now in range(30_001):
        while changes and changes[0][0].at <= now:
            change, rule = changes.pop(0)
            active.pop((rule.uid, change.key), None)
            if change.after in ("Pending", "Alerting", "Recovering"):
                active[rule.uid, change.key] = LiveInstance(rule, change.key, change.after, change.at, {}, "")
        record = guard.evaluate(now, degrading_instances(contract, active.values()), "")
        if not states or states[-1][1] != record.state:
            states.append((now, record.state))
    assert [(each.at_ms // 1000, each.state) for each in guard_states(contract, replayed)] == states
    assert {"healthy", "degraded"} == {state for _, state in states}


NOW_MS = 1_800_000_000_000


def faulty(name: str, **options: Any) -> EventTables:
    return injected(name, **options).apply(EVENTS)


@pytest.mark.parametrize("name", ["mean-shift", "late-events", "clock-fast", "silence", "label-stop", "label-delay"])
def test_a_replay_publishes_every_event_once_and_in_order(name: str) -> None:
    events, sink = faulty(name), Mock(predictions=Mock(side_effect=len), labels=Mock(side_effect=len))
    assert publish(events, sink) == (events.predictions.num_rows, events.labels.num_rows)
    for method, whole in ((sink.predictions, events.predictions), (sink.labels, events.labels)):
        assert pa.concat_tables([call.args[0] for call in method.call_args_list]) == whole


def test_a_replay_interleaves_predictions_and_labels_by_day() -> None:
    parts = list(arrival_days(EVENTS))
    assert len(parts) == 4, "the last labels arrive on the day after"
    assert [predictions.num_rows > 0 for predictions, _ in parts] == [True, True, True, False]


def test_all_times_of_a_live_drill_move_by_the_same_amount() -> None:
    moved = move_to(EVENTS, CONTRACT, NOW_MS)
    delta_ms = NOW_MS - int(epoch_ms(EVENTS.predictions)[0])
    for before, after in ((EVENTS.predictions, moved.predictions), (EVENTS.labels, moved.labels)):
        assert (epoch_ms(after) - epoch_ms(before) == delta_ms).all()
    before_age, after_age = (
        epoch_ms(each.predictions) - each.predictions["features.updated"].to_numpy(zero_copy_only=False)
        for each in (EVENTS, moved)
    )
    assert np.array_equal(before_age, after_age, equal_nan=True), "the age of a timestamp stays"


def test_arrivals_of_a_live_drill_follow_the_fault() -> None:
    recorded = EVENTS.predictions
    fast = faulty("clock-fast").predictions
    assert (epoch_ms(fast) > epoch_ms(recorded)).any()
    assert (prediction_arrivals(fast, recorded) == epoch_ms(recorded)).all(), "times change and arrivals do not"
    late = faulty("late-events", magnitude=6.0).predictions
    arrivals = prediction_arrivals(late, recorded)
    delay_ms = arrivals - epoch_ms(late)
    assert (np.diff(arrivals) >= 0).all()
    assert 5.9 * 3_600_000 < delay_ms.max() <= 6 * 3_600_000
    assert (delay_ms == 0).mean() > 0.9
    twice = faulty("duplicates").predictions
    assert len(prediction_arrivals(twice, recorded)) == twice.num_rows > recorded.num_rows
    assert (label_arrivals(EVENTS.labels) == epoch_ms(EVENTS.labels)).all()


def test_only_the_name_differs() -> None:
    name = drill_name("shop", "1")
    derived = derive_contract(CONTRACT, name)
    assert derived == without(CONTRACT, model="drill.shop.1")
    check_contract(derived)
    assert parse_contract(dump_contract(derived), "drill") == derived
    assert derive_baseline(baseline(), name).model == name
    assert fit_problems(derived, derive_baseline(baseline(), name)) == fit_problems(CONTRACT, baseline())


def test_values_are_published_as_they_are_recorded() -> None:
    fields = (
        Field(name="a", type="category", source="features.a", pii="hash"),
        Field(name="b", type="category", source="features.b", pii="drop"),
    )
    derived = derive_contract(without(CONTRACT, fields=fields, raw_share=0.1), "drill.shop.1")
    assert [field.pii for field in derived.fields] == ["keep", "drop"]
    assert derived.raw_share == 1.0


def test_a_route_replaces_all_routes() -> None:
    rules = {"psi-major": AlertRule(route="a", threshold=0.3)}
    contract = without(CONTRACT, route="b", alerts=Alerts(rules=rules))
    assert derive_contract(contract, "m").alerts.rule("psi-major").route == "a"
    derived = derive_contract(contract, "m", "c")
    assert (derived.route, derived.alerts.rule("psi-major")) == ("c", AlertRule(threshold=0.3))


def test_a_drill_of_a_drill_is_rejected() -> None:
    with pytest.raises(DrillError, match="is the model of a drill; run the drill on the model itself"):
        drill_name("drill.shop.1", "2")


MEAN_SHIFT = InjectionRequest(find_fault("mean-shift"), "x")


def plan(contract: Contract = SHOP, **options: Any) -> DrillPlan:
    return plan_drill("7", DrillRequest(MEAN_SHIFT, **options), contract, baseline(), EVENTS, ON_CALL)


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
    colour = next(field for field in CONTRACT.fields if field.name == "colour")
    contract = without(CONTRACT, fields=(msgspec.structs.replace(colour, pii="hash"),))
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


LIVE_EVENTS = drill_models.live_events(drill_models.START_MS, 300)


def test_a_live_drill_needs_processors_on_the_live_clock_and_enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(settings: Settings, silent: tuple[str, ...] = (), timeout_s: float = 600) -> None:
        kinds = ("sketcher", "recorder", "monitor", "scorer")
        rows = [SimpleNamespace(kind=kind, silent_s=60 if kind in silent else 1) for kind in kinds]
        monkeypatch.setattr(live_checks, "processors", lambda client: rows)
        client: Any = SimpleNamespace(where="clickhouse.example.com:8123")
        live_checks.check_live(client, settings, LIVE_CONTRACT, LIVE_EVENTS, timeout_s)

    check(Settings())
    with pytest.raises(DrillError, match=r"^No sketcher and no scorer reports to ClickHouse at clickhouse.example.com"):
        check(Settings(), silent=("sketcher", "scorer"))
    with pytest.raises(DrillError, match="run on the replay clock"):
        check(Settings(clock="replay"))
    with pytest.raises(DrillError, match=r"takes as long as its events: 5m 20s.* with --timeout 320,"):
        check(Settings(), timeout_s=200)


def test_the_windows_of_the_expected_rules_must_fit_into_the_events() -> None:
    def check_windows(contract: Contract) -> None:
        request, known = DrillRequest(MEAN_SHIFT), baseline(contract)
        live_checks.check_windows(plan_drill("1", request, contract, known, LIVE_EVENTS, AlertSettings(), "live"))

    check_windows(LIVE_CONTRACT)
    with pytest.raises(DrillError, match=r"windows of 1d, and only 3m 44s of events precede the end of the fault"):
        check_windows(CONTRACT)
    assert live_checks.live_range_s(CONTRACT, Settings()) >= 6 * 86_400, "long enough for the recovery"
    assert live_checks.live_range_s(LIVE_CONTRACT, Settings()) > 4 * 80


def test_apply_rejects_the_names_of_drills(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(dump_contract(without(LIVE_CONTRACT, model="drill.shop.1")), encoding="utf-8")
    with pytest.raises(ApplyError, match=r"the model is called drill.shop.1, and names that begin with drill. belong"):
        read_contracts([path])
