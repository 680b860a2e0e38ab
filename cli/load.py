"""The command line of `barograph load`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn

from barograph_server.cli.options import ConfigOption
from barograph_server.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, CommandError, RefusedLoad
from barograph_server.profiling.table_columns import (
    ClassOption,
    IdOption,
    LabelOption,
    ScoreOption,
    TimeOption,
    with_columns,
)
from barograph_server.terminal import SafeText, Terminal, plural, ratio

if TYPE_CHECKING:
    from barograph import Contract, Publisher

    from barograph_server.batch.backfill.account import Account, Accountant, SentEvents
    from barograph_server.batch.backfill.check import EventSource
    from barograph_server.settings import Settings

DELIVERY_S = 120.0
"""Time limit of the delivery of the last messages, in seconds; librdkafka gives up after the same time."""


def load_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Parquet, CSV or Arrow files, published in this order. A file with the columns id and label and no "
            "column of a prediction has labels; a table of predictions can have a column of labels too.",
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
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait",
            help="Wait until the processors have taken the events, and end with the account of what became of them.",
        ),
    ] = True,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.0, help="Longest wait for the processors.")
    ] = 180.0,
    max_rejected: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Exit with 1 if more than this share of predictions or labels is dead-lettered, or of labels not "
            "measured, or of a field's values invalid or of an unknown class.",
        ),
    ] = 0.01,
    id_: IdOption = None,
    time_: TimeOption = None,
    score: ScoreOption = None,
    class_: ClassOption = None,
    label: LabelOption = None,
    label_time: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the times at which labels became known; by default `at` in a file of labels, and the time "
            "of the prediction for labels in a table of predictions.",
            show_default=False,
        ),
    ] = None,
    label_delay: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long after their prediction the labels in a table of predictions became known, such as 7d.",
            show_default=False,
        ),
    ] = None,
    shift_to_now: Annotated[
        bool,
        typer.Option(
            "--shift-to-now",
            help="Move all times by the same number of weeks, so that the newest is in the last week; the original "
            "time of a prediction is kept in its context as `original_at`.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Load history and labels from files, through the publisher.

    Columns: `id`, `at` (the time), `score`, `class`, `latency_ms`, `arm`, `error`, `status`, `features.NAME`,
    `context.NAME`, `metrics.NAME`; a bare name is the feature, context or metric of that name in the contract. Labels:
    `id`, `label`, `at`. Columns of other names are those in the contract's `columns`, or in options. Labels in a table
    of predictions are sent too, unless one of the files has labels; rows without a label have none yet.

    Waits while Kafka is slow and drops nothing. Skips rows without id or time and then exits with
    1. Loading a file twice counts its events twice.

    Sends nothing and exits with 2 if processors would reject the times: events older than the setting
    `retention_days`, or ahead of the clock. `--shift-to-now` moves old history to now.

    Ends with an account: of the events sent, how many were counted or dead-lettered by reason, invalid values by field,
    and labels matched, unmatched or not measured, with the commands that show why. Exits with 1 if one of these shares
    exceeds `--max-rejected`, or if not everything is known after `--timeout`. `--no-wait` needs no ClickHouse, and does
    not tell what became of the events.

    Examples:
        barograph load predictions.parquet labels.parquet --contract flight-delay.yaml --version 3 --end
        barograph load labels-2026-03-01.csv --contract flight-delay.yaml
        barograph load scored.csv --contract churn.yaml --version 1 --label churned --label-delay 30d
    """
    from barograph import PublishError
    from barograph.contract.file import load_contract

    from barograph_server.batch.backfill.account import SentEvents
    from barograph_server.batch.backfill.check import LabelTime, inspect_files
    from barograph_server.batch.backfill.files import EventFile, csv_types
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.retention import stored_retention_days

    model_contract = load_contract(contract)
    types = csv_types(model_contract)
    columns = with_columns(model_contract, id=id_, time=time_, score=score, class_=class_, label=label).columns
    times = LabelTime(label_time or "", _parse_delay(label_time, label_delay))
    sources = inspect_files([EventFile(path, types, columns) for path in files], model_contract, version, times)
    check = f"barograph check {files[0]} --contract {contract}"
    settings = load_settings(config, needs=("kafka", "clickhouse") if wait else ("kafka",))
    terminal = Terminal(stderr=True)
    for source in sources:
        terminal.lines(source.notes)
    with ExitStack() as stack:
        try:
            accountant = _open_account(stack, settings, model_contract) if wait else None
            retention_days = settings.retention_days
            if accountant is not None:
                retention_days = min(retention_days, stored_retention_days(accountant.client))
            shift_ms = _accepted_shift_ms(
                terminal, sources, model_contract, version, retention_days, is_wanted=shift_to_now
            )
        except RefusedLoad as error:
            terminal.line(str(error), "red")
            raise typer.Exit(EXIT_USAGE) from error
        # Labels have no version, so a file of labels needs none.
        publisher = _make_publisher(model_contract, version or "unknown", settings)
        counts = PublishedRows()
        try:
            _publish_files(terminal, publisher, sources, model_contract, version, counts, shift_ms)
            publisher.flush(DELIVERY_S)
            if end:
                publisher.publish_end_marker(timeout_s=DELIVERY_S)
                terminal.line("Wrote end markers to all partitions.")
            publisher.close()
        except KeyboardInterrupt:
            with suppress(PublishError):
                publisher.close(1.0)
            _print_interrupted(terminal, publisher, counts)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except PublishError:
            _print_interrupted(terminal, publisher, counts)
            raise
        sent = SentEvents(
            counts.rows["predictions"], counts.rows["labels"], publisher.offset_ranges, counts.rows["shadows"]
        )
        is_good = _settle_account(terminal, accountant, sent, model_contract, check, timeout_s, max_rejected)
    if counts.n_skipped:
        terminal.line(f"Skipped {plural(counts.n_skipped, 'row')} without id, time or label.", "red")
    if counts.n_skipped or not is_good:
        raise typer.Exit(EXIT_FAILED)


