"""The recorder: predictions and labels in, raw rows in ClickHouse out.

At least once, and repeats converge: rows are inserted, then the offsets are committed, and a batch that is read again
gives rows of the same sorting key (epoch, partition, offset, index), which replace the first ones. What the sketcher
puts aside of `predictions` is no row here either; the dead letters of `labels` are the recorder's own, and they go
into the Kafka transaction that commits the offsets, with a tally of them for the monitor, so each is written and
counted once.

A busy warehouse never loses a batch: the partitions are paused, the group is still polled, and the same rows are
tried again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import compress
from operator import methodcaller
from typing import Any, Final

import numpy as np
import pyarrow as pa
import structlog
from barograph.events import LABELS_TOPIC
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.broker.client import NO_WAY_ON, TIMEOUT_S, TopicFacts, committed_or_start, explain, fetch, make_consumer
from streams.broker.transactions import Message, TransactionDropped, Transactions
from streams.dead_letters.message import dead_message
from streams.errors import ProcessorError
from streams.events.batch import MessagePositions, RejectedEvent, portion_size, sort_messages
from streams.recorder.arrow_rows import ArrowRows
from streams.recorder.json_rows import JsonRows
from streams.recorder.labels import decode_arrow_labels, decode_json_labels
from streams.recorder.topic_epoch import epoch_of
from streams.records import Tally
from streams.registry.registry import Registry
from streams.runtime.backoff import Backoff, RetryInterrupted
from streams.runtime.lifecycle import freeze_heap
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from streams.tallies import count_dead, split
from streams.topics import partials_partition
from warehouse import metrics
from warehouse.client import Address, Client, connect
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.tables import insert_arrow

GROUP: Final = "recorder"
POLL_MESSAGES = 10_000
POLL_S = 0.1
BATCH_S = 1.0
"""A batch is written after this long, so that each table takes about one insert per second."""
BATCH_ROWS = 50_000
BATCH_BYTES = 64 << 20
"""… or as soon as it holds this many rows or bytes of columns."""
RETRY_S, MAX_RETRY_S = 0.5, 15.0
"""How long the first and the last waits for a busy warehouse are at most; each is shortened at random."""
WRITE_TIMEOUT_S = 30

Place = tuple[str, int]
"""A topic and a partition."""


_ERROR, _TOPIC, _VALUE = map(methodcaller, ("error", "topic", "value"))
_MIN_ROWS = 2_000
"""Of a record batch that is sent, on average: the engine makes a block of each."""
_SMALL_BYTES = 8 << 20
"""Smaller ones are put together for that. Of large ones it would take several times their size: the keys of maps."""


class _Rebalanced(Exception):
    """The group started a new generation: the batch is void."""


@dataclass(slots=True)
class _Batch:
    """What was read since the last commit."""

    metadata: Any
    generation: int
    opened_s: float
    tables: dict[str, list[pa.Table]] = field(default_factory=lambda: {"predictions": [], "labels": []})
    written: set[str] = field(default_factory=set)
    dead: list[RejectedEvent] = field(default_factory=list)
    replay_of: dict[tuple[int, int], str] = field(default_factory=dict)
    """Partition and offset of a replayed dead letter of `labels` → its name."""
    rows: int = 0
    payload_bytes: int = 0

    def add(self, table: str, rows: list[pa.Table]) -> None:
        """Keep rows to be written."""
        self.tables[table] += rows
        self.rows += sum(partial.num_rows for partial in rows)
        self.payload_bytes += sum(partial.nbytes for partial in rows)

    def add_dead(self, dead: list[RejectedEvent]) -> None:
        """Keep what was put aside."""
        self.dead += dead
        self.payload_bytes += sum(len(each.value) for each in dead)


class Recorder:
    """One recorder process."""

    def __init__(
        self,
        settings: ProcessorSettings,
        registry: Callable[[], Registry],
        report: Report,
        *,
        connect_to: Callable[[Address], Client] = lambda address: connect(address, timeout_s=WRITE_TIMEOUT_S),
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._report = report
        self._connect = connect_to
        self._client: Client | None = None
        self._log = structlog.get_logger().bind(processor="recorder", instance=settings.instance)
        self._topics = {settings.topics.predictions: "predictions", settings.topics.labels: "labels"}
        """Topic → table."""
        self._consumer = make_consumer(settings, GROUP)
        self._transactions = Transactions(settings, GROUP, report)
        self._facts = TopicFacts(settings)
        self._topic_ids = {topic: self._facts.describe(topic)[0] for topic in self._topics}
        _, self._partials_partitions = self._facts.describe(settings.topics.partials)
        self._epochs: dict[str, int] = {}
        self._generation = 0
        self._position: dict[Place, int] = {}
        """Of every assigned partition, the next offset to read."""
        self._committed: dict[Place, int] = {}
        self._early: list[Any] = []
        """Messages that came although their partition was paused, or did not fit into the batch."""
        self._decoders: tuple[Registry, JsonRows, ArrowRows] | None = None

    def run(self, stop: threading.Event) -> None:
        """Record batch after batch until `stop` is set; the last one is written and committed then.

        Raises:
            ProcessorError: something that neither waiting nor putting an event aside mends.
        """
        freeze_heap()
        self._transactions.start()
        self._consumer.subscribe(list(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke)
        try:
            while not stop.is_set():
                try:
                    self.record_once(stop)
                except _Rebalanced:
                    self._assign(list(self._position))
        finally:
            self._consumer.close()
            self._disconnect()

    def assigned_partitions(self) -> Collection[Place]:
        """The partitions that are this recorder's to move; for any thread."""
        return list(self._position.copy())

    # ------------------------------------------------------------------------------------------ the group

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        self._assign([(tp.topic, tp.partition) for tp in partitions])
        self._log.info("assigned", partitions=sorted(f"{topic}:{partition}" for topic, partition in self._position))

    def _on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        self._position, self._committed, self._early = {}, {}, []
        consumer.unassign()

    def _assign(self, places: list[Place]) -> None:
        """Read on from the committed offsets."""
        self._early = []
        starts = committed_or_start(self._consumer, [TopicPartition(*place) for place in places]) if places else []
        self._position = {(tp.topic, tp.partition): tp.offset for tp in starts}
        self._committed = dict(self._position)
        self._consumer.assign(starts)
        self._consumer.resume(starts)

    # ------------------------------------------------------------------------------------------ one batch

    def record_once(self, stop: threading.Event) -> bool:
        """Read, write and commit one batch; return whether anything was committed.

        Raises:
            _Rebalanced: the batch is void.
        """
        # Captured before the batch's first poll: a stale batch must not commit under a fresh generation.
        batch = _Batch(self._consumer.consumer_group_metadata(), self._generation, time.monotonic())
        while not self._due(batch, stop):
            if not self._early:
                self._early = self._fetch(POLL_S)
            self._report.heartbeat.beat()
            self._check(batch)
            n = portion_size(self._early)
            messages, self._early = self._early[:n], self._early[n:]
            self._take(batch, messages)
        if self._position == self._committed or not self._write(batch, stop):
            return False
        self._commit(batch)
        return True

    def _fetch(self, timeout_s: float) -> list[Any]:
        return fetch(self._consumer, POLL_MESSAGES, timeout_s, f"read {' and '.join(self._topics)}")

    def _check(self, batch: _Batch) -> None:
        if self._generation != batch.generation:
            raise _Rebalanced

    def _due(self, batch: _Batch, stop: threading.Event) -> bool:
        if stop.is_set() or batch.rows + len(batch.dead) >= BATCH_ROWS or batch.payload_bytes >= BATCH_BYTES:
            return True
        return time.monotonic() - batch.opened_s >= BATCH_S

    def _take(self, batch: _Batch, messages: list[Any]) -> None:
        failed: list[Any] = []
        if any(error is not None for error in map(_ERROR, messages)):
            failed = [message for message in messages if message.error() is not None]
            messages = [message for message in messages if message.error() is None]
        topics = set(map(_TOPIC, messages))
        for topic, table in self._topics.items():
            if topic in topics:
                of_topic = messages if len(topics) == 1 else [each for each in messages if each.topic() == topic]
                self._decode(batch, table, *self._advance(topic, of_topic))
        for message in failed:
            self._on_error(message.error(), (message.topic(), message.partition()))

    def _advance(self, topic: str, messages: list[Any]) -> tuple[list[Any], MessagePositions]:
        """Set the next offsets behind messages of one topic; leave out those of partitions that are not assigned."""
        places = MessagePositions.of(messages)
        every = np.unique(places.partition).tolist()
        mine = [partition for partition in every if (topic, partition) in self._position]
        for partition in mine:
            self._position[topic, partition] = int(places.offset[places.partition == partition][-1]) + 1
        if len(mine) == len(every):
            return messages, places
        chosen = np.isin(places.partition, mine)
        return list(compress(messages, chosen.tolist())), places.take(chosen)

    def _decode(self, batch: _Batch, table: str, messages: list[Any], places: MessagePositions) -> None:
        registry = self._registry()
        if self._decoders is None or self._decoders[0] is not registry:
            self._decoders = registry, JsonRows(registry), ArrowRows(registry)
        _, from_json, from_arrow = self._decoders
        if table == "predictions":
            chosen = from_json.sample(list(map(_VALUE, messages)))
            if len(chosen) < len(messages):
                messages, places = [messages[i] for i in chosen], places.take(np.array(chosen, dtype=np.int64))
        found = sort_messages(messages, places)
        if table == "predictions":
            batch.add(table, from_json.rows(found.json) if len(found.json) else [])
            batch.add(table, from_arrow.rows(found.arrow) if len(found.arrow) else [])
            return
        batch.replay_of |= found.replay_of
        models = frozenset(registry.contracts)
        for labels in (decode_json_labels(found.json, models), decode_arrow_labels(found.arrow, models)):
            batch.add(table, labels.rows)
            batch.add_dead(labels.rejected)

    def _on_error(self, error: KafkaError, place: Place) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._out_of_range(place)
        elif error.code() in (KafkaError._PARTITION_EOF, KafkaError._MAX_POLL_EXCEEDED):
            return
        elif error.fatal() or error.code() in NO_WAY_ON:
            raise explain(KafkaException(error), f"read {' and '.join(self._topics)}")
        else:
            self._report.count_retry("kafka")
            self._log.warning("kafka", error=error.str())

    def _out_of_range(self, place: Place) -> None:
        """Retention overtook this consumer: go on at the log's start, and say what is missing."""
        if place not in self._position:
            raise _Rebalanced
        was = self._position[place]
        low, _ = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=TIMEOUT_S, cached=False)
        self._log.warning("offsets lost to retention", topic=place[0], partition=place[1], start=was, end=low)
        self._report.add(metrics.OFFSETS_LOST, max(0, low - was), self._topics[place[0]])
        self._position[place] = low
        # A partition in this state cannot be sought: all are assigned anew, each where it is.
        self._early = []
        self._consumer.assign([TopicPartition(*each, offset) for each, offset in self._position.items()])

    # ------------------------------------------------------------------------------------------ the warehouse

    def _write(self, batch: _Batch, stop: threading.Event) -> bool:
        """Insert a batch, however long the warehouse is busy; return whether it is written.

        It is not when `stop` is set while the warehouse is busy: nothing is committed then, and the next start reads
        the same again.
        """
        paused = False

        def pause(error: Exception, _delay_s: float) -> None:
            nonlocal paused
            self._disconnect()
            if not paused:
                self._log.warning("warehouse busy: reading is paused", error=str(error), rows=batch.rows)
                self._consumer.pause(self._assigned())
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
            self._consumer.resume(self._assigned())
            self._log.info("warehouse writes again")
        return True

    def _insert(self, batch: _Batch) -> None:
        if not batch.rows:
            return
        self._client = client = self._client or self._connect(self._settings.warehouse)
        client.on_insert = self._report.count_inserted
        for topic, table in self._topics.items():
            if table in batch.written or not batch.tables[table]:
                continue
            rows = pa.concat_tables(batch.tables[table])
            if len(rows) < _MIN_ROWS * len(batch.tables[table]) and rows.nbytes < _SMALL_BYTES:
                rows = rows.combine_chunks()
            epoch = pa.repeat(pa.scalar(self._epoch(client, topic), pa.uint16()), len(rows))
            insert_arrow(client, table, rows.append_column("epoch", epoch))
            batch.written.add(table)

    def _epoch(self, client: Client, topic: str) -> int:
        """The incarnation of a topic, asked after the batch was read from it."""
        topic_id, partitions = self._facts.describe(topic)
        if topic_id != self._topic_ids[topic]:
            raise ProcessorError(
                f"Topic {topic} was deleted and made anew while this recorder read it. Start it again: it then "
                "reads the new one from its start."
            )
        if topic not in self._epochs:
            self._epochs[topic] = epoch_of(client, topic, topic_id, partitions, int(time.time() * 1000))
        return self._epochs[topic]

    def _keep_polling(self, batch: _Batch, delay_s: float, stop: threading.Event) -> bool:
        """Poll for a while, so that this consumer stays in its group; return whether `stop` was set."""
        deadline = time.monotonic() + delay_s
        while (left_s := deadline - time.monotonic()) > 0:
            if stop.is_set():
                return True
            self._early += self._fetch(min(left_s, 5 * POLL_S))
            self._report.heartbeat.beat()
            self._check(batch)
        return False

    def _assigned(self) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in self._position]

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    # ------------------------------------------------------------------------------------------ the transaction

    def _commit(self, batch: _Batch) -> None:
        """Commit the offsets, the dead letters of labels and their tally, all or nothing."""
        offsets = [TopicPartition(*place, offset) for place, offset in self._position.items()]
        try:
            self._transactions.commit(self._messages(batch), offsets, batch.metadata)
        except TransactionDropped as dropped:
            self._log.warning("batch read again", error=str(dropped))
            raise _Rebalanced from dropped
        self._committed = dict(self._position)
        self._report.observe(metrics.FLUSH, time.monotonic() - batch.opened_s)
        self._report.committed(batch.rows, "recorded", Counter(dead.reason.value for dead in batch.dead))

    def _messages(self, batch: _Batch) -> Iterator[Message]:
        """The dead letters of labels, and how many there are."""
        topics = self._settings.topics
        for each in batch.dead:
            replay_of = batch.replay_of.get((each.partition, each.offset), "")
            yield topics.labels_dead, dead_message(each, topics.labels, replay_of)
        for model, counts in count_dead(batch.dead).items():
            partition = partials_partition(model, self._partials_partitions)
            for data in split(Tally(model=model, topic=LABELS_TOPIC, dead=counts)):
                yield topics.partials, {"value": data, "partition": partition}
