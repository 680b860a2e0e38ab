"""A rebuild from its checks to its rows: what must hold before it begins, and again before anything is replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from streams.broker.client import TopicMetadata
from streams.events.columns import EventColumns
from streams.monitor.app import GROUP
from streams.monitor.state.offset_ledger import SEQ_EPOCH_BITS, OffsetLedger
from streams.monitor.state.store import WarehouseStore
from streams.rebuild.errors import RebuildError
from streams.rebuild.kafka_events import KafkaSource, Span
from streams.rebuild.raw_events import RawSource
from streams.rebuild.recount import JUDGED_TABLES, TABLES, Stretch, recount
from streams.rebuild.stopped_check import wait_stopped
from streams.registry.poller import RegistryPoller
from streams.registry.registry import Registry
from streams.settings import ProcessorSettings
from streams.topics import partials_partition
from warehouse.client import Client, connect
from warehouse.staging import Difference, Staging

Source = Literal["kafka", "raw", "panes"]

MAX_PANES = 10_080
"""Of one run: a week of minutes. All of them are in memory at once."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was rebuilt, and what it changed."""

    model: str
    from_s: int
    to_s: int
    source: Source
    read: int
    """Offsets of `predictions` (`kafka`) or raw rows (`raw`) that were read again."""
    recovered: int
    """Offsets that were lost to the panes and are read again."""
    differences: list[Difference]
    replaced: bool


def rebuild(
    settings: ProcessorSettings,
    model: str,
    from_s: int,
    to_s: int,
    *,
    source: Source = "kafka",
    dry_run: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
) -> Rebuilt:
    """Count and judge a stretch of a model's past anew, and put the rows in place of the old ones.

    Args:
        settings: where Kafka and ClickHouse are.
        model: the model.
        from_s: start of the stretch, event time.
        to_s: its end.
        source: `kafka`, or `raw` rows; with `panes` nothing is counted, and the panes that are there are judged anew.
        dry_run: whether nothing is replaced.
        on_step: told what is done.

    Raises:
        RebuildError: it cannot be done exactly, or not now.
        ProcessorError: Kafka does not answer.
        WarehouseError: ClickHouse refuses.
        WarehouseBusy: ClickHouse cannot answer now.
    """
    catalogue = RegistryPoller(settings.warehouse, settings.registry_poll_s)
    catalogue.refresh()
    registry = catalogue.current()
    if model not in registry.contracts:
        known = ", ".join(sorted(registry.contracts)) or "none"
        raise RebuildError(f"No contract of model {model} is applied; applied are {known}.")
    with connect(settings.warehouse) as client:
        on_step("looking at what is there")
        wait_stopped(settings, client, [GROUP], on_step)
        stretch, ledger = _stretch(settings, client, registry, model, from_s, to_s)
        stretch = replace(stretch, panes_stay=source == "panes")
        spans: list[Span] = []
        recovered = 0
        kafka, raw = KafkaSource(settings), RawSource(settings, client)
        events: Iterable[EventColumns] = ()
        if source == "kafka":
            spans = kafka.spans(ledger, stretch.from_s)
            stretch, recovered = _without_recovered(stretch, spans)
            events = kafka.events(spans, registry, model, stretch.from_s, stretch.to_s)
        elif source == "raw":
            raw.check(model, ledger, stretch.from_s)
            events = raw.events(registry, model, ledger, stretch.from_s, stretch.to_s)
        staging = Staging(settings.warehouse, model, JUDGED_TABLES if stretch.panes_stay else TABLES)
        try:
            with staging.open(client) as staged:
                on_step("counting and judging anew")
                for table, rows in recount(WarehouseStore(client), registry, stretch, events):
                    staging.insert(staged, table, rows)
            parameters = {"model": model, "from_s": stretch.from_s, "to_s": stretch.to_s}
            on_step("comparing")
            if not stretch.panes_stay:
                _refuse_fewer(staging.uncounted(client, parameters), registry, model)
            if source == "raw":
                _refuse_poorer(staging.poorer(client, parameters))
            differences = staging.differences(client, parameters)
            if not dry_run:
                on_step("replacing")
                wait_stopped(settings, client, [GROUP], on_step)
                staging.put_in_place(client)
        finally:
            staging.drop(client)
    read = raw.rows if source == "raw" else sum(span.end - span.start for span in spans)
    return Rebuilt(model, stretch.from_s, stretch.to_s, source, read, recovered, differences, not dry_run)


