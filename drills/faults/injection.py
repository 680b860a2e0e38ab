"""Finds faults by name, checks their options against a contract, and completes them with defaults."""

import difflib
import math
from dataclasses import dataclass, replace

from barograph.contract import Contract, Field

from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import categories, delivery, labels, missing, numbers, serving, times
from barograph_server.drills.faults.fault import ANY_TYPE, Fault, FaultParameter, FaultPeriod, Injection
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.terminal import listed

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for family in (numbers, missing, categories, times, delivery, labels, serving)
    for fault in family.FAULTS
}


def find_fault(name: str) -> Fault:
    if name in FAULTS:
        return FAULTS[name]
    close = difflib.get_close_matches(name, FAULTS, 1)
    hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(FAULTS)}."
    raise DrillError(f"There is no fault {name!r}; {hint}")


@dataclass(frozen=True, slots=True)
class InjectionRequest:
    """The options of a drill; None takes the default of the fault."""

    fault: Fault
    field: str | None = None
    other: str | None = None
    """The second field of `swapped-columns`."""
    magnitude: float | None = None
    rate: float | None = None


def plan_injection(request: InjectionRequest, contract: Contract, baseline: Baseline, period: FaultPeriod) -> Injection:
    """Check a fault against a contract and complete it with defaults.

    Without a field the first critical field that fits is affected, else the first that fits.
    """
    fault = request.fault
    injection = Injection(
        fault,
        contract,
        period,
        _parameter(fault, "magnitude", fault.magnitude, request.magnitude),
        _parameter(fault, "rate", fault.rate, request.rate, default=1.0),
    )
    if fault.magnitude is not None and injection.magnitude == fault.magnitude_is_identity:
        raise DrillError(
            f"A magnitude of {injection.magnitude:g} changes nothing; the default of {fault.name} is "
            f"{fault.magnitude.default:g} {fault.magnitude.unit}."
        )
    if fault.needs_labels and contract.label is None:
        raise DrillError(f"The fault {fault.name} affects labels, and the contract of {contract.model} has none.")
    if not fault.types:
        if request.field is not None:
            raise DrillError(f"The fault {fault.name} affects whole events; leave out the field.")
        problem = fault.problem(injection)
        if problem:
            raise DrillError(problem)
        return injection
    if request.field is not None:
        return _with_field(injection, _find_field(contract, request.field), baseline, request.other)
    ordered = sorted(contract.fields, key=lambda field: not field.critical)
    for field in ordered:
        try:
            return _with_field(injection, field, baseline, request.other)
        except DrillError:
            continue
    raise DrillError(
        f"No field of {contract.model} fits the fault {fault.name}, which affects {_types_text(fault)}. "
        f"The fields are {listed([f'{field.name} ({field.type})' for field in contract.fields], 12)}."
    )


def _with_field(injection: Injection, field: Field, baseline: Baseline, other: str | None) -> Injection:
    fault, contract = injection.fault, injection.contract
    if field.type not in fault.types:
        raise DrillError(
            f"The fault {fault.name} affects {_types_text(fault)}, and {field.name} of {contract.model} is of type "
            f"{field.type}."
        )
    if field.source == "confidence":
        raise DrillError(
            f"{field.name} is computed from the class probabilities and is not a member of events; choose one of them."
        )
    trained = next((each for each in baseline.fields if each.name == field.name), None)
    if trained is None:
        raise DrillError(f"The baseline of {contract.model} version {baseline.version} has no field {field.name}.")
    injection = replace(injection, affected=field, affected_baseline=trained)
    if other is not None:
        injection = replace(injection, second=_find_field(contract, other))
    elif fault.name == "swapped-columns":
        same = [each for each in contract.fields if each.type == field.type and each.name != field.name]
        features = [each for each in same if each.source.partition(".")[0] == field.source.partition(".")[0]]
        injection = replace(injection, second=next(iter(features), None))
    problem = fault.problem(injection)
    if problem:
        raise DrillError(problem)
    return injection


def _parameter(
    fault: Fault, name: str, parameter: FaultParameter | None, value: float | None, default: float = 0.0
) -> float:
    if parameter is None:
        if value is not None:
            raise DrillError(f"The fault {fault.name} has no {name}; leave it out.")
        return default
    if value is None:
        return parameter.default
    if (
        not math.isfinite(value)
        or not parameter.at_least <= value <= parameter.at_most
        or (name == "rate" and not value)
    ):
        low = f"above {parameter.at_least:g}" if name == "rate" else f"from {parameter.at_least:g}"
        raise DrillError(
            f"The {name} {value:g} of {fault.name} is out of range: it is {low} to {parameter.at_most:g} "
            f"{parameter.unit}."
        )
    return value


def _find_field(contract: Contract, name: str) -> Field:
    for field in contract.fields:
        if field.name == name:
            return field
    names = [field.name for field in contract.fields]
    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]}?" if close else f"the fields are {listed(names, 12)}."
    raise DrillError(f"The contract of {contract.model} has no field {name!r}; {hint}")


def _types_text(fault: Fault) -> str:
    if fault.types == ANY_TYPE:
        return "fields of any type"
    return f"fields of type {' or '.join(sorted(fault.types))}"
