"""`backfill` for notebooks and `barograph load`: sends files through the publisher, and accounts for their events."""

import time as clock
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from barograph import Publisher, PublishError
from barograph.contract import Contract, parse_duration

from barograph_server.batch.backfill.account import Account, Accountant, RejectedShare, SentEvents
from barograph_server.batch.backfill.check import EventSource, LabelTime, inspect_files, n_shadows, read_blocks
from barograph_server.batch.backfill.files import EventFile, csv_types
from barograph_server.batch.backfill.times import check_times, read_times, shift_rows, shift_to_now_ms
from barograph_server.batch.check import ContractOrPath, contract_of
from barograph_server.errors import CommandError
from barograph_server.profiling.table_columns import with_columns
from barograph_server.settings import Settings, SettingsOrPath, open_settings
from barograph_server.streams.events.event_time import DAY_MS
from barograph_server.terminal import plural
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.retention import stored_retention_days

DELIVERY_S = 120.0
"""Time limit of the delivery of the last messages, in seconds; librdkafka gives up after the same time."""


class BackfillProgress:
    """Receives the progress of a backfill. This one shows only warnings."""

    def note(self, text: str) -> None:
        """Receive what was decided or done."""

    def warn(self, text: str) -> None:
        """Receive a warning."""
        warnings.warn(text, stacklevel=2)

    def step(self, text: str) -> None:
        """Receive how far the backfill is."""


@dataclass(slots=True)
class BackfillReport:
    """What was sent, and what became of it."""

    model: str
    rows: Counter[str] = field(default_factory=Counter)
    """Rows handed to the publisher, by kind: `predictions`, `shadows` or `labels`."""
    n_skipped: int = 0
    """Rows without id, time or label."""
    account: Account | None = None
    """None if nothing waited for the processors."""
    problems: tuple[RejectedShare, ...] = ()
    """The shares above `max_rejected`."""
    silent: tuple[str, ...] = ()
    """Kinds of processors that have work and do not report, if the account is not complete."""
    is_interrupted: bool = False
    """Whether Ctrl-C ended the wait; the account is as of then."""

    @property
    def is_good(self) -> bool:
        """Whether no row was skipped, and the account is complete and within `max_rejected`."""
        return not (self.n_skipped or self.problems or (self.account is not None and self.account.unknown))


