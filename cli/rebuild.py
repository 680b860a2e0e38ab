"""The command line of `barograph rebuild`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from barograph_server.cli.options import Connection, DryRun, Opt, Output
from barograph_server.errors import CommandError
from barograph_server.terminal import TableColumn, Terminal, plural, utc_second
from barograph_server.times import parse_range

if TYPE_CHECKING:
    from barograph_server.streams.rebuild.rewind import OffsetReset
    from barograph_server.streams.rebuild.run import RebuildResult


def _rows(rows: int) -> str:
    return f"{rows:,}" if rows else ""


_DIFFERENCES = (
    TableColumn("subject", " "),
    TableColumn("before", format=","),
    TableColumn("after", format=","),
    TableColumn("changed", format=_rows, is_number=True),
)
_MOVES = (
    TableColumn("group"),
    TableColumn("topic"),
    TableColumn("partition", format="d"),
    TableColumn("committed", "before", ","),
    TableColumn("target", "after", ","),
    TableColumn(lambda move: move.committed - move.target, "reread", ","),
)


def print_rebuilt(terminal: Terminal, result: RebuildResult) -> None:
    """Print the numbers of rows before and after the rebuild, and what was rebuilt."""
    terminal.rows(result.differences, _DIFFERENCES, lambda each: "bold" if each.changed else "")
    terminal.lines(rebuilt_lines(result))


def print_moves(terminal: Terminal, moves: Sequence[OffsetReset], *, dry_run: bool) -> None:
    """Print the committed offset of each group before and after, and the consequences."""
    terminal.rows(moves, _MOVES, lambda move: "bold" if move.committed > move.target else "")
    terminal.lines(moves_lines(moves, dry_run=dry_run))


def rebuilt_lines(result: RebuildResult) -> list[str]:
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


def rebuild_command(
    output: Output,
    connection: Connection,
    model: Annotated[str | None, Opt("Name of the model.", "NAME")] = None,
    from_: Annotated[str | None, Opt("Start of the first pane, event time.", "TIME")] = None,
    to: Annotated[str | None, Opt("End of the last pane.", "TIME")] = None,
    after_restore: Annotated[
        bool, Opt("Instead: set the offsets of monitors and recorders back to the end of restored tables.")
    ] = False,
    source: Annotated[
        Literal["kafka", "raw", "panes"],
        Opt("`raw` rows if Kafka no longer has the events; `panes` only judges existing panes again."),
    ] = "kafka",
    dry_run: DryRun = False,
) -> None:
    """Recount panes and verdicts of the past, replace them, and show the changes.

    Stop the monitors first; everything else keeps running. Recounts the sealed panes of the range up to the monitor's
    progress, and judges every window that includes them again, by the contract and the baselines in force. Earlier
    verdicts stay as earlier revisions.

    Examples:
        barograph rebuild --model churn --from 2026-03-02T00:00Z --to 2026-03-02T06:00Z --dry-run
        barograph rebuild --model churn --from 2026-01-12 --to 2026-01-13 --source panes
        barograph rebuild --after-restore
    """
    from barograph_server.streams.rebuild.rewind import rewind
    from barograph_server.streams.rebuild.run import rebuild

    reading = Terminal(stderr=True).steps()
    if after_restore:
        if model is not None or from_ is not None or to is not None:
            raise CommandError("--after-restore affects all models and times: leave out --model, --from and --to.")
        with reading as on_step:
            moves = rewind(connection.settings().processor(), dry_run=dry_run, on_step=on_step)
        output.show(moves, partial(print_moves, dry_run=dry_run))
        return
    if model is None or from_ is None or to is None:
        raise CommandError("Give --model, --from and --to, or --after-restore.")
    start, end = parse_range(from_, to)
    settings = connection.settings()
    with reading as on_step:
        result = rebuild(
            settings.processor(),
            model,
            int(start.timestamp()),
            math.ceil(end.timestamp()),
            source=source,
            dry_run=dry_run,
            on_step=on_step,
        )
    output.show(result, print_rebuilt)
