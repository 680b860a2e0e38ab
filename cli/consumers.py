"""The command line of `barograph consumers`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from barograph_server.cli.options import Connection, Opt, Output
from barograph_server.contracts import read_contracts
from barograph_server.errors import EXIT_FAILED
from barograph_server.governance.readers.read import ConsumerReport, Reader, read_consumers, store_readers
from barograph_server.terminal import TableColumn, Terminal, listed, utc_minute
from barograph_server.times import parse_since
from barograph_server.warehouse.client import connect


def _last(reader: Reader | None) -> str:
    return "-" if reader is None or reader.last is None else utc_minute(reader.last)


_DECLARED = (
    TableColumn("model"),
    TableColumn("name", "consumer"),
    TableColumn("owner"),
    TableColumn(lambda each: f"{each.kind} {each.reader}", "reads as"),
    TableColumn(lambda each: "not observed" if each.observed is None else listed(each.observed.reads), "observed"),
    TableColumn(lambda each: _last(each.observed), "last"),
)
_UNDECLARED = (
    TableColumn(lambda reader: f"{reader.kind} {reader.name}", "reader"),
    TableColumn("reads", format=listed),
    TableColumn("volume", format=lambda volume: f"{volume:,}" if volume else "-", is_number=True),
    TableColumn(lambda reader: "-" if reader.first is None else utc_minute(reader.first), "first"),
    TableColumn(_last, "last"),
    TableColumn("origin", "where"),
)


def print_consumers(terminal: Terminal, report: ConsumerReport) -> None:
    """Print declared consumers, then readers that no contract declares."""
    terminal.line("Declared consumers", "bold")
    if report.declared:
        terminal.rows(report.declared, _DECLARED)
    else:
        terminal.line("No contract declares consumers: write a section `consumers`.")
    terminal.line()
    terminal.line("Readers that no contract declares", "bold")
    if report.undeclared:
        terminal.rows(report.undeclared, _UNDECLARED)
    else:
        terminal.line("None.")
    terminal.changes(f"! {note}" for note in report.notes)


def consumers_command(
    output: Output,
    connection: Connection,
    since: Annotated[str, Opt("Start of the range of queries: a time, or how long ago.", "TIME")] = "30d",
    store: Annotated[bool, Opt("Also store the readers, for the rule on them.")] = False,
) -> None:
    """Show who reads topics, tables and dashboards, and who of them no contract declares.

    A reader is declared if any contract names it in its section `consumers`. With --store, run it once a day: the alert
    rule `undeclared-reader` reads what it stored.

    Exits with 1 if there is a reader that no contract declares.

    Examples:
        barograph consumers
        barograph consumers --since 7d --format json | jq '.undeclared[].name'
    """
    start = parse_since("--since", since, datetime.now(UTC))
    settings = connection.settings()
    with connect(settings.warehouse) as client:
        report = read_consumers(settings, client, list(read_contracts(client).values()), start)
        if store:
            store_readers(client, report, datetime.now(UTC))
    output.show(report, print_consumers)
    if report.undeclared:
        raise typer.Exit(EXIT_FAILED)
