"""The command line of `barograph demo`."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from barograph_server.cli.options import Opt
from barograph_server.errors import EXIT_FAILED
from barograph_server.terminal import Terminal


def demo_command(
    exit_: Annotated[bool, Opt("Exit when done. By default everything keeps running until Ctrl-C.")] = False,
    shadow: Annotated[bool, Opt("Run a candidate as a shadow instead, and decide about its promotion.")] = False,
    llm: Annotated[bool, Opt("Run a support bot on a small real language model instead.")] = False,
    quality: Annotated[
        bool, Opt("With --llm: a bot that answers from documents, and how often it is wrong, instead.")
    ] = False,
    picture: Annotated[Path | None, Opt("Also draw the signals into this SVG file.", "FILE")] = None,
) -> None:
    """Replay five months of real flights on this machine and report what changed.

    Starts a local stack in .barograph (or BAROGRAPH_HOME), trains a classifier of late flights, infers its contract and
    baseline, and sends August to December 2013 through publisher, Kafka, processors and ClickHouse. Then reports
    volume, inputs, outputs and ground truth, each with its SQL. The demo uses its own database and topics, which the
    next run replaces. Exits with 1 if an expectation about these flights fails.

    With --shadow, a candidate without weather features answers the same flights, and the demo ends with the decision
    about it.

    With --llm, a support bot answers questions with a small language model on this machine, which `make demo-llm`
    installs: a worse prompt is found, and a change of topics. With --llm --quality, a bot answers from documents: a
    check finds planted faults of its citations, and labels correct the rate of a poor judge.

    Examples:
        barograph demo
        barograph demo --exit
        barograph demo --exit --picture flights.svg
        barograph demo --shadow --exit
        barograph demo --llm --exit
        barograph demo --llm --quality --exit
    """
    # Imported here, so that `--help` stays fast.
    from barograph_server.errors import CommandError

    if find_spec("barograph_server.examples") is None:
        raise CommandError("The demo is not in the installed package: run `make demo` in a clone of the repository.")
    from barograph_server.examples.demo.demo_run import DemoRun
    from barograph_server.examples.demo.run import DriftDemo
    from barograph_server.examples.demo.shadow.run import ShadowDemo

    if shadow and llm:
        raise CommandError("--shadow and --llm are two demos: leave out one of both.")
    if quality and not llm:
        raise CommandError("--quality is a demo with a language model: add --llm.")
    if (shadow or llm) and picture is not None:
        raise CommandError("--picture draws the signals of the demo of drift: leave it out with --shadow and --llm.")
    for number in _SIGNALS:
        signal.signal(number, _end)
    with ExitStack() as stack:
        terminal = Terminal(is_wide=False)
        demo: DemoRun
        if quality:
            from barograph_server.examples.demo.llm.quality_run import QualityDemo

            demo = QualityDemo(None, terminal, stack)
        elif llm:
            from barograph_server.examples.demo.llm.run import LlmDemo

            demo = LlmDemo(None, terminal, stack)
        elif shadow:
            demo = ShadowDemo(None, terminal, stack)
        else:
            demo = DriftDemo(None, terminal, stack, picture)
        current = demo.run()
        if exit_:
            demo.leave()
        else:
            demo.stay()
    if not current:
        raise typer.Exit(EXIT_FAILED)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _end(number: int, frame: FrameType | None) -> None:
    """Shut down once: Ctrl-C can arrive twice, from the terminal and from the parent process."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
