"""Output of `barograph rebuild`."""

from __future__ import annotations

from collections.abc import Sequence

from barograph_server.streams.rebuild.rewind import OffsetReset
from barograph_server.streams.rebuild.run import RebuildResult
from barograph_server.terminal import AlignedTable, Terminal, plural, utc_second
from barograph_server.warehouse.staging import Difference


def print_differences(terminal: Terminal, differences: Sequence[Difference]) -> None:
    """Print the numbers of rows before and after the rebuild as a table."""
    table = AlignedTable("", "before", "after", "changed", numbers=("before", "after", "changed"))
    for difference in differences:
        table.row(
            difference.subject,
            f"{difference.before:,}",
            f"{difference.after:,}",
            f"{difference.changed:,}" if difference.changed else "",
            style="bold" if difference.changed else "",
        )
    terminal.table(table)


def rebuilt_lines(result: RebuildResult) -> list[str]:
    """Describe what was rebuilt."""
    panes = f"panes from {utc_second(result.from_s)} to {utc_second(result.to_s)}"
    lines = [
        {
            "kafka": f"Recounted {panes} from {plural(result.read, 'offset')} of the source topic.",
            "raw": f"Recounted {panes} from {plural(result.read, 'raw row')}.",
            "panes": f"Judged the {panes} again without recounting.",
        }[result.source]
    ]
    if result.recovered:
        lines.append(f"Recovered {plural(result.recovered, 'lost offset')}.")
    lines.append("Replaced. Start the monitors again." if result.replaced else "Nothing was replaced (--dry-run).")
    return lines


def print_moves(terminal: Terminal, moves: Sequence[OffsetReset]) -> None:
    """Print the committed offset of each group before and after as a table."""
    table = AlignedTable(
        "group",
        "topic",
        "partition",
        "before",
        "after",
        "reread",
        numbers=("partition", "before", "after", "reread"),
    )
    for move in moves:
        reread = move.committed - move.target
        table.row(
            move.group,
            move.topic,
            str(move.partition),
            f"{move.committed:,}",
            f"{move.target:,}",
            f"{reread:,}",
            style="bold" if reread else "",
        )
    terminal.table(table)


def moves_lines(moves: Sequence[OffsetReset], *, dry_run: bool) -> list[str]:
    """Describe the consequences of the moved offsets."""
    lines = []
    for move in moves:
        if move.lost:
            offsets = f"{plural(move.lost, 'offset')} of {move.topic} partition {move.partition}"
            if move.group.endswith("monitor"):
                effect = "the monitor records the events they cover as lost, and `barograph rebuild` may recover them"
            else:
                effect = "their raw rows are lost"
            lines.append(f"{offsets} arrived after the backup, and Kafka no longer has them: {effect}.")
    lines.append("No offset was set (--dry-run)." if dry_run else "Start monitors and recorders; they catch up.")
    return lines