def backfill(
    files: Sequence[str | Path],
    contract: ContractOrPath,
    *,
    version: str | None = None,
    end: bool = False,
    wait: bool = True,
    timeout_s: float = 180.0,
    max_rejected: float = 0.01,
    id: str | None = None,
    time: str | None = None,
    score: str | None = None,
    class_: str | None = None,
    label: str | None = None,
    label_time: str | None = None,
    label_delay: str | None = None,
    shift_to_now: bool = False,
    settings: SettingsOrPath = None,
    progress: BackfillProgress | None = None,
) -> BackfillReport:
    """Send history and labels from files through the publisher, and account for their events.

    An exception that interrupts the sending has notes about what went out.

    Args:
        files: Parquet, CSV or Arrow files, in the order of publication.
        version: the version that made the predictions; required without a column `version`.
        end: whether to write end markers finally.
        wait: whether to wait until the processors have taken the events.
        max_rejected: the largest share of predictions, labels or values that may be rejected.
        id: the column of ids; this and the following by default as in the contract's `columns`.
        label_time: the column of the times at which labels became known.
        label_delay: how long after their prediction labels in a table of predictions became known, such as `7d`.
        shift_to_now: whether to move all times by weeks, so that the newest is in the last week.

    Raises:
        RefusedLoad: processors would reject the events, so nothing was sent.
        ContractError: the contract cannot be read.
        PublishError: Kafka does not take the events.
    """
    progress = progress or BackfillProgress()
    contract = contract_of(contract)
    columns = with_columns(contract, id=id, time=time, score=score, class_=class_, label=label).columns
    types, times = csv_types(contract), LabelTime(label_time or "", _parse_delay(label_time, label_delay))
    sources = inspect_files([EventFile(Path(path), types, columns) for path in files], contract, version, times)
    settings = open_settings(settings, needs=("kafka", "clickhouse") if wait else ("kafka",))
    for note in (note for source in sources for note in source.notes):
        progress.note(note)
    report = BackfillReport(contract.model)
    with ExitStack() as stack:
        accountant, retention_days = None, settings.retention_days
        if wait:
            client = stack.enter_context(connect(settings.warehouse))
            accountant = Accountant(client, contract, settings.topics, settings.partials_partitions)
            if accountant.contract_in_force != contract.id:
                progress.warn(
                    f"The contract of {contract.model} in force differs from this file, and processors use the one in "
                    "force. See `barograph plan`."
                )
            retention_days = min(retention_days, stored_retention_days(client))
        shift_ms = _accepted_shift_ms(progress, sources, contract, version, retention_days, is_wanted=shift_to_now)
        # Labels have no version, so a file of labels needs none.
        try:
            publisher = publisher_of(settings, contract, version or "unknown")
        except ValueError as error:
            raise CommandError(f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.") from error
        try:
            for source in sources:
                _publish_source(progress, publisher, source, contract, version, report, shift_ms)
            publisher.flush(DELIVERY_S)
            if end:
                publisher.publish_end_marker(timeout_s=DELIVERY_S)
                progress.note("Wrote end markers to all partitions.")
            publisher.close()
        except (KeyboardInterrupt, PublishError) as error:
            if isinstance(error, KeyboardInterrupt):
                with suppress(PublishError):
                    publisher.close(1.0)
            for note in _sent_so_far(publisher, report):
                error.add_note(note)
            raise
        if accountant is not None:
            rows = report.rows
            sent = SentEvents(rows["predictions"], rows["labels"], publisher.offset_ranges, rows["shadows"])
            _settle_account(progress, accountant, sent, report, timeout_s, max_rejected)
    return report


def _parse_delay(label_time: str | None, label_delay: str | None) -> int:
    if label_delay is None:
        return 0
    if label_time is not None:
        raise CommandError("Labels have one time: give --label-time or --label-delay, not both.")
    try:
        return parse_duration(label_delay)
    except ValueError as error:
        raise CommandError(f"--label-delay: {error}.") from None


def _accepted_shift_ms(
    progress: BackfillProgress,
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
    now_ms = round(clock.time() * 1000)
    ranges = read_times(sources, contract, version, now_ms, retention_days)
    shift_ms = shift_to_now_ms(ranges, now_ms) if is_wanted else 0
    if shift_ms:
        ranges = read_times(sources, contract, version, now_ms, retention_days, shift_ms)
        progress.note(f"All times are moved by {shift_ms // DAY_MS:,} days.")
    check_times(ranges, now_ms, retention_days, is_shifted=is_wanted)
    return shift_ms


def publisher_of(settings: Settings, contract: Contract | Path, version: str) -> Publisher:
    """Open a publisher of a version that waits if its queue is full; errors are those of `Publisher.from_contract`."""
    return Publisher.from_contract(
        contract,
        version=version,
        bootstrap_servers=settings.bootstrap_servers,
        on_full="wait",
        topic_prefix=settings.topic_prefix,
        kafka=settings.kafka,
    )


def _publish_source(
    progress: BackfillProgress,
    publisher: Publisher,
    source: EventSource,
    contract: Contract,
    version: str | None,
    report: BackfillReport,
    shift_ms: int,
) -> None:
    started_s = clock.monotonic()
    n_rows, total = 0, f" of {source.file.rows:,}" if source.file.rows else ""
    publish = publisher.predictions if source.kind == "predictions" else publisher.labels
    for block in read_blocks(source, contract, version):
        rows = block.rows
        if shift_ms and source.time:
            rows = shift_rows(rows, shift_ms, keep_original=source.kind == "predictions")
        published = publish(rows)
        shadows = n_shadows(rows)
        report.rows["shadows"] += shadows
        report.rows[source.kind] += published - shadows
        report.n_skipped += block.n_rejected
        n_rows += block.rows.num_rows + block.n_rejected
        progress.step(f"{source.file.path}: published {n_rows:,}{total} rows")
    seconds = max(clock.monotonic() - started_s, 1e-3)
    rate = f"{n_rows / seconds:,.0f} per second"
    progress.note(f"{source.file.path}: published {n_rows:,} {source.kind} in {seconds:.1f} s, {rate}")


def _sent_so_far(publisher: Publisher, report: BackfillReport) -> Iterator[str]:
    stats = publisher.stats
    handed = " and ".join(f"{n:,} {kind}" for kind, n in report.rows.items()) or "no event"
    yield (
        f"Stopped: {handed} were read from the files; Kafka acknowledged {plural(stats.published, 'event')}, "
        f"{stats.failed + stats.waiting:,} were not acknowledged. Loading the files again publishes the acknowledged "
        "ones again."
    )
    for (topic, partition), (start, stop) in sorted(publisher.offset_ranges.items()):
        yield f"  {topic} partition {partition}: offsets {start:,} to {stop - 1:,}"


def _settle_account(
    progress: BackfillProgress,
    accountant: Accountant,
    sent: SentEvents,
    report: BackfillReport,
    timeout_s: float,
    max_rejected: float,
) -> None:
    try:
        account = accountant.wait(sent, timeout_s, progress.step)
    except KeyboardInterrupt:
        report.is_interrupted = True
        account = accountant.read(sent)
    report.account = account
    report.problems = tuple(account.problems(max_rejected))
    if account.unknown:
        report.silent = tuple(accountant.silent_kinds(account))
