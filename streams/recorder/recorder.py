"""The recorder: reads `predictions` and `labels`, writes raw rows to ClickHouse.

Delivery is at least once, and repeats converge: rows are inserted before the offsets are committed, and a batch that is
reread produces rows of the same sorting key (epoch, partition, offset, index), which replace the first ones. Events of
`predictions` that the sketcher dead-letters produce no row here. The recorder itself dead-letters rejected labels: they
go into the Kafka transaction that commits the offsets, with a tally of them for the monitor, so each is written and
counted once.

A busy warehouse never loses a batch: the recorder pauses its partitions, keeps polling, and retries the same rows.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
import structlog
from barograph.events import LABELS_TOPIC

from barograph_server.streams.broker.assigned_consumer import POLL_S, AssignedConsumer, Membership
from barograph_server.streams.broker.client import PartitionId, TopicMetadata
from barograph_server.streams.broker.transactions import Message, Transactions
from barograph_server.streams.dead_letters.message import dead_message
from barograph_server.streams.dead_letters.replay_verifier import ReplayVerifier
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.events import native_reader
from barograph_server.streams.events.batch import MessageBatch, RejectedEvent, sort_messages
from barograph_server.streams.recorder.arrow_rows import ArrowRows
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.recorder.labels import decode_arrow_labels, decode_json_labels
from barograph_server.streams.recorder.rows import by_role
from barograph_server.streams.records import Tally
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.backoff import Backoff, RetryInterrupted
from barograph_server.streams.runtime.lifecycle import freeze_heap
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.tallies import count_dead, encode_tally
from barograph_server.streams.topics import partials_partition
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.operations import metrics
from barograph_server.warehouse.tables import insert_arrow, insert_rows

GROUP: Final = "recorder"
POLL_MESSAGES = 10_000
BATCH_S = 1.0
"""Age at which a batch is written: each table takes about one insert per second."""
BATCH_ROWS = 50_000
"""Rows and dead letters at which a batch is written."""
BATCH_BYTES = 64 << 20
"""Bytes of columns at which a batch is written."""
RETRY_S, MAX_RETRY_S = 0.5, 15.0
"""The first and the largest nominal delay before an insert into a busy warehouse is retried."""
WRITE_TIMEOUT_S = 30
"""How long one insert may take."""
_MIN_ROWS = 2_000
"""Average rows of the record batches of one insert, below which they are joined: ClickHouse makes a block of each."""
_SMALL_BYTES = 8 << 20
"""Bytes from which record batches are not joined: that would take several times their size, for the keys of maps."""


@dataclass(slots=True)
class RowBatch:
    """Everything read since the last commit."""

    membership: Membership
    opened_s: float
    tables: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    written: set[str] = field(default_factory=set)
    """Tables whose rows are inserted already: a retry leaves them out."""
    rejected: list[RejectedEvent] = field(default_factory=list)
    """Rejected labels."""
    replay_of: dict[tuple[int, int], str] = field(default_factory=dict)
    """Partition and offset of a replayed message of `labels` → the name of its dead letter."""
    rows: int = 0
    payload_bytes: int = 0

    def add(self, table: str, rows: list[pa.Table]) -> None:
        self.tables[table] += rows
        self.rows += sum(each.num_rows for each in rows)
        self.payload_bytes += sum(each.nbytes for each in rows)

    def reject(self, rejected: list[RejectedEvent]) -> None:
        self.rejected += rejected
        self.payload_bytes += sum(len(each.value) for each in rejected)


class Recorder:
    def __init__(
        self,
        settings: ProcessorSettings,
        registry: Callable[[], Registry],
        report: Report,
        *,
        connect_to: Callable[[Address], Client] = lambda address: connect(address, timeout_s=WRITE_TIMEOUT_S),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the consumer and the producer; nothing is read before `run` or `record_once`."""
        self._settings, self._registry, self._report = settings, registry, report
        self._connect, self._clock, self._monotonic = connect_to, clock, monotonic
        self._client: Client | None = None
        self._log = structlog.get_logger().bind(processor="recorder", instance=settings.instance)
        self._tables = {settings.topics.predictions: "predictions", settings.topics.labels: "labels"}
        """Topic → table."""
        self._consumer = AssignedConsumer(
            settings, GROUP, self._tables, report, poll_messages=POLL_MESSAGES, native=settings.native
        )
        self._transactions = Transactions(settings, GROUP, report)
        self._replays = ReplayVerifier(settings, GROUP)
        self._topics = TopicMetadata(settings)
        self._topic_ids = {topic: self._topics.describe(topic)[0] for topic in self._tables}
        _, self._partials_partitions = self._topics.describe(settings.topics.partials)
        self._epochs: dict[str, int] = {}
        self._decoders: tuple[Registry, JsonRows, ArrowRows] | None = None

    def run(self, stop: threading.Event) -> None:
        """Record batch after batch until `stop` is set; the last one is written and committed then."""
        freeze_heap()
        self._log.info("reads JSON", by=native_reader.describe(requested=self._settings.native))
        self._transactions.start()
        try:
            self._consumer.run(self.record_once, stop)
        finally:
            self._disconnect()
            self._replays.close()

    def assigned_partitions(self) -> Collection[PartitionId]:
        """Return the partitions that this recorder must move; callable from any thread."""
        return self._consumer.assigned_partitions()

    # ------------------------------------------------------------------------------------------ one batch

    def record_once(self, stop: threading.Event) -> bool:
        """Read, write and commit one batch; return whether anything was committed."""
        batch = RowBatch(self._consumer.membership(), self._monotonic())
        while not (stop.is_set() or self._is_due(batch)):
            portion = self._consumer.read(batch.membership)
            for topic, messages in portion.messages:
                self._decode(batch, self._tables[topic], messages)
            for error, partition in portion.errors:
                self._consumer.handle_error(error, partition)
        if not self._consumer.has_uncommitted or not self._write(batch, stop):
            return False
        self._commit(batch)
        return True

    def _is_due(self, batch: RowBatch) -> bool:
        return (
            batch.rows + len(batch.rejected) >= BATCH_ROWS
            or batch.payload_bytes >= BATCH_BYTES
            or self._monotonic() - batch.opened_s >= BATCH_S
        )

    def _decode(self, batch: RowBatch, table: str, messages: MessageBatch) -> None:
        registry = self._registry()
        if self._decoders is None or self._decoders[0] is not registry:
            self._decoders = registry, JsonRows(registry, native=self._settings.native), ArrowRows(registry)
        _, from_json, from_arrow = self._decoders
        if table == "predictions":
            sampled = from_json.sample(messages.values)
            if len(sampled) < len(messages):
                messages = messages.select(np.array(sampled, dtype=np.int64))
        is_replay_clock = self._settings.clock == "replay"
        # Replayed predictions are recorded like others; the sketcher dead-letters those that are invalid.
        verify = None if table == "predictions" else self._replays.verify
        by_encoding = sort_messages(messages, accept_end_markers=is_replay_clock, verify=verify)
        if table == "predictions":
            for decoder, encoded in ((from_json, by_encoding.json), (from_arrow, by_encoding.arrow)):
                if len(encoded):
                    for rows in decoder.rows(encoded):
                        for role_table, own in by_role(rows):
                            batch.add(role_table, [own])
                    self._log_omitted(encoded, decoder.omitted)
            self._report.count_json_messages(from_json.read_by)
            return
        batch.replay_of |= by_encoding.replay_of
        batch.reject(by_encoding.rejected)
        models = frozenset(registry.contracts)
        for labels in (
            decode_json_labels(by_encoding.json, models, registry.retention_ms),
            decode_arrow_labels(by_encoding.arrow, models, registry.retention_ms),
        ):
            batch.add(table, labels.rows)
            batch.reject(labels.rejected)

    def _log_omitted(self, batch: MessageBatch, omitted: list[int]) -> None:
        """Log messages of `predictions` without raw rows: the sketcher decides which are dead letters."""
        if omitted:
            first = omitted[0]
            self._log.error(
                "raw rows omitted: messages do not fit into memory, or cannot be converted; see docs/events.md#limits",
                messages=len(omitted),
                partition=int(batch.partition[first]),
                offset=int(batch.offset[first]),
            )

    # ------------------------------------------------------------------------------------------ the warehouse

    def _write(self, batch: RowBatch, stop: threading.Event) -> bool:
        """Insert a batch, however long the warehouse is busy; return whether it is written.

        If `stop` is set while the warehouse is busy, nothing is committed, and the next start rereads the batch.
        """
        paused = False

        def pause(error: Exception, _delay_s: float) -> None:
            nonlocal paused
            self._disconnect()
            if not paused:
                self._log.warning("warehouse busy: reading is paused", error=str(error), rows=batch.rows)
                self._consumer.pause(self._consumer.positions)
            paused = True

        backoff = Backoff(
            RETRY_S, MAX_RETRY_S, report=self._report, sleep=lambda delay_s: self._keep_polling(batch, delay_s, stop)
        )
        try:
            backoff.retry(
                lambda: self._insert(batch),
                WarehouseBusy,
                blocked_on="ClickHouse is busy or down, and rows wait to be written.",
                on_retry=pause,
            )
        except RetryInterrupted:
            return False
        except WarehouseError as error:
            raise ProcessorError(str(error)) from error
        if paused:
            self._consumer.pause(())
            self._log.info("warehouse writes again")
        return True

    def _keep_polling(self, batch: RowBatch, delay_s: float, stop: threading.Event) -> bool:
        """Poll for a while, so that this consumer stays in its group; return whether `stop` was set."""
        deadline_s = self._monotonic() + delay_s
        while (left_s := deadline_s - self._monotonic()) > 0:
            if stop.is_set():
                return True
            self._consumer.keep_polling(batch.membership, min(left_s, 5 * POLL_S))
        return False

    def _insert(self, batch: RowBatch) -> None:
        if not batch.rows:
            return
        self._client = client = self._client or self._connect(self._settings.warehouse)
        client.on_insert = self._report.count_inserted
        topics = self._settings.topics
        for table, tables in batch.tables.items():
            if table in batch.written or not tables:
                continue
            rows = pa.concat_tables(tables)
            if len(rows) < _MIN_ROWS * len(tables) and rows.nbytes < _SMALL_BYTES:
                rows = rows.combine_chunks()
            topic = topics.labels if table == "labels" else topics.predictions
            epoch = pa.repeat(pa.scalar(self._epoch(client, topic), pa.uint16()), len(rows))
            insert_arrow(client, table, rows.append_column("epoch", epoch))
            batch.written.add(table)

    def _epoch(self, client: Client, topic: str) -> int:
        """Return the epoch of a topic's incarnation, queried after the batch was read from it."""
        topic_id, partitions = self._topics.describe_unchanged(topic, self._topic_ids[topic])
        if topic not in self._epochs:
            self._epochs[topic] = epoch_of(client, topic, topic_id, partitions, int(self._clock() * 1000))
        return self._epochs[topic]

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    # ------------------------------------------------------------------------------------------ the transaction

    def _commit(self, batch: RowBatch) -> None:
        """Commit the offsets, the dead letters of labels and their tally in one transaction."""
        self._consumer.commit(self._transactions, self._messages(batch), batch.membership)
        self._report.observe(metrics.FLUSH, self._monotonic() - batch.opened_s)
        self._report.count_committed(
            batch.rows, "recorded", Counter(rejected.reason.value for rejected in batch.rejected)
        )

    def _messages(self, batch: RowBatch) -> Iterator[Message]:
        """Yield the dead letters of labels and their tallies."""
        topics = self._settings.topics
        for rejected in batch.rejected:
            replay_of = batch.replay_of.get((rejected.partition, rejected.offset), "")
            yield topics.labels_dead, dead_message(rejected, topics.labels, replay_of)
        for model, counts in count_dead(batch.rejected).items():
            partition = partials_partition(model, self._partials_partitions)
            for data in encode_tally(Tally(model=model, topic=LABELS_TOPIC, dead=counts)):
                yield topics.partials, {"value": data, "partition": partition}


