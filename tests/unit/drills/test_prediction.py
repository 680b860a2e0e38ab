"""The time to the page is predicted from the values of the events with the fault."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
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
from barograph_server.sketches.baseline.baseline import QUANTILE_RANKS, Baseline
from barograph_server.sketches.baseline.columns import FieldColumn
from tests.support.drill_events import CONTRACT, DAY_MS, START_MS, baseline, make_events, without


def events() -> EventTables:
    """Return events in which `y` has other values than `x`, so that a swap of both is a change."""
    tables = make_events(20_000, 10)
    columns = {name: tables.predictions[name] for name in tables.predictions.column_names}
    columns["features.y"] = pc.add(columns["features.y"], 2.0)
    return EventTables(pa.table(columns), tables.labels)


EVENTS = events()
NOTHING = "the fault is too small to page; use a larger one"
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


def trained() -> Baseline:
    """Return the baseline of `EVENTS`, so that events without a fault do not page."""
    columns = {field.name: EVENTS.predictions[field.source] for field in CONTRACT.fields}
    fields = []
    for field, old in zip(CONTRACT.fields, baseline().fields, strict=True):
        new = old
        if old.kind == "numeric":
            column = columns[field.name].drop_null()
            # The ages of timestamps at their events are about a minute.
            values = np.linspace(59.0, 61.0) if field.type == "timestamp" else column.cast(pa.float64()).to_numpy()
            quantiles = np.quantile(values, np.linspace(0, 1, QUANTILE_RANKS))
            limits = {"low": values.min() - 10, "high": values.max() + 10, "mean": values.mean(), "std": values.std()}
            new = msgspec.structs.replace(
                old, edges=tuple(np.unique(quantiles[100:-1:100])), quantiles=tuple(quantiles), **limits
            )
        counts = count_values(field, new, EVENTS.predictions)
        fields.append(msgspec.structs.replace(new, slices={"all": counts}))
    rows = EVENTS.predictions.num_rows
    return msgspec.structs.replace(baseline(), rows=rows, slice_rows={"all": rows}, fields=tuple(fields))


TRAINED = trained()


def predict(name: str, contract: Contract = CONTRACT, *, faulty: bool = True, **options: Any) -> PagePrediction:
    request = InjectionRequest(find_fault(name), **options)
    injection = plan_injection(request, contract, TRAINED, PERIOD)
    tables = injection.apply(EVENTS) if faulty else EVENTS
    return predict_page(injection, contract, TRAINED, tables, AlertSettings())


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.types and name not in WITHOUT])
def test_the_time_to_the_page_of_a_field_is_predicted(name: str) -> None:
    assert predict(name, faulty=False) == PagePrediction(None, NOTHING)
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
    assert predict("mean-shift", magnitude=0.1) == PagePrediction(None, NOTHING)
    contract = without(CONTRACT, alerts=Alerts(rules={"psi-major": AlertRule(severity="none")}))
    assert predict("mean-shift", contract).reason == "the contract has no such rule, or no event has a value"


def test_values_are_counted_as_the_sketcher_counts_them() -> None:
    by_name = {field.name: field for field in baseline().fields}
    fields = {field.name: field for field in CONTRACT.fields}
    predictions = EVENTS.predictions
    for name in by_name:
        counts = count_values(fields[name], by_name[name], predictions)
        assert sum(counts.cells) == predictions.num_rows
        assert counts.count(FieldColumn.NULL) == predictions[fields[name].source].null_count
    # An age of a minute is above the limit of 10.
    assert count_values(fields["updated"], by_name["updated"], predictions).above == predictions.num_rows
