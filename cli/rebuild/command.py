"""The command line of `barograph rebuild`."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Literal

import typer

from cli.options import ConfigOption


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
            help="Instead: set monitors and recorders back to where the restored tables end, so that they read again "
            "what came since.",
        ),
    ] = False,
    source: Annotated[
        Literal["kafka", "raw", "panes"],
        typer.Option(
            help="Where the events come from: Kafka, or raw rows where it has forgotten them; `panes` counts nothing "
            "and judges the panes that are there anew."
        ),
    ] = "kafka",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and replace nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """Count panes and verdicts of the past anew, replace them, and show what that changed.

    The monitors must be stopped; everything else goes on. Sealed panes of the range are counted again from the events
    that Kafka (or the raw rows) still hold, up to where the monitor had come, and every window that reaches into them
    is judged again, by the contract and the baselines in force. What was given before stays as earlier revisions.

    With --after-restore it is the processors that count anew: their offsets in Kafka are newer than tables that were
    restored from a backup, and are set back to these.

    Examples:
        barograph rebuild --model churn --from 2026-03-02T00:00Z --to 2026-03-02T06:00Z --dry-run
        barograph rebuild --model churn --from 2026-01-12 --to 2026-01-13 --source panes
        barograph rebuild --after-restore
    """
    from rich.console import Console

    from cli.errors import CommandError
    from cli.rebuild.show import moves_lines, print_differences, print_moves, rebuilt_lines
    from cli.settings import load_settings
    from cli.terminal import Text
    from cli.times import parse_range
    from streams.rebuild.rewind import rewind
    from streams.rebuild.run import rebuild

    console, errors = Console(), Console(stderr=True)
    if after_restore:
        if model is not None or from_ is not None or to is not None:
            raise CommandError("--after-restore is about all models and times: leave out --model, --from and --to.")
        with errors.status("reading") as status:
            moves = rewind(
                load_settings(config).processor(), dry_run=dry_run, on_step=lambda step: status.update(Text(step))
            )
        if as_json:
            print(json.dumps([dataclasses.asdict(move) for move in moves], ensure_ascii=False, indent=2))
            return
        print_moves(console, moves)
        for line in moves_lines(moves, dry_run=dry_run):
            console.print(Text(line), soft_wrap=True)
        return
    if model is None or from_ is None or to is None:
        raise CommandError("Say what to rebuild: --model, --from and --to; or --after-restore.")
    start, stop = parse_range(from_, to)
    settings = load_settings(config)
    with errors.status("reading") as status:
        done = rebuild(
            settings.processor(),
            model,
            int(start.timestamp()),
            -int(-stop.timestamp() // 1),
            source=source,
            dry_run=dry_run,
            on_step=lambda step: status.update(Text(step)),
        )
    if as_json:
        print(json.dumps(dataclasses.asdict(done), ensure_ascii=False, indent=2))
        return
    print_differences(console, done.differences)
    for line in rebuilt_lines(done):
        console.print(Text(line), soft_wrap=True)
