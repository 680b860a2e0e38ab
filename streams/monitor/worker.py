"""Handles records of `partials` one after another on one thread and writes the results; Faust only delivers them."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from barograph_server.streams.broker.acl import denied
from barograph_server.streams.monitor.partition import Pace, PartitionState
from barograph_server.streams.monitor.state.commit_rows import CommitRows
from barograph_server.streams.monitor.state.offset_ledger import OffsetLedger
from barograph_server.streams.monitor.state.store import SeriesPanes, Store
from barograph_server.streams.records import Partial, Progress, RecordError, Tally, decode
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.backoff import Backoff, RetryInterrupted
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.errors import WarehouseBusy
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.queries import PaneTable

T = TypeVar("T")

FIRST_RETRY_S, MAX_RETRY_S = 0.2, 10.0
NOTHING = -1
"""No record may be acknowledged yet."""


class Superseded(Exception):
    """The partitions were assigned again while a record of the former assignment was handled."""


@dataclass(frozen=True, slots=True)
class IncomingRecord:
    """One record of `partials`, and the number of the assignment of partitions that it was read in."""

    partition: int
    offset: int
    value: bytes | None
    assignment: int
    received_ms: int | None = None
    """When Kafka received it, Unix ms."""


class Retry(Protocol):
    """Calls an operation on the warehouse until it succeeds."""

    def __call__(self, operation: Callable[[], T], action: str) -> T:
        """Call an operation; `action` names it in logs."""


class _RetryingStore:
    """A store that retries while the warehouse is busy.

    Single calls are retried, because a state that was interrupted in the middle of its work cannot start it again.
    """

    def __init__(self, store: Store, retry: Retry) -> None:
        self._store, self._retry = store, retry
        self.rows_per_load = store.rows_per_load

    def load_ledger(self, partials_partition: int, partials_topic_id: str) -> tuple[OffsetLedger, int]:
        return self._retry(
            lambda: self._store.load_ledger(partials_partition, partials_topic_id), "load the offset ledger"
        )

    def load_ranges(self, table: PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
        return self._retry(lambda: self._store.load_ranges(table, model, start_s, end_s), "find panes")

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        return self._retry(lambda: self._store.load_panes(model, start_s, end_s), "load panes")

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        return self._retry(lambda: self._store.load_hours(model, start_s, end_s), "load hours")

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        return self._retry(lambda: self._store.load_volume(model, start_s, end_s), "load volume")

    def sealed_until_s(self, model: str) -> int | None:
        return self._retry(lambda: self._store.sealed_until_s(model), "load progress")

    def first_panes_s(self, model: str) -> dict[tuple[str, str], int | None]:
        return self._retry(lambda: self._store.first_panes_s(model), "load first panes")

    def last_pane_s(self, model: str) -> int | None:
        return self._retry(lambda: self._store.last_pane_s(model), "load the last pane")

    def write(self, commit: CommitRows) -> None:
        self._retry(lambda: self._store.write(commit), "write")


class Worker:
    """Handles the records of the assigned partitions. One thread uses it, except for `supersede` and `stop`."""

    def __init__(
        self,
        settings: ProcessorSettings,
        store: Store,
        registry: Callable[[], Registry],
        refresh: Callable[[], None],
        partials_topic: tuple[str, int],
        report: Report,
        *,
        retry_s: tuple[float, float] = (FIRST_RETRY_S, MAX_RETRY_S),
        clock: Callable[[], float] = time.time,
        monotonic_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the producer of dead letters; no state is loaded yet.

        Args:
            refresh: reads the registry again; called for partials of unknown models.
            partials_topic: Kafka's id of the topic `partials`, and its number of partitions.
            retry_s: first and largest nominal delay before a call to the warehouse is retried.
        """
        self._settings, self._registry, self._refresh = settings, registry, refresh
        self._store = _RetryingStore(store, self._retry)
        self._partials_topic_id, self._n_partitions = partials_topic
        self._report = report
        self._clock, self._monotonic_clock = clock, monotonic_clock
        self._backoff = Backoff(*retry_s, report=report, sleep=self._sleep_interruptibly, clock=monotonic_clock)
        self._states: dict[int, PartitionState] = {}
        self._assignment = -1
        self._newest_assignment = -1
        self._stop = threading.Event()
        self._undelivered: KafkaError | None = None
        self.heartbeat = report.heartbeat
        self.assigned: Collection[int] | None = None
        """The assigned partitions; None during a rebalance."""
        self._dead_letter_producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "enable.idempotence": True,
                "on_delivery": self._on_delivery_failure,
                "delivery.report.only.error": True,
                "log_level": 3,
                **settings.kafka,
            }
        )
        self._log = structlog.get_logger().bind(processor="monitor", instance=settings.instance)

    def supersede(self, assignment: int) -> None:
        """Invalidate the records and states of assignments before `assignment`; callable from any thread."""
        self._newest_assignment = max(self._newest_assignment, assignment)

    def stop(self) -> None:
        """Interrupt retries; callable from any thread."""
        self._stop.set()

    def handle(self, record: IncomingRecord) -> int:
        """Handle one record.

        Returns:
            The offset up to which (exclusive) records of its partition are durable; NOTHING if it did not advance.

        Raises:
            Superseded: the record belongs to an older assignment.
        """
        if record.assignment < max(self._assignment, self._newest_assignment):
            raise Superseded
        if record.assignment > self._assignment:
            self._states, self._assignment = {}, record.assignment
        state = self._states.get(record.partition)
        if state is None:
            state = self._states[record.partition] = self._load(record.partition)
        began_s = self._monotonic_clock()
        try:
            decoded = decode(record.value)
        except RecordError as error:
            self._dead_letter(record, str(error), "damaged")
            return NOTHING
        if isinstance(decoded, Partial):
            self._merge_partial(state, decoded, record)
            self._report.observe(metrics.PARTIAL, self._monotonic_clock() - began_s)
            return NOTHING
        if isinstance(decoded, Tally):
            rejected = state.add_tally(decoded, record.offset)
            if rejected is not None:
                self._dead_letter(record, rejected.reason, rejected.code)
            return NOTHING
        return self._apply_progress(state, decoded, record)

    def _merge_partial(self, state: PartitionState, partial: Partial, record: IncomingRecord) -> None:
        registry = self._registry()
        if partial.model not in registry.contracts or partial.baseline_id not in registry.layouts:
            self._retry(self._refresh, "read contracts and baselines")
        rejected = state.merge_partial(partial, record.offset)
        if rejected is not None:
            self._dead_letter(record, rejected.reason, rejected.code)
            return
        self.heartbeat.record_work()
        if partial.slice_from == 0 and partial.field_from == 0:
            self._report.add(metrics.EVENTS, int(partial.counts[0, 0]), "merged")

    def _apply_progress(self, state: PartitionState, progress: Progress, record: IncomingRecord) -> int:
        commit, durable = state.apply_progress(progress, record.offset, record.received_ms)
        if commit is None:
            return NOTHING
        began_s = self._monotonic_clock()
        self._flush_dead_letters()
        self._store.write(commit)
        self._report.observe(metrics.WRITE, self._monotonic_clock() - began_s)
        for partition_state in self._states.values():
            if partition_state.late_events:
                self._report.add(metrics.EVENTS, partition_state.late_events, "late")
                partition_state.late_events = 0
        self._report.count_committed(0, "merged")
        return durable

    def _load(self, partition: int) -> PartitionState:
        return PartitionState(
            partition,
            (self._partials_topic_id, self._n_partitions),
            self._store,
            self._registry,
            Pace(self._settings.clock == "live", self._settings.write_s, self._settings.revise_s),
            write_early=self._store.write,
            on_work=self.heartbeat.record_work,
            clock=self._clock,
            monotonic_clock=self._monotonic_clock,
        )

    def _on_delivery_failure(self, error: KafkaError, _message: Any) -> None:
        self._undelivered = self._undelivered or error

    def _flush_dead_letters(self) -> None:
        """Wait until all dead letters are in Kafka, because the records themselves are acknowledged next."""
        action = f"write to {self._settings.topics.partials_dead}"
        try:
            self._dead_letter_producer.flush()
        except KafkaException as error:
            # The producer has failed as a whole.
            raise denied(self._settings, "monitor", error, action) from error
        if self._undelivered is not None:
            raise denied(self._settings, "monitor", KafkaException(self._undelivered), action)

    def _dead_letter(self, record: IncomingRecord, reason: str, code: str) -> None:
        self._report.count_dead_letters({code: 1})
        self._log.error("record dead-lettered", partition=record.partition, offset=record.offset, reason=reason)
        topics = self._settings.topics
        try:
            self._dead_letter_producer.produce(
                topics.partials_dead,
                value=record.value,
                headers=[
                    ("reason", reason.encode()[:1000]),
                    ("source-topic", topics.partials.encode()),
                    ("source-partition", str(record.partition).encode()),
                    ("source-offset", str(record.offset).encode()),
                ],
            )
        except KafkaException as error:
            # For lack of a permission, for example, the producer fails as a whole, maybe before its first message.
            raise denied(self._settings, "monitor", error, f"write to {topics.partials_dead}") from error

    def _retry(self, operation: Callable[[], T], action: str) -> T:
        """Call an operation on the warehouse until it is not busy.

        Raises:
            Superseded: the partitions are assigned again by now, or the processor stops.
        """

        def warn(error: Exception, delay_s: float) -> None:
            self._log.warning("warehouse busy", action=action, error=str(error), delay_s=round(delay_s, 1))

        try:
            return self._backoff.retry(
                operation,
                WarehouseBusy,
                blocked_on=f"ClickHouse is busy or unreachable, and the monitor cannot {action}.",
                on_retry=warn,
            )
        except RetryInterrupted:
            self._states.clear()
            raise Superseded from None

    def _sleep_interruptibly(self, delay_s: float) -> bool:
        """Sleep; return whether a new assignment or `stop` interrupts the retries."""
        return self._newest_assignment > self._assignment or self._stop.wait(delay_s)
