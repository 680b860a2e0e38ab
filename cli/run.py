"""`barograph run`: one processor as this process, for whoever supervises it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli.options import ConfigOption

Kind = Literal["sketcher", "recorder", "monitor", "scorer"]
ClockName = Literal["live", "replay"]


def run_command(
    kind: Annotated[Kind, typer.Argument(help="Which processor.", show_default=False)],
    instance: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Its name: the same after every restart, another one for every process of the kind that runs at "
            "the same time. By default the setting `instance`, else the host's name.",
            show_default=False,
        ),
    ] = None,
    clock: Annotated[
        ClockName | None,
        typer.Option(
            help="`live`: partitions without events count as read up to now; `replay`: only events and end marks "
            "move time. By default the setting `clock`, else live.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run one processor until SIGTERM or Ctrl-C.

    Sketcher: events to parts. Recorder: events to raw tables. Monitor: parts to panes and verdicts. Scorer: labels
    and predictions to performance; it needs ClickHouse alone. Exits with 0 when asked to end and with 1 after an error
    that somebody must see; whoever supervises it starts it again.

    Examples:
        barograph run sketcher --instance sketcher-1
        barograph run monitor --clock replay
    """
    from cli.settings import BOTH, Server, load_settings
    from streams import run

    needs: tuple[Server, ...] = ("clickhouse",) if kind == "scorer" else BOTH
    settings = load_settings(config, needs=needs).processor(instance=instance, clock=clock)
    code: int = getattr(run, f"run_{kind}")(settings)
    raise typer.Exit(code)