def _parse_delay(label_time: str | None, label_delay: str | None) -> int:
    """Parse --label-delay, in seconds.

    Raises:
        CommandError: it is not a duration, or there is --label-time too.
    """
    from barograph.contract import parse_duration

    if label_delay is None:
        return 0
    if label_time is not None:
        raise CommandError("Labels have one time: give --label-time or --label-delay, not both.")
    try:
        return parse_duration(label_delay)
    except ValueError as error:
        raise CommandError(f"--label-delay: {error}.") from None


@dataclass
class PublishedRows:
    """Rows that were handed to the publisher, and rows that were skipped."""

    rows: Counter[str] = field(default_factory=Counter)
    """By kind: `predictions`, `shadows` or `labels`."""
    n_skipped: int = 0


def _accepted_shift_ms(
    terminal: Terminal,
    sources: Sequence[EventSource],
    contract: Contract,
    version: str | None,
    retention_days: int,
    *,
    is_wanted: bool,
) -> int:
    """Check that processors accept all times, and return the shift of the times in ms.

    Raises:
        RefusedLoad: they would reject some.
    """
    from barograph_server.batch.backfill.times import check_times, read_times, shift_to_now_ms
    from barograph_server.streams.events.event_time import DAY_MS

    now_ms = round(time.time() * 1000)
    ranges = read_times(sources, contract, version, now_ms, retention_days)
    shift_ms = shift_to_now_ms(ranges, now_ms) if is_wanted else 0
    if shift_ms:
        ranges = read_times(sources, contract, version, now_ms, retention_days, shift_ms)
        terminal.line(f"All times are moved by {shift_ms // DAY_MS:,} days.")
    check_times(ranges, now_ms, retention_days, is_shifted=is_wanted)
    return shift_ms


def _open_account(stack: ExitStack, settings: Settings, contract: Contract) -> Accountant:
    """Read the counts before the load.

    Raises:
        RefusedLoad: the model has no contract in force.
    """
    from barograph_server.batch.backfill.account import Accountant
    from barograph_server.warehouse.client import connect

    client = stack.enter_context(connect(settings.warehouse))
    accountant = Accountant(client, contract, settings.topics, settings.partials_partitions)
    if accountant.contract_in_force != contract.id:
        Terminal(stderr=True).line(
            f"The contract of {contract.model} in force differs from this file, and processors use the one in force. "
            "See `barograph plan`.",
            "yellow",
        )
    return accountant


