"""A rebuild: its preconditions, which are checked before it starts and before it replaces rows, and its steps."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from barograph_server.streams.broker.client import TopicMetadata
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.events.event_time import DAY_MS
from barograph_server.streams.monitor.app import GROUP
from barograph_server.streams.monitor.state.offset_ledger import SEQ_EPOCH_BITS, OffsetLedger
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.rebuild.kafka_events import KafkaEvents
from barograph_server.streams.rebuild.raw_events import RawEvents
from barograph_server.streams.rebuild.recount import JUDGED_TABLES, TABLES, RebuildScope, recount
from barograph_server.streams.rebuild.stopped_check import RebuildError, wait_until_stopped
from barograph_server.streams.records import OffsetRange
from barograph_server.streams.registry.poller import RegistryPoller
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import partials_partition
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.history import counted_panes
from barograph_server.warehouse.staging import Difference, Staging

RebuildSource = Literal["kafka", "raw", "panes"]

MAX_PANES = 10_080
"""Most panes of one rebuild: a week of minutes. All of them are in memory at once."""


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """The rebuilt range and the changes."""

    model: str
    from_s: int
    to_s: int
    source: RebuildSource
    read: int
    """Number of offsets of `predictions` (`kafka`) or of raw rows (`raw`) that were reread."""
    recovered: int
    """Offsets that the old panes lacked and that were reread."""
    differences: list[Difference]
    replaced: bool
    """Whether rows were replaced (no dry run)."""


def rebuild(
    settings: ProcessorSettings,
    model: str,
    from_s: int,
    to_s: int,
    *,
    source: RebuildSource = "kafka",
    dry_run: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
) -> RebuildResult:
    """Recount and judge again a past time range of a model, and replace its rows.

    Args:
        source: where events come from: `kafka` or `raw` rows. With `panes` the existing panes are judged again.
        dry_run: whether to compare only, and replace nothing.
    """
    poller = RegistryPoller(settings.warehouse, settings.registry_poll_s, retention_ms=settings.retention_days * DAY_MS)
    try:
        poller.refresh()
    finally:
        poller.close()
    registry = poller.current()
    if model in registry.unreadable:
        raise RebuildError(f"Model {model} cannot be rebuilt with this version: {registry.unreadable[model]}")
    if model not in registry.contracts:
        known = ", ".join(sorted(registry.contracts)) or "none"
        raise RebuildError(f"No contract of model {model} is applied; models with a contract: {known}.")
    with connect(settings.warehouse) as client:
        on_step("reading the current rows")
        wait_until_stopped(settings, client, [GROUP], on_step)
        scope, ledger = _load_scope(settings, client, registry, model, from_s, to_s)
        scope = replace(scope, keeps_panes=source == "panes")
        ranges: list[OffsetRange] = []
        recovered = 0
        kafka, raw = KafkaEvents(settings), RawEvents(settings, client)
        events: Iterable[EventColumns] = ()
        if source == "kafka":
            ranges = kafka.offset_ranges(ledger, scope.from_s)
            scope, recovered = _without_recovered(scope, ranges)
            events = kafka.events(ranges, registry, model, scope.from_s, scope.to_s)
        elif source == "raw":
            raw.check(model, ledger, scope.from_s)
            events = raw.events(registry, model, ledger, scope.from_s, scope.to_s)
        staging = Staging(settings.warehouse, model, JUDGED_TABLES if scope.keeps_panes else TABLES)
        try:
            with staging.open(client) as staged:
                on_step("counting and judging")
                for table, rows in recount(WarehouseStore(client), registry, scope, events):
                    staged.insert(table, rows)
            parameters = {"model": model, "from_s": scope.from_s, "to_s": scope.to_s}
            on_step("comparing")
            if not scope.keeps_panes:
                _refuse_missing(staging.missing_series(client, parameters), registry, model)
            if source == "raw":
                _refuse_lower_counts(staging.shrunken_panes(client, parameters))
            differences = staging.differences(client, parameters)
            if not dry_run:
                on_step("replacing")
                wait_until_stopped(settings, client, [GROUP], on_step)
                staging.attach(client)
        finally:
            staging.drop(client)
    read = raw.rows if source == "raw" else sum(each.end - each.start for each in ranges)
    return RebuildResult(model, scope.from_s, scope.to_s, source, read, recovered, differences, not dry_run)


def _load_scope(
    settings: ProcessorSettings, client: Client, registry: Registry, model: str, from_s: int, to_s: int
) -> tuple[RebuildScope, OffsetLedger]:
    """Load the monitor's position, and limit the range to sealed panes of the model's record."""
    topic_id, n_partitions = TopicMetadata(settings).describe(settings.topics.partials)
    partition = partials_partition(model, n_partitions)
    store = WarehouseStore(client)
    ledger, _ = store.load_ledger(partition, topic_id)
    sealed_until_s = store.sealed_until_s(model)
    if not ledger.rows or sealed_until_s is None:
        raise RebuildError(f"Nothing of model {model} is sealed yet: there is nothing to rebuild.")
    pane_s = registry.contracts[model].pane_s
    from_s, to_s = from_s // pane_s * pane_s, min(-(-to_s // pane_s) * pane_s, sealed_until_s)
    first_pane_s = counted_panes.record_start_s(client, model)
    if first_pane_s is not None:
        from_s = max(from_s, first_pane_s)
    if from_s >= to_s:
        raise RebuildError("No sealed pane of the model's record is in that range. Open panes belong to the monitor.")
    if (to_s - from_s) // pane_s > MAX_PANES:
        raise RebuildError(
            f"The range has {(to_s - from_s) // pane_s:,} panes, and at most {MAX_PANES:,} can be rebuilt at once: "
            "split the range."
        )
    record_seq = ledger.newest_record_seq()
    _refuse_unfinished(client, model, record_seq)
    return (
        RebuildScope(
            model=model,
            from_s=from_s,
            to_s=to_s,
            sealed_until_s=sealed_until_s,
            ended=ledger.has_ended(model),
            partition=partition,
            n_partitions=n_partitions,
            partials_topic_id=topic_id,
            record_seq=record_seq,
            losses=tuple(ledger.losses),
            keeps_panes=False,
            late=counted_panes.late_events(client, model, from_s, to_s),
        ),
        ledger,
    )


def _refuse_unfinished(client: Client, model: str, record_seq: int) -> None:
    """Refuse if rows are ahead of the offset ledger: a commit broke off, and the monitor must finish it first."""
    ahead = counted_panes.newest_record_seqs(client, model)
    # Verdicts of an earlier rebuild are one record ahead of the offset ledger.
    if any(newest > record_seq + (table in ("drift", "rates")) for table, newest in ahead.items()):
        raise RebuildError(
            "The monitor was killed during a write: start it, let it catch up, stop it (SIGTERM), and run this again."
        )


def _without_recovered(scope: RebuildScope, ranges: list[OffsetRange]) -> tuple[RebuildScope, int]:
    """Remove the losses whose offsets are reread; return the number of these offsets."""
    by_partition = {each.partition: each for each in ranges}
    epoch = scope.record_seq >> SEQ_EPOCH_BITS
    losses, recovered = [], 0
    for loss in scope.losses:
        reread = by_partition.get(loss.source_partition)
        if (
            reread is not None
            and loss.record_seq >> SEQ_EPOCH_BITS == epoch
            and reread.start <= loss.start < loss.end <= reread.end
        ):
            recovered += loss.offsets
        else:
            losses.append(loss)
    return replace(scope, losses=tuple(losses)), recovered


def _refuse_missing(uncounted: list[tuple[str, str, int, int]], registry: Registry, model: str) -> None:
    if not uncounted:
        return
    version, baseline_id, rows, n = uncounted[0]
    current = [entry.baseline_id for entry in registry.effective(model, version)[0]]
    reason = (
        f"baseline {baseline_id} is no longer registered for those panes"
        if baseline_id not in current
        else "the source no longer has the events that were counted there"
    )
    raise RebuildError(
        f"{rows} rows of version {version} on baseline {baseline_id}, of up to {n:,} events each, were not rebuilt: "
        f"{reason}. Nothing was changed, since the old rows would stay beside the new ones."
    )


def _refuse_lower_counts(rows: int) -> None:
    if rows:
        raise RebuildError(
            f"In {rows:,} panes of fields raw rows give fewer values, or fewer invalid values, than were counted: raw "
            "rows do not hold every value of the original events. Rebuild from Kafka. If the panes themselves are "
            "correct, --source panes judges them again. Nothing was changed."
        )
