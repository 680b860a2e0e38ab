import re
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from barograph.contract import Contract
from barograph.contract.alerts import RULES, AlertRule, Alerts
from barograph.contract.model import Slo
from numpy.typing import NDArray

from barograph_server.alerts.settings import AlertSettings
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import (
    FAULTS,
    EventTables,
    FaultPeriod,
    Injection,
    InjectionRequest,
    find_fault,
    plan_injection,
)
from barograph_server.drills.faults.fault import epoch_ms, replace_column
from barograph_server.drills.prediction import PagePrediction, count_values, predict_page
from barograph_server.sketches.baseline.baseline import QUANTILE_RANKS, Baseline, SliceCounts
from barograph_server.sketches.baseline.columns import FieldColumn
from tests.support.drill_models import CONTRACT, DAY_MS, HOUR_MS, PERIOD, START_MS, baseline, make_events, without

BASELINE, EVENTS = baseline(), make_events()
LABEL_FAULTS = {"label-stop", "label-delay", "label-flip", "concept-drift"}
SAME_ROWS = sorted(
    name for name in FAULTS if name not in LABEL_FAULTS | {"slice-lost", "duplicates", "traffic-halved", "silence"}
)


def plan(
    name: str, contract: Contract = CONTRACT, trained: Baseline = BASELINE, period: FaultPeriod = PERIOD, **options: Any
) -> Injection:
    return plan_injection(InjectionRequest(find_fault(name), **options), contract, trained, period)


def inject(name: str, events: EventTables = EVENTS, **options: Any) -> EventTables:
    return plan(name, **options).apply(events)


def by_id(table: pa.Table) -> pa.Table:
    return table.sort_by("id")


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_repeats_exactly_and_changes_something_within_the_period_only(name: str) -> None:
    for seed in range(2):
        events = make_events(seed=seed)
        after, again = inject(name, events), inject(name, events)
        assert (after.predictions, after.labels) == (again.predictions, again.labels)
        assert after.predictions != events.predictions or after.labels != events.labels
        for before, changed in ((events.predictions, after.predictions), (events.labels, after.labels)):
            same = before.filter(pa.array(~PERIOD.mask(before)))
            rows = changed.filter(pc.is_in(changed["id"], value_set=same["id"].combine_chunks()))
            assert by_id(rows).select(before.column_names) == by_id(same), changed.column_names


USUAL: dict[str, Any] = {"x": 0.0, "y": 1.0, "k": 0, "flag": True, "colour": "red", "score": 0.0}
OTHER: dict[str, Any] = {"x": 40.0, "y": -3.0, "k": 7, "flag": False, "colour": "blue", "score": 0.9}


def skewed(n_other: int) -> tuple[EventTables, Baseline]:
    """Return events most of whose values are equal, and the baseline that they would have."""
    events, fields = make_events(), {field.name: field for field in BASELINE.fields}
    table = events.predictions
    is_other = pa.array(np.random.default_rng(3).permutation(table.num_rows) < n_other)
    for name, value in USUAL.items():
        column = name if name == "score" else f"features.{name}"
        table = replace_column(table, column, pc.if_else(is_other, pa.scalar(OTHER[name]), pa.scalar(value)))
        changes: dict[str, Any] = {"slices": {"all": SliceCounts(cells=(9800, 0, 200, 0, 0))}}
        if name != "colour":
            values = table[column].cast(pa.float64()).to_numpy()
            ranks = np.quantile(values, np.linspace(0, 1, QUANTILE_RANKS))
            changes = {"std": float(values.std()), "quantiles": tuple(ranks.tolist())}
        fields[name] = msgspec.structs.replace(fields[name], **changes)
    return EventTables(table, events.labels), msgspec.structs.replace(BASELINE, fields=tuple(fields.values()))


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_of_skewed_events_changes_some_or_names_the_problem(name: str) -> None:
    names: list[str | None] = [field.name for field in CONTRACT.fields if field.type in find_fault(name).types]
    for n_other in (0, 1, 18, 90):
        events, trained = skewed(n_other)
        problems = []
        for field in names or [None]:
            try:
                assert inject(name, events, trained=trained, field=field) != events, field
            except DrillError as error:
                problems.append(str(error))
        assert len(problems) < len(names or [None]) or n_other < 18, problems


def test_the_category_that_rises_is_not_the_one_that_most_events_have() -> None:
    events, trained = skewed(18)
    after = inject("category-shift", events, trained=trained).predictions["features.colour"]
    before = events.predictions["features.colour"]
    inside = int(PERIOD.mask(events.predictions).sum())
    assert pc.sum(pc.not_equal(before, after)).as_py() > 0.25 * inside


