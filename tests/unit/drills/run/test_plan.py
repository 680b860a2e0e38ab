"""Drills are planned before anything runs: their period, their model, and what must happen."""

from __future__ import annotations

from typing import Any

import pytest

from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables, InjectionRequest, find_fault
from barograph_server.drills.faults.fault import epoch_ms
from barograph_server.drills.run.plan import DrillPlan, DrillRequest, control_model, fault_period, plan_drill
from tests.support.drill_events import CONTRACT, HOUR_MS, baseline, make_events, without
from tests.support.drill_simulation import ON_CALL

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
