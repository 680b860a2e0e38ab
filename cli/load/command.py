"""The command line of `barograph load`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn

from cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, CommandError
from cli.options import ConfigOption
from cli.terminal import Text

if TYPE_CHECKING:
    from barograph import Contract, Publisher

    from cli.load.check import Source
    from cli.settings import Settings

DELIVERY_S = 120.0
"""How long the last messages may take; librdkafka gives one up after the same time."""


def load_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Parquet, CSV or Arrow files, sent in this order. One with the columns id and label and none of a "
            "prediction holds labels.",
            show_default=False,
        ),
    ],
    contract: Annotated[Path, typer.Option(metavar="FILE", help="The model's contract.", show_default=False)],
    version: Annotated[
        str | None,
        typer.Option(
            help="The version that made the predictions, where no column `version` says so.", show_default=False
        ),
    ] = None,
    end: Annotated[
        bool,
        typer.Option("--end", help="Write an end mark afterwards: processors with the replay clock then seal all."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Load history and nightly labels from files, through the publisher.

    Columns: `id`, `at` (the time), `score`, `class`, `latency_ms`, `arm`, `error`, `status`, `features.NAME`,
    `context.NAME`, `metrics.NAME`; a bare name is the feature, context or metric that the contract calls so. Labels:
    `id`, `label`, `at`. Nothing is dropped when Kafka is slow; rows without id or time are left out and make the exit
    code 1. What was sent is sent: loading a file twice counts it twice.

    Examples:
        barograph load predictions.parquet labels.parquet --contract flight-delay.yaml --version 3 --end
        barograph load labels-2026-03-01.csv --contract flight-delay.yaml
    """
    from barograph.contract.file import load_contract

    from cli.load.check import understand
    from cli.load.files import EventFile, csv_types
    from cli.settings import load_settings

    agreed = load_contract(contract)
    types = csv_types(agreed)
    sources = [understand(EventFile(path, types), agreed, version) for path in files]
    settings = load_settings(config, needs=("kafka",))
    console = Console(stderr=True)
    for source in sources:
        for note in source.notes:
            console.print(Text(note), soft_wrap=True)
    # Labels carry no version, so for a file of labels any will do.
    publisher = _publisher(agreed, version or "unknown", settings)
    try:
        refused = _send(console, publisher, sources, agreed, version)
        publisher.flush(DELIVERY_S)
        if end:
            publisher.publish_end_marker(timeout_s=DELIVERY_S)
            console.print("End marks were written to every partition.")
        publisher.close()
    except KeyboardInterrupt:
        publisher.close(1.0)
        sent = publisher.stats.published
        console.print(f"Broken off: {sent:,} events had been sent, and loading the files again sends them again.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if refused:
        console.print(f"{refused:,} rows were left out: they have no id, no time or no label.", style="red")
        raise typer.Exit(EXIT_FAILED)


def _publisher(contract: Contract, version: str, settings: Settings) -> Publisher:
    from barograph import Publisher

    try:
        return Publisher.from_contract(
            contract,
            version=version,
            bootstrap_servers=settings.bootstrap_servers,
            on_full="wait",
            topic_prefix=settings.topic_prefix,
            kafka=settings.kafka,
        )
    except ValueError as error:
        raise CommandError(f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.") from error


def _send(
    console: Console, publisher: Publisher, sources: Sequence[Source], contract: Contract, version: str | None
) -> int:
    """Send every file with a bar of progress; return how many rows were left out."""
    from cli.load.check import blocks

    refused = 0
    columns = (TextColumn("{task.description}"), BarColumn(20), _Rows(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for source in sources:
            bar = progress.add_task(f"{source.file.path.name} ({source.kind})", total=source.file.rows)
            begun_s = time.monotonic()
            rows = 0
            publish = publisher.predictions if source.kind == "predictions" else publisher.labels
            for block in blocks(source, contract, version):
                publish(block.rows)
                refused += block.n_rejected
                rows += block.rows.num_rows + block.n_rejected
                progress.update(bar, completed=rows)
            progress.update(bar, total=rows, completed=rows)
            seconds = max(time.monotonic() - begun_s, 1e-3)
            console.print(
                f"{source.file.path}: {rows:,} {source.kind} in {seconds:.1f} s, {rows / seconds:,.0f} a second"
            )
    return refused


class _Rows(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = f" of {task.total:,.0f}" if task.total is not None else ""
        return Text(f"{task.completed:,.0f}{total}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")
