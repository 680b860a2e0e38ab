"""A rebuild for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from cli.apply.catalogue import iso
from cli.terminal import Text
from streams.rebuild.rewind import OffsetReset
from streams.rebuild.run import RebuildResult
from warehouse.staging import Difference


def print_differences(console: Console, differences: Sequence[Difference]) -> None:
    """Print before and after as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "before", "after", "changed"):
        table.add_column(column, justify="right" if column else "left")
    for line in differences:
        cells = (line.what, f"{line.before:,}", f"{line.after:,}", f"{line.changed:,}" if line.changed else "")
        table.add_row(*(Text(cell) for cell in cells), style="bold" if line.changed else "")
    console.print(table)


def rebuilt_lines(done: RebuildResult) -> list[str]:
    """What was done, in sentences."""
    stretch = f"panes from {iso(done.from_s)} to {iso(done.to_s)}"
    lines = [
        {
            "kafka": f"Counted from Kafka: {done.read:,} offsets of the source, {stretch}.",
            "raw": f"Counted from raw rows: {done.read:,} of them, {stretch}.",
            "panes": f"Nothing was counted: the {stretch} were judged anew as they are.",
        }[done.source]
    ]
    if done.recovered:
        lines.append(f"{done.recovered:,} offsets that were lost to these panes are in them now.")
    lines.append("Replaced; start the monitors again." if done.replaced else "Nothing was replaced (--dry-run).")
    return lines


def print_moves(console: Console, moves: Sequence[OffsetReset]) -> None:
    """Print where each group stood and stands."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("group", "topic", "partition", "was", "is", "read again"):
        table.add_column(column, justify="left" if column in ("group", "topic") else "right")
    for move in moves:
        back = move.committed - move.target
        cells = (move.group, move.topic, move.partition, f"{move.committed:,}", f"{move.target:,}", f"{back:,}")
        table.add_row(*(Text(str(cell)) for cell in cells), style="bold" if back else "")
    console.print(table)


def moves_lines(moves: Sequence[OffsetReset], *, dry_run: bool) -> list[str]:
    """What that means, in sentences."""
    lines = []
    for move in moves:
        if move.gone:
            where = f"{move.gone:,} offsets of {move.topic} partition {move.partition}"
            parts = "the monitor will record what they covered as loss, and `barograph rebuild` may mend it"
            then = parts if move.group.endswith("monitor") else "their raw rows are lost"
            lines.append(f"{where} came after the backup and are gone from Kafka: {then}.")
    lines.append("Nothing was set (--dry-run)." if dry_run else "Start monitors and recorders; they catch up.")
    return lines
