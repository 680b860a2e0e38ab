"""Records of `partials` → the warehouse, one after another on one thread; Faust only brings the records."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from streams.broker.acl import denied
from streams.monitor.partition import PartitionState
from streams.monitor.state.offset_ledger import OffsetLedger
from streams.monitor.state.store import SeriesPanes, Store, Writes
from streams.records import Partial, Progress, RecordError, Tally, decode
from streams.registry.registry import Registry
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from warehouse import metrics
from warehouse.errors import WarehouseBusy
from warehouse.queries import PaneTable

T = TypeVar("T")

FIRST_RETRY_S, LAST_RETRY_S = 0.2, 10.0
NOTHING = -1
"""No record may be acknowledged yet."""


class Superseded(Exception):
    """The partitions were given to another generation while this one's records were at work."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One record as Kafka holds it, and the generation of the group that it was read in."""

    partition: int
    offset: int
    value: bytes | None
    generation: int
    received_ms: int | None = None
    """When Kafka took it, Unix ms."""


class Patience(Protocol):
    """Does what needs the warehouse, and waits while that is busy."""

    def __call__(self, work: Callable[[], T], action: str) -> T:
        """Do it; the action's name is for the log."""


class _PatientStore:
    """A store that waits while the warehouse is busy.

    The waiting is here, around single calls, because a state that was left in the middle of its work could not begin
    it again.
    """

    def __init__(self, store: Store, patiently: Patience) -> None:
        self._store, self._patiently = store, patiently
        self.rows_at_once = store.rows_at_once

    def load_ledger(self, partials_partition: int, partials_topic_id: str) -> tuple[OffsetLedger, int]:
        return self._patiently(
            lambda: self._store.load_ledger(partials_partition, partials_topic_id), "load the offset ledger"
        )

    def ranges(self, table: PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
        return self._patiently(lambda: self._store.ranges(table, model, start_s, end_s), "find panes")

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        return self._patiently(lambda: self._store.load_panes(model, start_s, end_s), "load panes")

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        return self._patiently(lambda: self._store.load_hours(model, start_s, end_s), "load hours")

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        return self._patiently(lambda: self._store.load_volume(model, start_s, end_s), "load volume")

    def sealed_until_s(self, model: str) -> int | None:
        return self._patiently(lambda: self._store.sealed_until_s(model), "load progress")

    def first_panes_s(self, model: str) -> dict[tuple[str, str], int | None]:
        return self._patiently(lambda: self._store.first_panes_s(model), "load first panes")

    def write(self, writes: Writes) -> None:
        self._patiently(lambda: self._store.write(writes), "write")


class Worker:
    """Holds the state of the assigned partitions; used by one thread, but for `supersede`."""

    def __init__(
        self,
        settings: ProcessorSettings,
        store: Store,
        registry: Callable[[], Registry],
        refresh: Callable[[], None],
        partials_topic: tuple[str, int],
        report: Report,
    ) -> None:
        self._settings, self._registry, self._refresh = settings, registry, refresh
        self._store = _PatientStore(store, self._patiently)
        self._partials_topic_id, self._n_partitions = partials_topic
        self._report = report
        self._states: dict[int, PartitionState] = {}
        self._generation = -1
        self._current = -1
        self._stop = threading.Event()
        self._undelivered: KafkaError | None = None
        self.heartbeat = report.heartbeat
        self.assigned: Collection[int] | None = None
        """The partitions that are this worker's; None while the group is being shared out."""
        self._dead = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "enable.idempotence": True,
                "on_delivery": self._on_failure,
                "delivery.report.only.error": True,
                "log_level": 3,
                **settings.kafka,
            }
        )
        self._log = structlog.get_logger().bind(processor="monitor", instance=settings.instance)

    def supersede(self, generation: int) -> None:
        """Tell, from any thread, that a new generation began: records and state of older ones are void."""
        self._current = max(self._current, generation)

    def stop(self) -> None:
        """End waiting for a busy warehouse, from any thread."""
        self._stop.set()

    def handle(self, record: Incoming) -> int:
        """Work on one record.

        Returns:
            The offset up to which (exclusive) records of its partition are durable; NOTHING where that did not move.

        Raises:
            Superseded: the record belongs to an older generation.
            ProcessorError: what was put aside is not taken by Kafka.
            WarehouseError: the warehouse refuses for good.
        """
        if record.generation < max(self._generation, self._current):
            raise Superseded
        if record.generation > self._generation:
            self._states, self._generation = {}, record.generation
        state = self._states.get(record.partition)
        if state is None:
            state = self._states[record.partition] = self._load(record.partition)
        began = time.monotonic()
        try:
            found = decode(record.value)
        except RecordError as error:
            self._bury(record, str(error), "damaged")
            return NOTHING
        if isinstance(found, Partial):
            self._part(state, found, record)
            self._report.observe(metrics.PART, time.monotonic() - began)
            return NOTHING
        if isinstance(found, Tally):
            dead = state.tally(found, record.offset)
            if dead is not None:
                self._bury(record, dead.reason, dead.code)
            return NOTHING
        return self._progress(state, found, record)

    def _part(self, state: PartitionState, partial: Partial, record: Incoming) -> None:
        registry = self._registry()
        if partial.model not in registry.contracts or partial.baseline_id not in registry.layouts:
            self._patiently(self._refresh, "read contracts and baselines")
        dead = state.partial(partial, record.offset)
        if dead is not None:
            self._bury(record, dead.reason, dead.code)
        elif partial.slice_from == 0 and partial.field_from == 0:
            self._report.add(metrics.EVENTS, int(partial.counts[0, 0]), "merged")

    def _progress(self, state: PartitionState, progress: Progress, record: Incoming) -> int:
        writes, durable = state.progress(progress, record.offset, record.received_ms)
        if writes is None:
            return NOTHING
        began = time.monotonic()
        self._put_aside()
        self._store.write(writes)
        self._report.observe(metrics.WRITE, time.monotonic() - began)
        for each in self._states.values():
            if each.late_events:
                self._report.add(metrics.EVENTS, each.late_events, "late")
                each.late_events = 0
        self._report.count_committed(0, "merged")
        return durable

    def _load(self, partition: int) -> PartitionState:
        return PartitionState(
            partition,
            self._n_partitions,
            self._partials_topic_id,
            self._store,
            self._registry,
            live=self._settings.clock == "live",
            write_s=self._settings.write_s,
            revise_s=self._settings.revise_s,
            write_ahead=self._store.write,
            pace=time.monotonic,
        )

    def _on_failure(self, error: KafkaError, _message: Any) -> None:
        self._undelivered = self._undelivered or error

    def _put_aside(self) -> None:
        """Wait until what was put aside is in Kafka: what follows acknowledges the records themselves.

        Raises:
            ProcessorError: Kafka does not take it; the records are read again by whoever comes next.
        """
        self._dead.flush()
        if self._undelivered is not None:
            error = KafkaException(self._undelivered)
            raise denied(self._settings, "monitor", error, f"write to {self._settings.topics.partials_dead}")

    def _bury(self, record: Incoming, reason: str, code: str) -> None:
        self._report.count_dead_letters({code: 1})
        self._log.error("record put aside", partition=record.partition, offset=record.offset, reason=reason)
        topics = self._settings.topics
        self._dead.produce(
            topics.partials_dead,
            value=record.value,
            headers=[
                ("reason", reason.encode()[:1000]),
                ("source-topic", topics.partials.encode()),
                ("source-partition", str(record.partition).encode()),
                ("source-offset", str(record.offset).encode()),
            ],
        )

    def _patiently(self, work: Callable[[], T], action: str) -> T:
        """Do what needs the warehouse, waiting while it is busy; nothing is dropped meanwhile."""
        wait_s = FIRST_RETRY_S
        while True:
            try:
                found = work()
                self.heartbeat.unblocked()
                return found
            except WarehouseBusy as error:
                self.heartbeat.blocked(f"ClickHouse is busy or away, and the monitor cannot {action}.")
                self._report.count_retry("warehouse")
                self._log.warning("warehouse busy", action=action, error=str(error), wait_s=round(wait_s, 1))
            if self._current > self._generation or self._stop.wait(wait_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                self._states.clear()
                self.heartbeat.unblocked()
                raise Superseded
            wait_s = min(wait_s * 2, LAST_RETRY_S)
