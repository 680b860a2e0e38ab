"""The command line of `barograph debt`."""

from __future__ import annotations

from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption
from barograph_server.governance.debt.finding import DebtFinding, DebtReport
from barograph_server.plain_values import plain
from barograph_server.terminal import AlignedTable, Terminal, plural, utc_minute


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
            table.row(*names, *_stored(each), each.message, each.action)
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


def debt_command(
    model: Annotated[str | None, typer.Option(help="Only this model.", show_default=False)] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="The clock; default: now.", show_default=False)] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Replaces the days of each rule.", show_default=False)] = None,
    margin: Annotated[float | None, typer.Option(help="Replaces the margins of arms.", show_default=False)] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Also compare producers and features of raw events.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show versions, arms, slices and fields to delete, and features with unclear origin.

    Each finding has the day since which its rule holds, whom to ask, and the storage that it takes. A rule that cannot
    be evaluated is listed as such.

    Exits with 1 if there is a finding.

    Examples:
        barograph debt
        barograph debt --model flight-delay --raw
        barograph debt --at 2026-03-01 --json | jq '.findings[].subject'
    """
    from datetime import UTC, datetime

    from barograph_server.contracts import contracts_in_force
    from barograph_server.errors import EXIT_FAILED, CommandError
    from barograph_server.governance.debt.run_checks import run_checks
    from barograph_server.settings import load_settings
    from barograph_server.times import parse_moment
    from barograph_server.warehouse.client import connect

    clock = datetime.now(UTC).replace(microsecond=0) if at is None else parse_moment("--at", at)
    settings = load_settings(config, needs=("clickhouse",))
    if margin is not None and margin <= 0.0:
        raise CommandError(f"--margin {margin} is not a margin: write a number above 0, such as 0.01.")
    with connect(settings.warehouse) as client:
        contracts = contracts_in_force(client, model)
        report = run_checks(settings, client, contracts, clock, days=days, margin=margin, samples_raw=raw)
    if as_json:
        Terminal().json(plain(report))
    else:
        print_debt(Terminal(), report)
    if report.findings:
        raise typer.Exit(EXIT_FAILED)
