"""The command line of `barograph debt`."""

from __future__ import annotations

from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption


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

    from barograph_server.cli.debt_text import debt_json, print_debt
    from barograph_server.contracts import contracts_in_force
    from barograph_server.errors import EXIT_FAILED, CommandError
    from barograph_server.governance.debt.run_checks import run_checks
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
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
        Terminal().json(debt_json(report))
    else:
        print_debt(Terminal(), report)
    if report.findings:
        raise typer.Exit(EXIT_FAILED)
