"""Output of `barograph consumers`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

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
