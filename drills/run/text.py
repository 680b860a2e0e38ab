"""Output of drills: what must happen, what happened, JSON for programs, and JUnit's XML for CI."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from barograph_server.alerts.text import duration
from barograph_server.drills.report import DrillCheck, DrillReport
from barograph_server.drills.run.plan import DrillMode, DrillPlan
from barograph_server.terminal import AlignedTable, Terminal, utc_minute

Result = tuple[str, DrillPlan | None, DrillReport]
"""Title, plan and report of a drill; no plan if it could not be planned."""


def title_of(plan: DrillPlan) -> str:
    """Return fault and field of a drill."""
    injection = plan.injection
    return f"{injection.fault.name} {injection.affected.name if injection.affected is not None else ''}".strip()


def print_plan(terminal: Terminal, plan: DrillPlan) -> None:
    """Print what must happen, before it does."""
    injection, expectation = plan.injection, plan.expectation
    period = injection.period
    terminal.line(f"Drill {title_of(plan)}: {injection.fault.incident}", "bold")
    alerts = "; ".join(map(str, expectation.alerts)) or "no alert: no rule sees this fault"
    if plan.predicted_s is not None:
        low, high = map(duration, plan.predicted_s)
        alerts += f" after {low} to {high} (predicted 10–90 % interval)"
    elif plan.unpredicted:
        alerts += f"; no time is predicted: {plan.unpredicted}"
    guard = {"degraded": "degrades, then recovers", "healthy": "stays healthy", None: "may degrade"}[expectation.guard]
    start, end = utc_minute(period.start_ms / 1000), utc_minute(period.end_ms / 1000)
    terminal.pairs(
        {
            "fault": f"{_size(plan)}, from {start} to {end} UTC",
            "must happen": alerts,
            "guard": guard,
            "must not happen": "any other page",
        }
    )


def _size(plan: DrillPlan) -> str:
    injection = plan.injection
    fault = injection.fault
    parts = []
    if fault.magnitude is not None:
        parts.append(f"{injection.magnitude:g} {fault.magnitude.unit}")
    if fault.rate is not None:
        parts.append(f"{injection.rate:.0%} {fault.rate.unit}")
    return ", ".join(parts) or "all events"


def print_report(terminal: Terminal, title: str, report: DrillReport) -> None:
    """Print each expectation with what happened."""
    terminal.line(f"{title}: {'passed' if report.passed else 'FAILED'}", "green" if report.passed else "bold red")
    table = AlignedTable("", "expected", "observed", "after")
    for check in report.checks:
        after = "" if check.after_s is None else duration(check.after_s)
        mark, style = ("ok", "") if check.is_met else ("failed", "red")
        table.row(mark, check.expected, check.observed, after, style=style)
    terminal.table(table)
    terminal.lines(report.notes)


def print_summary(terminal: Terminal, results: Sequence[Result]) -> None:
    """Print how many drills of a suite passed, and which failed."""
    failed = [title for title, _, report in results if not report.passed]
    text = f"{len(results) - len(failed)} of {len(results)} drills passed"
    terminal.line(f"{text}; failed: {', '.join(failed)}." if failed else f"{text}.", "bold red" if failed else "green")


def results_json(model: str, version: str, mode: DrillMode, results: Sequence[Result]) -> dict[str, Any]:
    """Return the results as JSON values; times are in seconds of event time."""
    return {
        "model": model,
        "version": version,
        "mode": mode,
        "passed": all(report.passed for _, _, report in results),
        "drills": [_drill_json(title, plan, report) for title, plan, report in results],
    }


def _drill_json(title: str, plan: DrillPlan | None, report: DrillReport) -> dict[str, Any]:
    values: dict[str, Any] = {"title": title, "passed": report.passed}
    if plan is not None:
        injection = plan.injection
        values |= {
            "id": plan.drill_id,
            "fault": injection.fault.name,
            "field": injection.affected.name if injection.affected is not None else None,
            "magnitude": injection.magnitude if injection.fault.magnitude is not None else None,
            "rate": injection.rate,
            "start_ms": injection.period.start_ms,
            "end_ms": injection.period.end_ms,
            "predicted_s": None if plan.predicted_s is None else list(plan.predicted_s),
            "unpredicted": plan.unpredicted or None,
        }
    return values | {
        "checks": [
            {
                "expected": check.expected,
                "observed": check.observed,
                "met": check.is_met,
                "after_s": check.after_s,
            }
            for check in report.checks
        ],
        "page_after_s": report.page_after_s,
        "degraded_after_s": report.degraded_after_s,
        "recovered_after_s": report.recovered_after_s,
        "alerts": list(report.observed),
        "notes": list(report.notes),
    }


def write_junit(path: Path, model: str, results: Sequence[Result]) -> None:
    """Write a test suite with a test case per drill."""
    failed = sum(not report.passed for _, _, report in results)
    suite = ET.Element("testsuite", name=f"drills of {model}", tests=str(len(results)), failures=str(failed))
    for title, _, report in results:
        case = ET.SubElement(suite, "testcase", classname=f"drills.{model}", name=title)
        if not report.passed:
            problems = list(_problems(report))
            ET.SubElement(case, "failure", message=problems[0]).text = "\n".join(problems)
        ET.SubElement(case, "system-out").text = "\n".join((*map(_check_line, report.checks), *report.notes))
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _check_line(check: DrillCheck) -> str:
    after = "" if check.after_s is None else f" after {duration(check.after_s)}"
    return f"{'ok' if check.is_met else 'failed'}: expected {check.expected}; observed {check.observed}{after}"


def _problems(report: DrillReport) -> Iterator[str]:
    for check in report.checks:
        if not check.is_met:
            yield f"expected: {check.expected}; observed: {check.observed}"
