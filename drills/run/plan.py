"""What a drill will do: its fault, its period, the derived model, and what must happen."""

from dataclasses import dataclass, replace
from typing import Literal

from barograph.contract import Contract

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.rules import rules_for
from barograph_server.alerts.settings import AlertsError, AlertSettings
from barograph_server.drills.derived_model import derive_baseline, derive_contract, drill_name
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables, FaultPeriod, Injection, InjectionRequest, plan_injection
from barograph_server.drills.faults.fault import epoch_ms
from barograph_server.drills.prediction import predict_page
from barograph_server.drills.report import DrillExpectation, expect
from barograph_server.sketches.baseline.baseline import Baseline

DrillMode = Literal["fast", "live"]
"""`fast`: on the replay clock in a namespace of its own; `live`: on the wall clock in production's processors."""


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """One drill, as the command line or a suite requests it."""

    injection: InjectionRequest
    duration_s: int | None = None
    """Length of the fault; None for half of the events after its start."""
    start_s: int | None = None
    """Time from the first event to the fault; None for half of the range."""
    route: str | None = None
    """Replaces the routes of the contract."""


@dataclass(frozen=True, slots=True)
class DrillModel:
    """A model of a drill: a contract, its baseline and its rules."""

    contract: Contract
    baseline: Baseline
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class DrillPlan:
    drill_id: str
    request: DrillRequest
    model: DrillModel
    injection: Injection
    expectation: DrillExpectation
    events: EventTables
    """With the fault."""
    predicted_s: tuple[float, float] | None
    """Predicted time from the start of the fault to the page: 10 and 90 % quantiles; None if unknown."""
    unpredicted: str = ""
    """Why there is no prediction; empty with one, and for a fault that no rule sees."""

    @property
    def title(self) -> str:
        injection = self.injection
        return f"{injection.fault.name} {injection.affected.name if injection.affected is not None else ''}".strip()


def derive_model(
    contract: Contract, baseline: Baseline, name: str, settings: AlertSettings, route: str | None = None
) -> DrillModel:
    """Derive the model of a drill.

    Raises:
        AlertsError: a route or mute timing is not defined.
    """
    derived = derive_contract(contract, name, route)
    rules = tuple(rule for rule in rules_for([derived], settings) if rule.model)
    return DrillModel(derived, derive_baseline(baseline, name), rules)


def plan_drill(
    drill_id: str,
    request: DrillRequest,
    contract: Contract,
    baseline: Baseline,
    events: EventTables,
    settings: AlertSettings,
    mode: DrillMode = "fast",
) -> DrillPlan:
    injection = plan_injection(
        request.injection, contract, baseline, fault_period(events, request.start_s, request.duration_s)
    )
    name = drill_name(contract.model, drill_id)
    try:
        model = derive_model(contract, baseline, name, settings, request.route)
    except AlertsError as error:
        raise DrillError(f"No notification would arrive: {error}") from error
    expectation = expect(injection, model.contract, model.rules, settings)
    faulty = injection.apply(events)
    prediction = predict_page(injection, model.contract, model.baseline, faulty, settings, live=mode == "live")
    return DrillPlan(drill_id, request, model, injection, expectation, faulty, prediction.interval_s, prediction.reason)


def control_model(contract: Contract, baseline: Baseline, run_id: str, settings: AlertSettings) -> DrillModel:
    """Derive the model that gets the same events without a fault."""
    plain = replace(settings, configured=False)
    return derive_model(contract, baseline, drill_name(contract.model, f"{run_id}-control"), plain, "")


def complete_injection(
    request: DrillRequest, contract: Contract, baseline: Baseline, events: EventTables
) -> Injection | None:
    """Return the fault of a drill with its defaults, over all events; None if it does not fit the model."""
    at = epoch_ms(events.predictions)
    try:
        return plan_injection(request.injection, contract, baseline, FaultPeriod(int(at.min()), int(at.max()) + 1))
    except DrillError:
        return None


def fault_period(events: EventTables, start_s: int | None, duration_s: int | None) -> FaultPeriod:
    """Return the period of the fault: by default from the middle of the events, for half of the rest."""
    at = epoch_ms(events.predictions)
    first, last = int(at.min()), int(at.max()) + 1
    start = first + ((last - first) // 2 if start_s is None else 1000 * start_s)
    rest_s = (last - start) // 1000
    if start_s is not None and rest_s < 2:
        raise DrillError(
            f"The fault would start {start_s:,} s after the first event, and the events span "
            f"{(last - first) // 1000:,} s; use a shorter --start or a longer --history."
        )
    if rest_s < 2:
        raise DrillError("All events are at the same time; a drill needs events over a longer range.")
    if duration_s is not None and duration_s > rest_s:
        raise DrillError(
            f"The fault would last {duration_s:,} s, and only {rest_s:,} s of events follow its start; use a shorter "
            "--duration, an earlier --start or a longer --history."
        )
    return FaultPeriod(start, start + 1000 * (duration_s or rest_s // 2))
