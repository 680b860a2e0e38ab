"""The command line of `barograph demo`."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from barograph_server.cli.options import Opt
from barograph_server.errors import EXIT_FAILED, CommandError
from barograph_server.terminal import Terminal

if TYPE_CHECKING:
    from barograph_server.examples.demo.base import Demo


def demo_command(
    exit_: Annotated[bool, Opt("Exit when done. By default everything keeps running until Ctrl-C.")] = False,
    shadow: Annotated[bool, Opt("Run a candidate as a shadow instead, and decide about its promotion.")] = False,
    llm: Annotated[bool, Opt("Run a support bot on a small real language model instead.")] = False,
    quality: Annotated[
        bool, Opt("With --llm: a bot that answers from documents, and how often it is wrong, instead.")
    ] = False,
) -> None:
    """Replay five months of real flights on this machine and report what changed.

    Starts a local stack in .barograph (or BAROGRAPH_HOME), trains a classifier of late flights, and sends August to
    December 2013 through publisher, Kafka, processors and ClickHouse. Then reports volume, inputs, outputs and ground
    truth, each with its SQL. The next run replaces its database and topics. Exits with 1 if an expectation about these
    flights fails.

    --shadow ends with the decision about a candidate without weather features. --llm runs a support bot on a small
    language model, which `make demo-llm` installs, and finds a worse prompt and a change of topics. --llm --quality
    runs a bot that answers from documents: a check finds planted faults, and labels correct the rate of a poor judge.

    Examples:
        barograph demo
        barograph demo --exit
        barograph demo --shadow --exit
        barograph demo --llm --exit
        barograph demo --llm --quality --exit
    """
    # Imported here, so that `--help` stays fast.

    if find_spec("barograph_server.examples") is None:
        raise CommandError("The demo is not in the installed package: run `make demo` in a clone of the repository.")
    if shadow and llm:
        raise CommandError("--shadow and --llm are two demos: leave out one of both.")
    if quality and not llm:
        raise CommandError("--quality is a demo with a language model: add --llm.")
    for number in _SIGNALS:
        signal.signal(number, _end)
    with ExitStack() as stack:
        demo = _demo_class(shadow, llm, quality)(None, Terminal(), stack)
        are_met = demo.run()
        if exit_:
            demo.leave()
        else:
            demo.stay()
    if not are_met:
        raise typer.Exit(EXIT_FAILED)


def _demo_class(shadow: bool, llm: bool, quality: bool) -> type[Demo]:
    """Import the demo that the options name; only `make demo-llm` installs what those with a model need."""
    if quality:
        from barograph_server.examples.demo.quality_demo import QualityDemo

        return QualityDemo
    if llm:
        from barograph_server.examples.demo.llm_demo import LlmDemo

        return LlmDemo
    if shadow:
        from barograph_server.examples.demo.shadow_demo import ShadowDemo

        return ShadowDemo
    from barograph_server.examples.demo.flights_demo import FlightsDemo

    return FlightsDemo


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _end(number: int, frame: FrameType | None) -> None:
    """Shut down once: Ctrl-C can arrive twice, from the terminal and from the parent process."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