def _stretch(
    settings: ProcessorSettings, client: Client, registry: Registry, model: str, from_s: int, to_s: int
) -> tuple[Stretch, OffsetLedger]:
    topic_id, n_partitions = TopicMetadata(settings).describe(settings.topics.partials)
    partition = partials_partition(model, n_partitions)
    store = WarehouseStore(client)
    ledger, _ = store.load_ledger(partition, topic_id)
    sealed_until_s = store.sealed_until_s(model)
    if not ledger.rows or sealed_until_s is None:
        raise RebuildError(f"Nothing of model {model} is sealed yet: there is nothing to rebuild.")
    pane_s = registry.contracts[model].pane_s
    from_s, to_s = from_s // pane_s * pane_s, min(-(-to_s // pane_s) * pane_s, sealed_until_s)
    begun = client.rows(
        "SELECT count(), toUnixTimestamp(min(pane_start)) FROM volume WHERE model = {model:String}", {"model": model}
    )[0]
    if begun[0]:
        from_s = max(from_s, int(begun[1]))
    if from_s >= to_s:
        raise RebuildError(
            "No sealed pane of the model's record lies in that range: panes that are open are the monitor's."
        )
    if (to_s - from_s) // pane_s > MAX_PANES:
        raise RebuildError(
            f"The range holds {(to_s - from_s) // pane_s:,} panes, and at most {MAX_PANES:,} are rebuilt at once: do "
            "it piece by piece."
        )
    record_seq = ledger.newest_record_seq()
    _refuse_unfinished(client, model, record_seq)
    late = client.rows(
        "SELECT version, baseline_id, slice, toUnixTimestamp(pane_start), late FROM volume FINAL WHERE "
        "model = {model:String} AND pane_start >= {from_s:UInt32} AND pane_start < {to_s:UInt32} AND late > 0",
        {"model": model, "from_s": from_s, "to_s": to_s},
    )
    return (
        Stretch(
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
            panes_stay=False,
            late={(str(v), str(b), str(s), int(at)): int(n) for v, b, s, at, n in late},
        ),
        ledger,
    )


def _refuse_unfinished(client: Client, model: str, record_seq: int) -> None:
    """Rows ahead of the offset ledger are those of a commit that broke off: the monitor must finish it first."""
    ahead = {
        table: int(
            client.rows(f"SELECT max(record_seq) FROM {table} WHERE model = {{model:String}}", {"model": model})[0][0]
        )
        for table in ("panes", "volume", "drift", "rates")
    }
    # Verdicts of an earlier rebuild lie one beyond the offset ledger.
    if any(found > record_seq + (table in ("drift", "rates")) for table, found in ahead.items()):
        raise RebuildError(
            "The monitor was killed in the middle of a write: start it, let it catch up, stop it (SIGTERM), and run "
            "this again."
        )


def _without_recovered(stretch: Stretch, spans: list[Span]) -> tuple[Stretch, int]:
    """Take out the losses whose offsets are read again; return how many offsets that are."""
    by_partition = {span.partition: span for span in spans}
    epoch = stretch.record_seq >> SEQ_EPOCH_BITS
    kept, recovered = [], 0
    for loss in stretch.losses:
        span = by_partition.get(loss.source_partition)
        if (
            span is not None
            and loss.record_seq >> SEQ_EPOCH_BITS == epoch
            and span.start <= loss.start < loss.end <= span.end
        ):
            recovered += loss.offsets
        else:
            kept.append(loss)
    return replace(stretch, losses=tuple(kept)), recovered


def _refuse_fewer(uncounted: list[tuple[str, str, int, int]], registry: Registry, model: str) -> None:
    if not uncounted:
        return
    version, baseline_id, rows, n = uncounted[0]
    held = [entry.baseline_id for entry in registry.effective(model, version)[0]]
    why = (
        f"baseline {baseline_id} is not what the catalogue says of those panes now"
        if baseline_id not in held
        else "the source does not hold the events that were counted there"
    )
    raise RebuildError(
        f"{rows} rows of version {version} on baseline {baseline_id}, of up to {n:,} events each, have no counterpart "
        f"in what was read: {why}. Nothing was changed, since the old rows would stay beside the new ones."
    )


def _refuse_poorer(rows: int) -> None:
    if rows:
        raise RebuildError(
            f"In {rows:,} panes of fields raw rows give fewer values, or fewer invalid ones, than were counted: they "
            "do not hold every event as it came. Rebuild from Kafka; where the panes themselves are sound, "
            "--source panes judges them anew. Nothing was changed."
        )
