"""Rows of the table `drills`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from barograph_server.drills.faults import Injection
from barograph_server.drills.report import DrillReport
from barograph_server.drills.run.plan import DrillMode, DrillPlan, DrillRequest
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows


@dataclass(frozen=True, slots=True)
class UnplannedDrill:
    """A drill of a suite that could not be planned, which is a failed one."""

    drill_id: str
    request: DrillRequest
    injection: Injection | None
    """With the defaults of the fault; None if the fault does not fit the model."""
    report: DrillReport


def store_results(
    client: Client, model: str, version: str, mode: DrillMode, results: Sequence[tuple[DrillPlan, DrillReport]]
) -> None:
    """Write one row per drill."""
    insert_rows(client, "drills", [_row(model, version, mode, plan, report) for plan, report in results])


def _row(model: str, version: str, mode: DrillMode, plan: DrillPlan, report: DrillReport) -> dict[str, object]:
    injection = plan.injection
    low, high = plan.predicted_s or (math.nan, math.nan)
    return {
        "drill_id": plan.drill_id,
        "at": int(time.time() * 1000),
        "model": model,
        "version": version,
        "fault": injection.fault.name,
        "field": injection.affected.name if injection.affected is not None else "",
        "magnitude": injection.magnitude if injection.fault.magnitude is not None else math.nan,
        "rate": injection.rate,
        "mode": mode,
        "fault_start": injection.period.start_ms,
        "fault_end": injection.period.end_ms,
        "passed": report.passed,
        "expected": [check.expected for check in report.checks],
        "observed": [check.observed for check in report.checks],
        "met": [check.is_met for check in report.checks],
        "page_after_s": _seconds(report.page_after_s),
        "predicted_low_s": low,
        "predicted_high_s": high,
        "degraded_after_s": _seconds(report.degraded_after_s),
        "recovered_after_s": _seconds(report.recovered_after_s),
    }


def store_unplanned(
    client: Client, model: str, version: str, mode: DrillMode, drills: Sequence[UnplannedDrill]
) -> None:
    """Write one failed row per drill; nothing was injected, so its fault begins and ends with the drill."""
    insert_rows(client, "drills", [_unplanned_row(model, version, mode, drill) for drill in drills])


def _unplanned_row(model: str, version: str, mode: DrillMode, drill: UnplannedDrill) -> dict[str, object]:
    options, injection, at_ms = drill.request.injection, drill.injection, int(time.time() * 1000)
    if injection is not None:
        # The same field as that of the drill when it can be planned: the last drill of a fault and field counts.
        field = injection.affected.name if injection.affected is not None else ""
        magnitude = injection.magnitude if options.fault.magnitude is not None else None
        rate: float | None = injection.rate
    else:
        field, magnitude, rate = options.field or "", options.magnitude, options.rate
    return {
        "drill_id": drill.drill_id,
        "at": at_ms,
        "model": model,
        "version": version,
        "fault": options.fault.name,
        "field": field,
        "magnitude": math.nan if magnitude is None else magnitude,
        "rate": math.nan if rate is None else rate,
        "mode": mode,
        "fault_start": at_ms,
        "fault_end": at_ms,
        "passed": False,
        "expected": [check.expected for check in drill.report.checks],
        "observed": [check.observed for check in drill.report.checks],
        "met": [check.is_met for check in drill.report.checks],
        **dict.fromkeys(
            ("page_after_s", "predicted_low_s", "predicted_high_s", "degraded_after_s", "recovered_after_s"), math.nan
        ),
    }


def _seconds(value: int | None) -> float:
    return math.nan if value is None else float(value)
