"""Results of drills, and their rows in the table `drills`."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from barograph_server.drills.faults import Injection
from barograph_server.drills.report import DrillReport
from barograph_server.drills.run.plan import DrillMode, DrillPlan, DrillRequest
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows


@dataclass(frozen=True, slots=True)
class DrillResult:
    drill_id: str
    title: str
    """Fault and field."""
    fault: str
    field: str
    """Empty if the fault affects no single field."""
    magnitude: float | None
    """None if the fault has none."""
    rate: float | None
    at_ms: int
    """When the drill ended, Unix milliseconds."""
    fault_start_ms: int
    fault_end_ms: int
    predicted_s: tuple[float, float] | None
    """Predicted time from the start of the fault to the page: 10 and 90 % quantiles; None if unknown."""
    unpredicted: str
    """Why there is no prediction; empty with one, and for a fault that no rule sees."""
    passed: bool
    report: DrillReport


@dataclass(frozen=True, slots=True)
class DrillOutput:
    model: str
    version: str
    mode: DrillMode
    passed: bool
    results: tuple[DrillResult, ...]


def planned_result(plan: DrillPlan, report: DrillReport) -> DrillResult:
    return replace(
        unplanned_result(plan.drill_id, plan.request, plan.injection, report),
        fault_start_ms=plan.injection.period.start_ms,
        fault_end_ms=plan.injection.period.end_ms,
        predicted_s=plan.predicted_s,
        unpredicted=plan.unpredicted,
    )


def unplanned_result(
    drill_id: str, request: DrillRequest, injection: Injection | None, report: DrillReport
) -> DrillResult:
    """Return the result of a drill of a suite that could not be planned; its fault begins and ends with the drill.

    Args:
        injection: the fault with its defaults; None if it does not fit the model.
    """
    requested, at_ms = request.injection, int(time.time() * 1000)
    if injection is None:
        field, magnitude, rate = requested.field or "", requested.magnitude, requested.rate
    else:
        # The same field as that of the drill when it can be planned: the last drill of a fault and field counts.
        field = injection.affected.name if injection.affected is not None else ""
        magnitude = injection.magnitude if requested.fault.magnitude is not None else None
        rate = injection.rate
    return DrillResult(
        drill_id=drill_id,
        title=f"{requested.fault.name} {field}".strip(),
        fault=requested.fault.name,
        field=field,
        magnitude=magnitude,
        rate=rate,
        at_ms=at_ms,
        fault_start_ms=at_ms,
        fault_end_ms=at_ms,
        predicted_s=None,
        unpredicted="",
        passed=report.passed,
        report=report,
    )


def store_results(client: Client, model: str, version: str, mode: DrillMode, results: Sequence[DrillResult]) -> None:
    insert_rows(client, "drills", [_row(model, version, mode, result) for result in results])


def _row(model: str, version: str, mode: DrillMode, result: DrillResult) -> dict[str, object]:
    report = result.report
    low, high = result.predicted_s or (math.nan, math.nan)
    return {
        "drill_id": result.drill_id,
        "at": result.at_ms,
        "model": model,
        "version": version,
        "fault": result.fault,
        "field": result.field,
        "magnitude": _number(result.magnitude),
        "rate": _number(result.rate),
        "mode": mode,
        "fault_start": result.fault_start_ms,
        "fault_end": result.fault_end_ms,
        "passed": result.passed,
        "expected": [check.expected for check in report.checks],
        "observed": [check.observed for check in report.checks],
        "met": [check.is_met for check in report.checks],
        "page_after_s": _number(report.page_after_s),
        "predicted_low_s": low,
        "predicted_high_s": high,
        "degraded_after_s": _number(report.degraded_after_s),
        "recovered_after_s": _number(report.recovered_after_s),
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
