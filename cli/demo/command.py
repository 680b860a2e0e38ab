"""The command line of `barograph demo`."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from cli.errors import EXIT_FAILED
from cli.terminal import Terminal


def demo_command(
    exit_: Annotated[
        bool, typer.Option("--exit", help="End by itself; without it everything stays up until Ctrl-C.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the signals into this SVG file too.", show_default=False)
    ] = None,
) -> None:
    """Replay five months of real flights on this machine, and show what changed in them.

    Starts a local stack in .barograph (or BAROGRAPH_HOME), trains a classifier of late flights, infers contract and
    baseline, and sends August to December 2013 through publisher, Kafka, processors and ClickHouse; then shows volume,
    inputs, outputs and ground truth, each with its SQL. All of it has a database and topics of its own, which the next
    run replaces. Exits with 1 where the flights do not show what they must.

    Examples:
        barograph demo
        barograph demo --exit
        barograph demo --exit --picture flights.svg
    """
    # What it stands on is loaded here, so that `--help` is quick.
    from cli.demo.run import Demo

    for number in _SIGNALS:
        signal.signal(number, _end)
    with ExitStack() as stack:
        demo = Demo(None, Terminal(is_wide=False), stack)
        held = demo.run(picture)
        if exit_:
            demo.leave()
        else:
            demo.stay()
    if not held:
        raise typer.Exit(EXIT_FAILED)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _end(number: int, frame: FrameType | None) -> None:
    """End in order, once: a Ctrl-C may arrive twice, from the terminal and from what started this process."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
