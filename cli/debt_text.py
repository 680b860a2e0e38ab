"""Output of `barograph debt`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from barograph_server.governance.debt.finding import DebtFinding, DebtReport
from barograph_server.terminal import AlignedTable, Terminal, plural, utc_minute


def debt_json(report: DebtReport) -> dict[str, Any]:
    """Convert a report for `Terminal.json`."""
    return asdict(report)


def print_debt(terminal: Terminal, report: DebtReport) -> None:
    """Print a row per finding, their sum, and what could not be evaluated."""
    evaluated = plural(report.evaluated, "check")
    if not report.findings:
        terminal.line(f"{evaluated} found nothing to delete at {utc_minute(report.at)}.", "green")
    else:
        numbers = ("on disk", "rows per day")
        headings = ("finding", "model", "subject", "since", "ask", *numbers, "reason", "what to do")
        table = AlignedTable(*headings, numbers=numbers)
        for each in report.findings:
            since = "-" if each.since is None else f"{each.since:%Y-%m-%d}"
            names = (each.kind, each.model, each.subject, since, each.owner or "nobody is declared")
            table.row(*names, *_stored(each), each.reason, each.action)
        terminal.table(table)
        total = sum(each.stored_bytes or 0 for each in report.findings)
        rows = sum(each.rows_per_day or 0.0 for each in report.findings)
        terminal.line(
            f"{plural(len(report.findings), 'finding')} of {evaluated} at {utc_minute(report.at)}: at most "
            f"{_mebibytes(total)} and {rows:,.0f} rows per day, by estimate.",
            "bold",
        )
    terminal.changes(f"! {note}" for note in report.notes)


def _stored(finding: DebtFinding) -> tuple[str, str]:
    if finding.stored_bytes is None or finding.rows_per_day is None:
        return "-", "-"
    return _mebibytes(finding.stored_bytes), f"{finding.rows_per_day:,.0f}"


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
