"""The command line of `barograph consumers`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from barograph_server.cli.options import ConfigOption, JsonOption
from barograph_server.governance.readers.comparison import ConsumerReport, Reader
from barograph_server.terminal import AlignedTable, Terminal, listed, utc_minute


def consumers_json(report: ConsumerReport) -> dict[str, Any]:
    """Convert a report for `Terminal.json`."""
    return asdict(report)


def print_consumers(terminal: Terminal, report: ConsumerReport) -> None:
    """Print declared consumers, then readers that no contract declares."""
    terminal.line("Declared consumers", "bold")
    if report.declared:
        table = AlignedTable("model", "consumer", "owner", "reads as", "observed", "last")
        for each in report.declared:
            reader = each.observed
            table.row(
                *(each.model, each.name, each.owner, f"{each.kind} {each.reader}"),
                "not observed" if reader is None else listed(reader.reads),
                _last(reader),
            )
        terminal.table(table)
    else:
        terminal.line("No contract declares consumers: write a section `consumers`.")
    terminal.line()
    terminal.line("Readers that no contract declares", "bold")
    if report.undeclared:
        table = AlignedTable("reader", "reads", "volume", "first", "last", "where", numbers=("volume",))
        for reader in report.undeclared:
            first = "-" if reader.first is None else utc_minute(reader.first)
            volume = f"{reader.volume:,}" if reader.volume else "-"
            table.row(f"{reader.kind} {reader.name}", listed(reader.reads), volume, first, _last(reader), reader.origin)
        terminal.table(table)
    else:
        terminal.line("None.")
    terminal.changes(f"! {note}" for note in report.notes)


def _last(reader: Reader | None) -> str:
    return "-" if reader is None or reader.last is None else utc_minute(reader.last)


def consumers_command(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Start of the range of queries: a time, or how long ago.")
    ] = "30d",
    store: Annotated[bool, typer.Option("--store", help="Also store the readers, for the rule on them.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show who reads topics, tables and dashboards, and who of them no contract declares.

    Consumer groups come from Kafka, users from ClickHouse's query log, dashboards and alert rules from Grafana, and
    callers from the context of predictions. Topics and tables hold all models, so a reader is declared if any contract
    names it in its section `consumers`. Processors, the commands of Barograph, and its own pages and rules do not
    count.

    With --store, run it once a day: the alert rule `undeclared-reader` reads what it stored.

    Exits with 1 if there is a reader that no contract declares.

    Examples:
        barograph consumers
        barograph consumers --since 7d --json | jq '.undeclared[].name'
    """
    from datetime import UTC, datetime

    from barograph_server.contracts import read_contracts
    from barograph_server.errors import EXIT_FAILED
    from barograph_server.governance.readers.read import read_consumers, store_readers
    from barograph_server.settings import load_settings
    from barograph_server.times import parse_since
    from barograph_server.warehouse.client import connect

    start = parse_since("--since", since, datetime.now(UTC))
    settings = load_settings(config)
    with connect(settings.warehouse) as client:
        report = read_consumers(settings, client, list(read_contracts(client).values()), start)
        if store:
            store_readers(client, report, datetime.now(UTC))
    if as_json:
        Terminal().json(consumers_json(report))
    else:
        print_consumers(Terminal(), report)
    if report.undeclared:
        raise typer.Exit(EXIT_FAILED)
