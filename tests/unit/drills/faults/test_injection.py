"""A fault that does not fit is rejected with one clear sentence; the expected rules follow from the field."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from barograph.contract.alerts import RULES
from barograph.contract.model import Slo

from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import FAULTS, EventTables, Injection, InjectionRequest, find_fault, plan_injection
from tests.support.drill_events import CONTRACT, PERIOD, baseline, make_events, without

BASELINE = baseline()


def plan(name: str, contract: Any = CONTRACT, **options: Any) -> Injection:
    return plan_injection(InjectionRequest(find_fault(name), **options), contract, BASELINE, PERIOD)


def test_every_fault_states_its_incident_and_known_rules() -> None:
    for name, fault in FAULTS.items():
        assert fault.incident.endswith("."), name
        injection = plan(name)
        assert {each.rule for each in (*injection.fires, *injection.may_fire)} <= set(RULES), name
        for parameter in filter(None, (fault.magnitude, fault.rate)):
            assert parameter.unit, name
            assert parameter.at_least <= parameter.default <= parameter.at_most, name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
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
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_what_does_not_fit_is_rejected(name: str, options: dict[str, Any], message: str) -> None:
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
    events = make_events()
    with pytest.raises(DrillError, match=r"no column features\.x"):
        plan("mean-shift").apply(EventTables(events.predictions.drop_columns(["features.x"]), events.labels))
    with pytest.raises(DrillError, match="no labels in the period"):
        plan("label-stop").apply(EventTables(events.predictions, events.labels.slice(0, 0)))
    with pytest.raises(DrillError, match="no predictions in the period"):
        plan("silence").apply(EventTables(events.predictions.slice(0, 0), events.labels))


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
