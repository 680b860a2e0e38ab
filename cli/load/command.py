"""The command line of `barograph load`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn

from cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, CommandError
from cli.options import ConfigOption
from cli.terminal import SafeText, Terminal, plural

if TYPE_CHECKING:
    from barograph import Contract, Publisher

    from cli.load.check import EventSource
    from cli.settings import Settings

DELIVERY_S = 120.0
"""Time limit of the delivery of the last messages, in seconds; librdkafka gives up after the same time."""


def load_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Parquet, CSV or Arrow files, published in this order. A file with the columns id and label and no "
            "column of a prediction has labels.",
            show_default=False,
        ),
    ],
    contract: Annotated[Path, typer.Option(metavar="FILE", help="The model's contract.", show_default=False)],
    version: Annotated[
        str | None,
        typer.Option(
            help="Version that made the predictions; required without a column `version`.", show_default=False
        ),
    ] = None,
    end: Annotated[
        bool,
        typer.Option(
            "--end",
            help="Finally write end markers: processors on the replay clock then seal everything; on the live clock "
            "they reject them.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Load history and labels from files, through the publisher.

    Columns: `id`, `at` (the time), `score`, `class`, `latency_ms`, `arm`, `error`, `status`, `features.NAME`,
    `context.NAME`, `metrics.NAME`; a bare name is the feature, context or metric of that name in the contract. Labels:
    `id`, `label`, `at`. Waits while Kafka is slow and drops nothing. Skips rows without id or time and then exits with
    1. Loading a file twice counts its events twice.

    Examples:
        barograph load predictions.parquet labels.parquet --contract flight-delay.yaml --version 3 --end
        barograph load labels-2026-03-01.csv --contract flight-delay.yaml
    """
    from barograph.contract.file import load_contract

    from cli.load.check import inspect_file
    from cli.load.files import EventFile, csv_types
    from cli.settings import load_settings

    model_contract = load_contract(contract)
    types = csv_types(model_contract)
    sources = [inspect_file(EventFile(path, types), model_contract, version) for path in files]
    settings = load_settings(config, needs=("kafka",))
    terminal = Terminal(stderr=True)
    for source in sources:
        terminal.lines(source.notes)
    # Labels have no version, so a file of labels needs none.
    publisher = _make_publisher(model_contract, version or "unknown", settings)
    try:
        n_skipped = _publish_files(terminal, publisher, sources, model_contract, version)
        publisher.flush(DELIVERY_S)
        if end:
            publisher.publish_end_marker(timeout_s=DELIVERY_S)
            terminal.line("Wrote end markers to all partitions.")
        publisher.close()
    except KeyboardInterrupt:
        publisher.close(1.0)
        published = plural(publisher.stats.published, "event")
        terminal.line(f"Interrupted after {published}; loading the files again publishes these events again.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if n_skipped:
        terminal.line(f"Skipped {plural(n_skipped, 'row')} without id, time or label.", "red")
        raise typer.Exit(EXIT_FAILED)


def _make_publisher(contract: Contract, version: str, settings: Settings) -> Publisher:
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


def _publish_files(
    terminal: Terminal, publisher: Publisher, sources: Sequence[EventSource], contract: Contract, version: str | None
) -> int:
    """Publish every file with a progress bar, and return the number of skipped rows."""
    from cli.load.check import read_blocks

    n_skipped = 0
    columns = (TextColumn("{task.description}"), BarColumn(20), _RowsColumn(), _RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.console, transient=True) as progress:
        for source in sources:
            bar = progress.add_task(f"{source.file.path.name} ({source.kind})", total=source.file.rows)
            started_s = time.monotonic()
            n_rows = 0
            publish = publisher.predictions if source.kind == "predictions" else publisher.labels
            for block in read_blocks(source, contract, version):
                publish(block.rows)
                n_skipped += block.n_rejected
                n_rows += block.rows.num_rows + block.n_rejected
                progress.update(bar, completed=n_rows)
            progress.update(bar, total=n_rows, completed=n_rows)
            seconds = max(time.monotonic() - started_s, 1e-3)
            rate = f"{n_rows / seconds:,.0f} per second"
            terminal.line(f"{source.file.path}: published {n_rows:,} {source.kind} in {seconds:.1f} s, {rate}")
    return n_skipped


class _RowsColumn(ProgressColumn):
    """The number of published rows, and the total if it is known."""

    def render(self, task: Task) -> SafeText:
        total = f" of {task.total:,.0f}" if task.total is not None else ""
        return SafeText(f"{task.completed:,.0f}{total}")


class _RateColumn(ProgressColumn):
    """The rows per second."""

    def render(self, task: Task) -> SafeText:
        speed = task.finished_speed or task.speed
        return SafeText("" if speed is None else f"{speed:,.0f}/s")
