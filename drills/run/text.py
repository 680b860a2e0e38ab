"""Output of drills: what must happen, what happened, and JUnit's XML for CI."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from barograph_server.alerts.text import duration
from barograph_server.drills.faults import FAULTS, Fault, FaultParameter
from barograph_server.drills.report import DrillCheck
from barograph_server.drills.run.plan import DrillPlan
from barograph_server.drills.run.results import DrillResult
from barograph_server.terminal import AlignedTable, Terminal, utc_minute


def print_plan(terminal: Terminal, plan: DrillPlan) -> None:
    """Print what must happen, before it does."""
    injection, expectation = plan.injection, plan.expectation
    period = injection.period
    terminal.line(f"Drill {plan.title}: {injection.fault.incident}", "bold")
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


def print_result(terminal: Terminal, result: DrillResult) -> None:
    report, passed = result.report, result.passed
    terminal.line(f"{result.title}: {'passed' if passed else 'FAILED'}", "green" if passed else "bold red")
    table = AlignedTable("", "expected", "observed", "after")
    for check in report.checks:
        after = "" if check.after_s is None else duration(check.after_s)
        mark, style = ("ok", "") if check.is_met else ("failed", "red")
        table.row(mark, check.expected, check.observed, after, style=style)
    terminal.table(table)
    terminal.lines(report.notes)


def print_summary(terminal: Terminal, results: Sequence[DrillResult]) -> None:
    """Print how many drills of a suite passed, and which failed."""
    failed = [result.title for result in results if not result.passed]
    text = f"{len(results) - len(failed)} of {len(results)} drills passed"
    terminal.line(f"{text}; failed: {', '.join(failed)}." if failed else f"{text}.", "bold red" if failed else "green")


def write_junit(path: Path, model: str, results: Sequence[DrillResult]) -> None:
    """Write a test suite with a test case per drill."""
    failed = sum(not result.passed for result in results)
    suite = ET.Element("testsuite", name=f"drills of {model}", tests=str(len(results)), failures=str(failed))
    for result in results:
        report = result.report
        case = ET.SubElement(suite, "testcase", classname=f"drills.{model}", name=result.title)
        if not result.passed:
            unmet = (check for check in report.checks if not check.is_met)
            problems = [f"expected: {check.expected}; observed: {check.observed}" for check in unmet]
            ET.SubElement(case, "failure", message=problems[0]).text = "\n".join(problems)
        ET.SubElement(case, "system-out").text = "\n".join((*map(_check_line, report.checks), *report.notes))
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _check_line(check: DrillCheck) -> str:
    after = "" if check.after_s is None else f" after {duration(check.after_s)}"
    return f"{'ok' if check.is_met else 'failed'}: expected {check.expected}; observed {check.observed}{after}"


def fault_rows() -> list[dict[str, Any]]:
    return [
        {
            "fault": fault.name,
            "incident": fault.incident,
            "fields": sorted(fault.types),
            "magnitude": _parameter(fault.magnitude),
            "rate": _parameter(fault.rate),
        }
        for fault in FAULTS.values()
    ]


def print_faults(terminal: Terminal) -> None:
    table = AlignedTable("fault", "magnitude", "rate", "incident")
    for fault in FAULTS.values():
        table.row(fault.name, _text(fault.magnitude), _text(fault.rate), fault.incident)
    terminal.table(table)


def fault_table() -> str:
    lines = ["| fault | incident | fields | magnitude | rate |", "|---|---|---|---|---|"]
    for fault in FAULTS.values():
        cells = (f"`{fault.name}`", fault.incident, _types(fault), _text(fault.magnitude), _text(fault.rate))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _types(fault: Fault) -> str:
    return "any" if len(fault.types) == 5 else ", ".join(sorted(fault.types)) or "whole events"


def _parameter(parameter: FaultParameter | None) -> dict[str, Any] | None:
    return None if parameter is None else {"default": parameter.default, "unit": parameter.unit}


def _text(parameter: FaultParameter | None) -> str:
    return "" if parameter is None else f"{parameter.default:g} {parameter.unit}"