# A topic that is deleted and recreated counts its offsets from 0 again, so without an epoch new rows would replace old
# ones. The recorder writes a row for each incarnation to the table `topics`, named `TOPIC@TOPIC_ID` (no topic name
# contains an @), before its first raw row. The epoch is the number of older rows of the topic. Recorders that meet a
# new incarnation at the same time write the same row and compute the same epoch.
def epoch_of(client: Client, topic: str, topic_id: str, partitions: int, now_ms: int) -> int:
    """Return the epoch of a topic's current incarnation, and record a new incarnation."""
    name = f"{topic}@{topic_id}"
    incarnations = _incarnations(client, topic)
    if name not in incarnations:
        # A slow clock must not put this incarnation before an older one.
        after_ms = max((round(moment.timestamp() * 1000) for moment in incarnations.values()), default=0) + 1
        row = {"name": name, "topic_id": topic_id, "partitions": partitions, "recorded_at": max(now_ms, after_ms)}
        insert_rows(client, "topics", [row])
        incarnations = _incarnations(client, topic)
    return _epoch(incarnations, name)


def known_epoch(client: Client, topic: str, topic_id: str) -> int | None:
    """Return the epoch of a topic's incarnation, or None if the recorder never wrote a row of it."""
    incarnations = _incarnations(client, topic)
    name = f"{topic}@{topic_id}"
    return _epoch(incarnations, name) if name in incarnations else None


def _epoch(incarnations: dict[str, datetime], name: str) -> int:
    return sorted(incarnations, key=lambda each: (incarnations[each], each)).index(name)


def _incarnations(client: Client, topic: str) -> dict[str, datetime]:
    """Return when each incarnation of a topic was recorded, by name."""
    queries.sync_replicas(client, "topics")
    return {row.name: row.recorded_at for row in queries.topics(client) if row.name.startswith(f"{topic}@")}