def _settle_account(
    terminal: Terminal,
    accountant: Accountant | None,
    sent: SentEvents,
    contract: Contract,
    check: str,
    timeout_s: float,
    max_rejected: float,
) -> bool:
    """Wait for the processors, print the account, and return whether it is complete and within `max_rejected`."""
    if accountant is None:
        terminal.line(
            "Sent and not waited for: what became of the events is not known. Check with `barograph status` and "
            "`barograph doctor`."
        )
        return True
    try:
        with terminal.status("Waiting for the processors"):
            account = accountant.wait(sent, timeout_s)
    except KeyboardInterrupt:
        terminal.line("Interrupted after everything was sent; the account as of now:")
        _print_account(terminal, accountant, accountant.read(sent), contract, check, max_rejected)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    return _print_account(terminal, accountant, account, contract, check, max_rejected)


def _print_account(
    terminal: Terminal, accountant: Accountant, account: Account, contract: Contract, check: str, max_rejected: float
) -> bool:
    from barograph_server.batch.backfill.account import account_lines

    terminal.lines(account_lines(account))
    problems = list(account.problems(max_rejected))
    for problem in problems:
        terminal.line(f"{ratio(problem.n, problem.of)}: {problem.n:,} {problem.text}. See:", "red")
        terminal.line(f"    {problem.command(contract.model, check)}")
    if problems:
        terminal.line(f"Exit code 1: more than {max_rejected:.6g} of the events (--max-rejected).", "red")
    if account.unknown:
        silent = ", ".join(accountant.silent_kinds(account))
        terminal.line(
            f"The account is not complete: no {silent} reports. Start it with `barograph run` or `barograph dev`."
            if silent
            else "The account is not complete: raise --timeout, or look again with `barograph status`.",
            "red",
        )
    return not problems and not account.unknown


def _print_interrupted(terminal: Terminal, publisher: Publisher, counts: PublishedRows) -> None:
    stats = publisher.stats
    handed = " and ".join(f"{n:,} {kind}" for kind, n in counts.rows.items()) or "no event"
    terminal.line(
        f"Stopped: {handed} were read from the files; Kafka acknowledged {plural(stats.published, 'event')}, "
        f"{stats.failed + stats.waiting:,} were not acknowledged. Loading the files again publishes the acknowledged "
        "ones again."
    )
    for (topic, partition), (start, stop) in sorted(publisher.offset_ranges.items()):
        terminal.line(f"  {topic} partition {partition}: offsets {start:,} to {stop - 1:,}")


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
    terminal: Terminal,
    publisher: Publisher,
    sources: Sequence[EventSource],
    contract: Contract,
    version: str | None,
    counts: PublishedRows,
    shift_ms: int,
) -> None:
    """Publish every file with a progress bar, and count the rows."""
    from barograph_server.batch.backfill.check import n_shadows, read_blocks
    from barograph_server.batch.backfill.times import shift_rows

    columns = (TextColumn("{task.description}"), BarColumn(20), _RowsColumn(), _RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.console, transient=True) as progress:
        for source in sources:
            bar = progress.add_task(f"{source.file.path.name} ({source.kind})", total=source.file.rows)
            started_s = time.monotonic()
            n_rows = 0
            publish = publisher.predictions if source.kind == "predictions" else publisher.labels
            for block in read_blocks(source, contract, version):
                rows = block.rows
                if shift_ms and source.time:
                    rows = shift_rows(rows, shift_ms, keep_original=source.kind == "predictions")
                published = publish(rows)
                shadows = n_shadows(rows)
                counts.rows["shadows"] += shadows
                counts.rows[source.kind] += published - shadows
                counts.n_skipped += block.n_rejected
                n_rows += block.rows.num_rows + block.n_rejected
                progress.update(bar, completed=n_rows)
            progress.update(bar, total=n_rows, completed=n_rows)
            seconds = max(time.monotonic() - started_s, 1e-3)
            rate = f"{n_rows / seconds:,.0f} per second"
            terminal.line(f"{source.file.path}: published {n_rows:,} {source.kind} in {seconds:.1f} s, {rate}")


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