def test_other_columns_stay() -> None:
    whole_events = {"latency-creep": {"latency_ms"}, "clock-fast": {"at"}, "late-events": set(), "error-burst": set()}
    for name in SAME_ROWS:
        injection = plan(name)
        after = injection.apply(EVENTS)
        fields = [field.source for field in (injection.affected, injection.second) if field]
        touched = set(fields) or whole_events[name]
        for column in set(EVENTS.predictions.column_names) - touched:
            assert by_id(after.predictions)[column].equals(by_id(EVENTS.predictions)[column]), (name, column)


def test_the_rate_is_the_share_of_the_rows_in_the_period() -> None:
    for name, rate, value in (
        ("null-rise", 0.3, None),
        ("null-sentinel", 0.25, -999.0),
        ("category-new", 0.1, "drill: new category"),
        ("error-burst", 0.5, "drill"),
    ):
        injection = plan(name, rate=rate)
        rows = injection.rows(EVENTS.predictions)
        assert rows.sum() == round(rate * int(PERIOD.mask(EVENTS.predictions).sum()))
        column = "error" if name == "error-burst" else injection.column
        assert set(injection.apply(EVENTS).predictions[column].filter(pa.array(rows)).to_pylist()) == {value}


def numbers(events: EventTables, column: str) -> NDArray[np.float64]:
    table = events.predictions.filter(pa.array(PERIOD.mask(events.predictions)))
    values: NDArray[np.float64] = table[column].drop_null().cast(pa.float64()).to_numpy()
    return values


def test_numbers_change_as_stated() -> None:
    x, score = numbers(EVENTS, "features.x"), numbers(EVENTS, "score")
    assert np.allclose(numbers(inject("mean-shift", magnitude=0.5), "features.x"), x + 0.5)
    assert np.allclose(numbers(inject("scale", magnitude=1.8), "features.x"), x * 1.8)
    limit = BASELINE.fields[0].quantiles[500]
    assert np.allclose(numbers(inject("clipped-range"), "features.x"), np.minimum(x, limit))
    assert len(set(numbers(inject("stuck-value"), "features.x").tolist())) == 1
    swapped = inject("swapped-columns")
    assert np.array_equal(numbers(swapped, "features.x"), numbers(EVENTS, "features.y"))
    assert np.array_equal(numbers(swapped, "features.y"), x)
    assert set(numbers(inject("score-collapse", magnitude=0.25), "score").tolist()) == {0.25}
    moved = numbers(inject("calibration-drift", magnitude=1.0), "score")
    assert np.allclose(np.log(moved / (1 - moved)) - np.log(score / (1 - score)), 1.0)
    latency = numbers(inject("latency-creep", magnitude=3.0), "latency_ms")
    assert np.allclose(latency, 3 * numbers(EVENTS, "latency_ms"))
    whole = inject("mean-shift", field="k", magnitude=0.7).predictions["features.k"]
    assert (whole.type, whole.null_count) == (pa.int64(), EVENTS.predictions["features.k"].null_count)


def test_events_are_lost_repeated_and_delayed_as_stated() -> None:
    n, inside = EVENTS.predictions.num_rows, int(PERIOD.mask(EVENTS.predictions).sum())
    assert inject("silence").predictions.num_rows == n - inside
    assert inject("traffic-halved").predictions.num_rows == n - round(inside / 2)
    assert inject("duplicates", rate=1.0).predictions.num_rows == n + inside
    colours = inject("slice-lost").predictions
    lost = colours.filter(pa.array(PERIOD.mask(colours)))["features.colour"].to_pylist()
    assert "red" not in lost
    assert {"green", "blue", None} <= set(lost)
    late = inject("late-events", rate=0.5, magnitude=3.0).predictions
    behind = np.maximum.accumulate(epoch_ms(late)) - epoch_ms(late)
    assert np.count_nonzero(behind > 2 * HOUR_MS) > inside // 4
    assert behind.max() <= 3 * HOUR_MS


def test_times_move_as_stated() -> None:
    mask = PERIOD.mask(EVENTS.predictions)
    before = EVENTS.predictions["features.updated"].to_numpy()
    slipped = inject("timezone-slip").predictions["features.updated"].to_numpy()
    assert np.array_equal(slipped - before, np.where(mask, -5 * HOUR_MS, 0))
    stale = inject("stale-upstream", field="updated").predictions["features.updated"].to_numpy()
    assert np.array_equal(stale - before, np.where(mask, -6 * HOUR_MS, 0))
    fast = epoch_ms(inject("clock-fast", rate=1.0).predictions)
    assert np.array_equal(fast - epoch_ms(EVENTS.predictions), np.where(mask, HOUR_MS, 0))


