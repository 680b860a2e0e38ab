"""A drill passes only if what happened is what had to happen, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from barograph.contract import Contract, Fallback
from barograph.contract.alerts import AlertRule, Alerts

from barograph_server.alerts.rules import rules_of
from barograph_server.drills.expectation import DrillExpectation, expect
from barograph_server.drills.faults import FaultPeriod, InjectionRequest, find_fault, plan_injection
from barograph_server.drills.guard_states import guard_states
from barograph_server.drills.report import DrillObservations, DrillReport, GuardObservation, recovery_s, report
from barograph_server.drills.webhook import DeliveredAlert, Deliveries
from tests.support.drill_events import CONTRACT, baseline, without
from tests.support.drill_simulation import HOUR_S, ON_CALL, rule_of, simulation

START_S, END_S, UNTIL_S = 100 * HOUR_S, 200 * HOUR_S, 400 * HOUR_S
ROUTED = without(CONTRACT, route="shop", fallback=Fallback(recover_s=HOUR_S))


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
    injection = plan_injection(
        InjectionRequest(find_fault(fault)), contract, baseline(), FaultPeriod(START_S * 1000, END_S * 1000)
    )
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
    states = guard_states(contract, happened)
    if guard is None:
        guard = [
            GuardObservation(each.at_ms // 1000, each.state, "fallback" if each.state == "degraded" else "primary")
            for each in states
        ]
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


def test_a_rule_that_does_not_fire_fails() -> None:
    assert failures(run(fires=())) == [
        ("page psi-major x to on-call", "it did not fire"),
        ("the guard degrades and serving uses the fallback", "it stayed healthy"),
    ]


def test_a_disabled_rule_fails() -> None:
    contract = without(ROUTED, alerts=Alerts(rules={"psi-major": AlertRule(severity="none")}))
    assert failures(run(contract, fires=())) == [
        (
            "psi-major x, which the contract disables",
            "the contract has no rule psi-major for x; see alerts.rules.psi-major in it",
        ),
        ("the guard degrades and serving uses the fallback", "it stayed healthy"),
    ]


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


def test_a_notification_that_does_not_arrive_fails() -> None:
    text = "on-call: notification by webhook failed: the server returned 500 Internal Server Error."
    assert failures(run(arrives=False, problems=[text])) == [
        ("page psi-major x to on-call", "it fired, and no notification arrived"),
        ("every notification is delivered", text),
    ]


def test_a_wrong_contact_point_fails() -> None:
    assert failures(run(point="tickets")) == [("page psi-major x to on-call", "the notification arrived at tickets")]


def test_the_guard_must_recover_if_the_range_is_long_enough() -> None:
    stuck = [GuardObservation(0, "healthy", "primary"), GuardObservation(110 * HOUR_S, "degraded", "fallback")]
    assert failures(run(guard=stuck)) == [("the guard recovers and serving uses the primary", "it stayed degraded")]
    short = run(fires=(("psi-major", "x", 110, 230),), until_s=END_S + 10 * HOUR_S)
    assert short.passed
    assert "The events end before the guard can recover" in short.notes[0]
    assert 24 * HOUR_S < recovery_s(ROUTED, rules_of(ROUTED, ON_CALL)) < 40 * HOUR_S


def test_serving_must_use_the_fallback() -> None:
    wrong = [
        GuardObservation(110 * HOUR_S, "degraded", "primary"),
        GuardObservation(231 * HOUR_S, "healthy", "primary"),
    ]
    assert failures(run(guard=wrong))[0] == (
        "the guard degrades and serving uses the fallback",
        "degraded, the primary answered 0 ms after the record",
    )


def test_a_fault_that_no_rule_sees_must_change_nothing() -> None:
    assert run(fault="duplicates", fires=()).passed
    wrong = run(fault="duplicates")
    assert failures(wrong) == [("no other page", "page psi-major x"), ("the guard stays healthy", "degraded")]


def test_the_expected_state_follows_the_contract() -> None:
    def state(fault: str, contract: Contract = ROUTED, **options: Any) -> Any:
        injection = plan_injection(
            InjectionRequest(find_fault(fault), **options), contract, baseline(), FaultPeriod(0, 1)
        )
        expectation: DrillExpectation = expect(injection, contract, rules_of(contract, ON_CALL), ON_CALL)
        return expectation.guard

    without_errors = without(ROUTED, fallback=msgspec.structs.replace(ROUTED.fallback, rules=("psi-major",)))
    assert state("mean-shift", field="x") == "degraded"
    assert state("mean-shift", field="y") == "healthy", "not critical"
    assert state("error-burst", without_errors) == "healthy", "not a rule of the fallback"
    assert state("silence") is None, "psi-major may fire in the partial windows after it"
    assert state("slice-lost") is None, "psi-major of a critical field may fire"
    only = without(ROUTED, fallback=msgspec.structs.replace(ROUTED.fallback, rules=("silence",)))
    assert state("mean-shift", only, field="x") == "healthy"
    assert state("silence", only) == "degraded"
