"""The command line of `barograph debt`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from barograph_server.cli.options import Connection, OnlyModel, Opt, Output
from barograph_server.contracts import contracts_in_force
from barograph_server.errors import EXIT_FAILED, CommandError
from barograph_server.governance.debt.scope import DebtFinding, DebtReport
from barograph_server.terminal import TableColumn, Terminal, plural, utc_minute
from barograph_server.times import parse_moment
from barograph_server.warehouse.client import connect

_FINDINGS = (
    TableColumn("kind", "finding"),
    TableColumn("model"),
    TableColumn("subject"),
    TableColumn(lambda finding: "-" if finding.since is None else f"{finding.since:%Y-%m-%d}", "since"),
    TableColumn("owner", "ask", lambda owner: owner or "nobody is declared"),
    TableColumn(lambda finding: _stored(finding)[0], "on disk", is_number=True),
    TableColumn(lambda finding: _stored(finding)[1], "rows per day", is_number=True),
    TableColumn("message", "reason"),
    TableColumn("action", "what to do"),
)


def print_debt(terminal: Terminal, report: DebtReport) -> None:
    """Print a row per finding, their sum, and what could not be evaluated."""
    evaluated = plural(report.evaluated, "check")
    if not report.findings:
        terminal.line(f"{evaluated} found nothing to delete at {utc_minute(report.at)}.", "green")
    else:
        terminal.rows(report.findings, _FINDINGS)
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


def debt_command(
    output: Output,
    connection: Connection,
    model: OnlyModel = None,
    at: Annotated[str | None, Opt("The clock; default: now.", "TIME")] = None,
    days: Annotated[int | None, Opt("Replaces the days of each rule.", min=1)] = None,
    margin: Annotated[float | None, Opt("Replaces the margins of arms.")] = None,
    raw: Annotated[bool, Opt("Also compare producers and features of raw events.")] = False,
) -> None:
    """Show versions, arms, slices and fields to delete, and features with unclear origin.

    Each finding has the day since which its rule holds, whom to ask, and the storage that it takes. A rule that cannot
    be evaluated is listed as such.

    Exits with 1 if there is a finding.

    Examples:
        barograph debt
        barograph debt --model flight-delay --raw
        barograph debt --at 2026-03-01 --format json | jq '.findings[].subject'
    """
    from barograph_server.governance.debt.run_checks import run_checks

    clock = datetime.now(UTC).replace(microsecond=0) if at is None else parse_moment("--at", at)
    settings = connection.settings("clickhouse")
    if margin is not None and margin <= 0.0:
        raise CommandError(f"--margin {margin} is not a margin: write a number above 0, such as 0.01.")
    with connect(settings.warehouse) as client:
        contracts = contracts_in_force(client, model)
        report = run_checks(settings, client, contracts, clock, days=days, margin=margin, samples_raw=raw)
    output.show(report, print_debt)
    if report.findings:
        raise typer.Exit(EXIT_FAILED)