def test_a_stale_value_is_that_of_an_earlier_prediction() -> None:
    after = inject("stale-upstream", field="score", magnitude=6.0).predictions
    at, before = epoch_ms(EVENTS.predictions), EVENTS.predictions["score"].to_numpy()
    for i in np.flatnonzero(PERIOD.mask(EVENTS.predictions))[::40]:
        earlier = np.flatnonzero(at <= at[i] - 6 * HOUR_MS)[-1]
        assert after["score"][int(i)].as_py() == before[earlier]


def test_labels_change_as_stated() -> None:
    labels, inside = EVENTS.labels, int(PERIOD.mask(EVENTS.labels).sum())
    assert inject("label-stop").labels.num_rows == labels.num_rows - inside
    late = by_id(inject("label-delay", magnitude=72.0).labels)
    assert int((epoch_ms(late) - epoch_ms(by_id(labels)) == 3 * DAY_MS).sum()) == inside
    flipped = inject("label-flip", rate=0.5).labels
    assert pc.sum(pc.not_equal(flipped["label"], labels["label"])).as_py() == round(0.5 * inside)
    changed = inject("concept-drift", field="x").labels
    rows = pc.not_equal(changed["label"], labels["label"])
    x = dict(zip(EVENTS.predictions["id"].to_pylist(), EVENTS.predictions["features.x"].to_pylist(), strict=True))
    median = pc.quantile(EVENTS.predictions["features.x"], 0.5)[0].as_py()
    assert all(x[name] > median for name in labels["id"].filter(rows).to_pylist())
    assert pc.sum(rows).as_py() > inside // 3


def test_a_changed_schema_moves_the_values_to_another_member() -> None:
    after = inject("schema-change", field="x").predictions
    mask = pa.array(PERIOD.mask(EVENTS.predictions))
    assert after["features.x"].filter(mask).null_count == pc.sum(mask).as_py()
    assert after["features.x_v2"].filter(mask).equals(EVENTS.predictions["features.x"].filter(mask))


def test_every_fault_states_its_incident_and_known_rules() -> None:
    for name, fault in FAULTS.items():
        assert fault.incident.endswith("."), name
        injection = plan(name)
        assert {each.rule for each in (*injection.fires, *injection.may_fire)} <= set(RULES), name
        for parameter in filter(None, (fault.magnitude, fault.rate)):
            assert parameter.unit, name
            assert parameter.at_least <= parameter.default <= parameter.at_most, name


def test_what_does_not_fit_is_rejected() -> None:
    for name, options, message in (
        ("mean-shift", {"field": "z"}, "has no field 'z'; the fields are x, y,"),
        ("mean-shift", {"field": "colour"}, "affects fields of type float or int, and colour of shop is of type"),
        ("mean-shift", {"magnitude": 0.0}, "A magnitude of 0 changes nothing; the default of mean-shift is 2"),
        ("null-rise", {"rate": 0.0}, "The rate 0 of null-rise is out of range: it is above 0 to 1"),
        ("null-rise", {"magnitude": 1.0}, "The fault null-rise has no magnitude"),
        ("mean-shift", {"magnitude": float("nan")}, "The magnitude nan of mean-shift is out of range"),
        ("silence", {"field": "x"}, "affects whole events; leave out the field"),
        ("swapped-columns", {"field": "x", "other": "x"}, "needs two fields, and both are x"),
        ("score-collapse", {"field": "x"}, "x is not an output of the model"),
        ("schema-change", {"field": "score"}, "score is a fixed member of events"),
    ):
        with pytest.raises(DrillError, match=re.escape(message)):
            plan(name, **options)


def test_faults_need_what_they_affect() -> None:
    with pytest.raises(DrillError, match="did you mean null-rise"):
        find_fault("null-rices")
    with pytest.raises(DrillError, match="write one of mean-shift"):
        find_fault("zzz")
    with pytest.raises(DrillError, match="promises no latency"):
        plan("latency-creep", without(CONTRACT, slo=Slo()))
    with pytest.raises(DrillError, match="affects labels, and the contract of shop has none"):
        plan("label-flip", without(CONTRACT, label=None))
    with pytest.raises(DrillError, match="No field of shop fits the fault timezone-slip"):
        plan("timezone-slip", without(CONTRACT, fields=CONTRACT.fields[:2]))
    with pytest.raises(DrillError, match=r"no column features\.x"):
        plan("mean-shift").apply(EventTables(EVENTS.predictions.drop_columns(["features.x"]), EVENTS.labels))
    with pytest.raises(DrillError, match="no labels in the period"):
        plan("label-stop").apply(EventTables(EVENTS.predictions, EVENTS.labels.slice(0, 0)))
    with pytest.raises(DrillError, match="no predictions in the period"):
        plan("silence").apply(EventTables(EVENTS.predictions.slice(0, 0), EVENTS.labels))


