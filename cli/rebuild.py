"""The command line of `barograph rebuild`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from barograph_server.cli.options import ConfigOption, JsonOption
from barograph_server.terminal import AlignedTable, Terminal, plural, utc_second

if TYPE_CHECKING:
    from barograph_server.streams.rebuild.rewind import OffsetReset
    from barograph_server.streams.rebuild.run import RebuildResult
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


def rebuild_command(
    model: Annotated[str | None, typer.Option(help="Name of the model.", show_default=False)] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Start of the first pane, event time.", show_default=False),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="TIME", help="End of the last pane.", show_default=False)] = None,
    after_restore: Annotated[
        bool,
        typer.Option(
            "--after-restore",
            help="Instead: set the offsets of monitors and recorders back to the end of the restored tables, so that "
            "they reread later events.",
        ),
    ] = False,
    source: Annotated[
        Literal["kafka", "raw", "panes"],
        typer.Option(
            help="Source of the events: `kafka`, or `raw` rows if Kafka no longer has them; `panes` does not recount "
            "and only judges the existing panes again."
        ),
    ] = "kafka",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes and replace nothing.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Recount panes and verdicts of the past, replace them, and show the changes.

    Stop the monitors first; everything else keeps running. Recounts the sealed panes of the range from the events in
    Kafka (or the raw rows), up to the monitor's progress, and judges every window that includes them again, by the
    contract and the baselines in force. Earlier verdicts stay as earlier revisions.

    With --after-restore the processors recount: their offsets in Kafka are newer than tables restored from a backup, so
    the command sets them back.

    Examples:
        barograph rebuild --model churn --from 2026-03-02T00:00Z --to 2026-03-02T06:00Z --dry-run
        barograph rebuild --model churn --from 2026-01-12 --to 2026-01-13 --source panes
        barograph rebuild --after-restore
    """
    from barograph_server.errors import CommandError
    from barograph_server.settings import load_settings
    from barograph_server.streams.rebuild.rewind import rewind
    from barograph_server.streams.rebuild.run import rebuild
    from barograph_server.terminal import SafeText
    from barograph_server.times import parse_range

    terminal, errors = Terminal(), Terminal(stderr=True)
    if after_restore:
        if model is not None or from_ is not None or to is not None:
            raise CommandError("--after-restore affects all models and times: leave out --model, --from and --to.")
        with errors.status("reading") as status:
            moves = rewind(
                load_settings(config).processor(), dry_run=dry_run, on_step=lambda step: status.update(SafeText(step))
            )
        if as_json:
            terminal.json([dataclasses.asdict(move) for move in moves])
            return
        print_moves(terminal, moves)
        terminal.lines(moves_lines(moves, dry_run=dry_run))
        return
    if model is None or from_ is None or to is None:
        raise CommandError("Give --model, --from and --to, or --after-restore.")
    start, end = parse_range(from_, to)
    settings = load_settings(config)
    with errors.status("reading") as status:
        result = rebuild(
            settings.processor(),
            model,
            int(start.timestamp()),
            math.ceil(end.timestamp()),
            source=source,
            dry_run=dry_run,
            on_step=lambda step: status.update(SafeText(step)),
        )
    if as_json:
        terminal.json(dataclasses.asdict(result))
        return
    print_differences(terminal, result.differences)
    terminal.lines(rebuilt_lines(result))
