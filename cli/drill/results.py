"""Rows of the table `drills`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from cli.drill.plan import DrillMode, DrillPlan
from drills.report import DrillReport
from warehouse.client import Client
from warehouse.tables import insert_rows


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


def _seconds(value: int | None) -> float:
    return math.nan if value is None else float(value)