def test_a_critical_field_is_affected_by_default() -> None:
    fields = tuple(msgspec.structs.replace(field, critical=field.name == "y") for field in CONTRACT.fields)
    assert plan("mean-shift", without(CONTRACT, fields=fields)).field.name == "y"
    assert plan("category-new").field.name == "colour"
    assert plan("score-collapse").field.name == "score"


def test_expected_rules() -> None:
    cases: list[tuple[str, dict[str, Any], list[tuple[str, str | None]]]] = [
        ("mean-shift", {"field": "x"}, [("psi-major", "x")]),
        ("mean-shift", {"field": "score"}, [("output-shift", "score")]),
        ("swapped-columns", {"field": "x"}, [("psi-major", "x"), ("psi-major", "y")]),
        ("null-sentinel", {"field": "x"}, [("range-rate", "x")]),
        ("null-sentinel", {"field": "colour"}, [("unseen-rate", "colour")]),
        ("stale-upstream", {"field": "x"}, []),
        ("stale-upstream", {"field": "updated"}, [("psi-major", "updated")]),
        ("label-flip", {}, [("performance-drop", None)]),
        ("label-delay", {"magnitude": 12.0}, []),
        ("error-burst", {}, [("errors", None)]),
        ("duplicates", {}, []),
    ]
    for name, options, rules in cases:
        assert [(each.rule, each.key) for each in plan(name, **options).fires] == rules, (name, options)


PLAIN = make_events(20_000, 10)
MOVED = replace_column(PLAIN.predictions, "features.y", pc.add(PLAIN.predictions["features.y"], 2.0))
TRAINING = EventTables(MOVED, PLAIN.labels)
"""Events in which `y` has other values than `x`, so that a swap of both is a change."""
NOTHING = "the fault is too small to page; use a larger one"
LATE = FaultPeriod(START_MS + 5 * DAY_MS, START_MS + 8 * DAY_MS)
REASONS = {
    **{"silence": "silence", "label-stop": "label-stop", "label-delay": "label-stop", "latency-creep": "latency"},
    **{"error-burst": "errors", "label-flip": "performance-drop", "concept-drift": "performance-drop"},
}
"""The rule on whole events that each of these faults fires."""
UNSEEN = ("duplicates", "late-events", "traffic-halved", "clock-fast", "stale-upstream")
"""Faults that no rule sees."""


def trained() -> Baseline:
    """Return the baseline of `TRAINING`, so that events without a fault do not page."""
    fields = []
    for field, old in zip(CONTRACT.fields, BASELINE.fields, strict=True):
        new = old
        if old.kind == "numeric":
            column = TRAINING.predictions[field.source].drop_null()
            # The ages of timestamps at their events are about a minute.
            values = np.linspace(59.0, 61.0) if field.type == "timestamp" else column.cast(pa.float64()).to_numpy()
            quantiles = np.quantile(values, np.linspace(0, 1, QUANTILE_RANKS))
            limits = {"low": values.min() - 10, "high": values.max() + 10, "mean": values.mean(), "std": values.std()}
            new = msgspec.structs.replace(
                old, edges=tuple(np.unique(quantiles[100:-1:100])), quantiles=tuple(quantiles), **limits
            )
        counts = count_values(field, new, TRAINING.predictions)
        fields.append(msgspec.structs.replace(new, slices={"all": counts}))
    rows = TRAINING.predictions.num_rows
    return msgspec.structs.replace(BASELINE, rows=rows, slice_rows={"all": rows}, fields=tuple(fields))


TRAINED = trained()


def predict(name: str, contract: Contract = CONTRACT, *, faulty: bool = True, **options: Any) -> PagePrediction:
    injection = plan(name, contract, TRAINED, LATE, **options)
    tables = injection.apply(TRAINING) if faulty else TRAINING
    return predict_page(injection, contract, TRAINED, tables, AlertSettings())


@pytest.mark.parametrize("name", sorted({name for name in FAULTS if FAULTS[name].types} - {*REASONS, *UNSEEN}))
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
    predictions = TRAINING.predictions
    for field, trained in zip(CONTRACT.fields, BASELINE.fields, strict=True):
        counts = count_values(field, trained, predictions)
        assert sum(counts.cells) == predictions.num_rows
        assert counts.count(FieldColumn.NULL) == predictions[field.source].null_count
        # An age of a minute is above the limit of 10.
        assert field.name != "updated" or counts.above == predictions.num_rows
