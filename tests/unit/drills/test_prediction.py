"""The time to the page is predicted from the values of the events with the fault."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
import pytest
from barograph.contract import Contract
from barograph.contract.alerts import AlertRule, Alerts

from barograph_server.alerts.settings import AlertSettings
from barograph_server.drills.faults import (
    FAULTS,
    EventTables,
    FaultPeriod,
    InjectionRequest,
    find_fault,
    plan_injection,
)
from barograph_server.drills.prediction import PagePrediction, count_values, predict_page
from barograph_server.sketches.baseline.columns import FieldColumn
from tests.support.drill_events import CONTRACT, DAY_MS, START_MS, baseline, make_events, without

EVENTS = make_events(20_000, 10)
PERIOD = FaultPeriod(START_MS + 5 * DAY_MS, START_MS + 8 * DAY_MS)
REASONS = {
    "silence": "silence",
    "label-stop": "label-stop",
    "label-delay": "label-stop",
    "label-flip": "performance-drop",
    "latency-creep": "latency",
    "error-burst": "errors",
    "concept-drift": "performance-drop",
}
"""The rule on whole events that each of these faults fires."""
UNSEEN = ("duplicates", "late-events", "traffic-halved", "clock-fast", "stale-upstream")
"""Faults that no rule sees."""
WITHOUT = {*REASONS, *UNSEEN}


def predict(name: str, contract: Contract = CONTRACT, events: EventTables = EVENTS, **options: Any) -> PagePrediction:
    request = InjectionRequest(find_fault(name), **options)
    injection = plan_injection(request, contract, baseline(), PERIOD)
    return predict_page(injection, contract, baseline(), injection.apply(events), AlertSettings())


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.types and name not in WITHOUT])
def test_the_time_to_the_page_of_a_field_is_predicted(name: str) -> None:
    predicted = predict(name)
    assert predicted.interval_s is not None, predicted.reason
    low_s, high_s = predicted.interval_s
    assert 0 < low_s < high_s < 3 * 86_400


def test_whole_events_and_what_no_rule_sees_have_no_prediction() -> None:
    for name, rule in REASONS.items():
        reason = f"{rule} does not depend on the values of a field"
        assert predict(name) == PagePrediction(None, reason), name
    for name in UNSEEN:
        assert predict(name) == PagePrediction(None), name


def test_the_size_of_a_fault_decides_when_it_pages() -> None:
    small, large = predict("mean-shift", magnitude=1.0), predict("mean-shift", magnitude=3.0)
    assert small.interval_s is not None
    assert large.interval_s is not None
    assert large.interval_s[1] < small.interval_s[1]
    # Training has no nulls, so the nulls of `EVENTS` alone exceed the threshold.
    events = EventTables(EVENTS.predictions.filter(pc.is_valid(EVENTS.predictions["features.x"])), EVENTS.labels)
    none = predict("mean-shift", events=events, magnitude=0.1)
    assert none == PagePrediction(None, "the fault is too small to page; use a larger one")
    contract = without(CONTRACT, alerts=Alerts(rules={"psi-major": AlertRule(severity="none")}))
    assert predict("mean-shift", contract).reason == "the contract has no such rule, or no event has a value"


def test_values_are_counted_as_the_sketcher_counts_them() -> None:
    trained = {field.name: field for field in baseline().fields}
    fields = {field.name: field for field in CONTRACT.fields}
    events = EVENTS.predictions
    for name in trained:
        counts = count_values(fields[name], trained[name], events)
        assert sum(counts.cells) == events.num_rows
        assert counts.count(FieldColumn.NULL) == events[fields[name].source].null_count
    # An age of a minute is above the limit of 10.
    assert count_values(fields["updated"], trained["updated"], events).above == events.num_rows
