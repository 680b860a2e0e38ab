"""The command line of `barograph demo`."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from cli.errors import EXIT_FAILED


def demo_command(
    exit_: Annotated[
        bool, typer.Option("--exit", help="End by itself; without it everything stays up until Ctrl-C.")
    ] = False,
) -> None:
    """Replay five months of real flights, and find their drift: the whole path on this machine, nothing to set up.

    Starts a local stack in .barograph (or BAROGRAPH_HOME), trains a classifier of late flights, infers contract and
    baseline, and sends August to December 2013 through publisher, Kafka, processors and ClickHouse. Everything goes
    to a database and topics of its own; the next run replaces them. Exits with 1 where the flights do not show what
    they must.

    Examples:
        barograph demo
        barograph demo --exit
    """
    # What it stands on is loaded here, so that `--help` is quick.
    from cli.demo.run import Demo

    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    with ExitStack() as stack:
        demo = Demo(None, Console(), stack)
        held = demo.run()
        if not exit_:
            try:
                demo.stay(stop)
            except KeyboardInterrupt:
                pass
    if not held:
        raise typer.Exit(EXIT_FAILED)
