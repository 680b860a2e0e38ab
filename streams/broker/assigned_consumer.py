"""The consume loop of the sketcher and the recorder: assigned partitions, their positions, and buffered messages."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from numpy.typing import NDArray

from barograph_server.streams.broker.client import (
    FATAL_ERRORS,
    TIMEOUT_S,
    PartitionId,
    committed_or_start,
    explain,
    fetch,
    make_consumer,
)
from barograph_server.streams.broker.native_fetcher import NativeFetcher, PartitionError, plugin_path
from barograph_server.streams.broker.transactions import Message, TransactionDropped, Transactions
from barograph_server.streams.events.batch import MessageBatch, portion_size
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.operations import metrics

POLL_S = 0.1
"""How long one fetch waits for its first message."""


class Rebalanced(Exception):
    """A new generation began, or a transaction was dropped: everything read since the last commit is void."""


@dataclass(frozen=True, slots=True)
class Membership:
    """The group membership under which messages are read and committed."""

    metadata: Any
    """Of the group, captured before the first message is fetched. A stale flush that committed with fresh metadata
    would pass the broker's check."""
    generation: int
    """Number of assignments and revocations so far."""


@dataclass(slots=True)
class Portion:
    """Messages that are decoded together, and the errors that the consumer returned with them."""

    messages: list[tuple[str, MessageBatch]] = field(default_factory=list)
    """Topic, and its messages at or after the position."""
    errors: list[tuple[KafkaError, PartitionId]] = field(default_factory=list)


class AssignedConsumer:
    """A group member that reads its assigned partitions from their committed offsets.

    A rebalance starts a new generation for all members (eager assignor): positions and buffered messages are dropped,
    and reading restarts at the committed offsets. Every commit sends the offsets of all assigned partitions, moved or
    not, since that is what fences a stale member.
    """

    def __init__(
        self,
        settings: ProcessorSettings,
        group: str,
        topics: Mapping[str, str],
        report: Report,
        *,
        poll_messages: int,
        reports_ends: bool = False,
        native: bool = False,
        consumer: Any = None,
    ) -> None:
        """Create the consumer; it joins its group in `run`.

        Args:
            group: the group, without the prefix.
            topics: topic → its label in metrics.
            poll_messages: messages fetched at once; may be changed between reads.
            reports_ends: whether a position moves to a partition's end once it is reached, past transaction markers
                and aborted messages, which the consumer never returns.
            native: whether to fetch by `barograph_native` where that is possible.
        """
        self._group, self._topics, self._report = group, topics, report
        self._log = structlog.get_logger().bind(processor=group, instance=settings.instance)
        plugin = plugin_path() if native and consumer is None else None
        self.kafka_consumer = consumer or make_consumer(settings, group, reports_ends=reports_ends, plugin=plugin)
        self._fetcher = None if plugin is None else NativeFetcher()
        self.is_native = plugin is not None
        self._log.info("fetches", by="confluent-kafka" if plugin is None else "barograph-native")
        self.poll_messages = poll_messages
        self.positions: dict[PartitionId, int] = {}
        """Of every assigned partition, the next offset to read."""
        self.paused: set[PartitionId] = set()
        self._generation = 0
        self._committed: dict[PartitionId, int] = {}
        self._buffer: list[tuple[str, MessageBatch]] = []
        """Topics and their messages that were fetched and did not fit into the last portion."""
        self._errors: list[PartitionError] = []
        """Errors that were fetched with these messages: they follow the last one."""
        self._last_fetch_full = False
        self._callback_error: Exception | None = None

    @property
    def _action(self) -> str:
        return f"read {' and '.join(self._topics)}"

    # ------------------------------------------------------------------------------------------ the group

    def run(self, step: Callable[[threading.Event], object], stop: threading.Event) -> None:
        """Join the group and call `step` until `stop` is set; leave the group at the end.

        Args:
            step: reads and commits once. After `Rebalanced` it is called again at the committed offsets.
        """
        self.subscribe()
        try:
            while not stop.is_set():
                try:
                    step(stop)
                except Rebalanced:
                    self.restart()
        finally:
            self.close()

    def subscribe(self) -> None:
        """Join the group; partitions are assigned during later reads."""
        self.kafka_consumer.subscribe(
            list(self._topics),
            on_assign=partial(self._handle_rebalance, self._on_assign),
            on_revoke=partial(self._handle_rebalance, self._on_revoke),
        )

    def close(self) -> None:
        """Leave the group. An error of its last callbacks, which no fetch can raise any more, is logged."""
        if self._fetcher is not None:
            self._fetcher.close()
        self.kafka_consumer.close()
        if self._callback_error is not None:
            self._log.warning("a callback of the group failed", error=str(self._callback_error))

    def assigned_partitions(self) -> list[PartitionId]:
        """Return the assigned partitions, sorted; callable from any thread."""
        return sorted(self.positions.copy())

    def membership(self) -> Membership:
        """Return the current membership. Capture it before the first read of a flush."""
        return Membership(self.kafka_consumer.consumer_group_metadata(), self._generation)

    def restart(self) -> None:
        """Drop everything read since the last commit and go back to the committed offsets."""
        if self.positions:
            self._assign(list(self.positions))

    def _handle_rebalance(
        self, handle: Callable[[Any, list[TopicPartition]], None], consumer: Any, partitions: list[TopicPartition]
    ) -> None:
        """Run a callback of the group and keep its error for the fetch that called it.

        If a callback raises, librdkafka loses references to its partitions, and `close` waits for them forever.
        """
        try:
            handle(consumer, partitions)
        except Exception as error:
            self._callback_error = error

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        self._assign(sorted((tp.topic, tp.partition) for tp in partitions))
        self._log.info("assigned", partitions=self._partition_names())

    def _on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        self.positions, self._committed = {}, {}
        self._drop_fetched()
        consumer.unassign()

    def _partition_names(self) -> list[int] | list[str]:
        if len(self._topics) == 1:
            return [partition for _, partition in self.assigned_partitions()]
        return [f"{topic}:{partition}" for topic, partition in self.assigned_partitions()]

    def _assign(self, partitions: list[PartitionId]) -> None:
        """Read on from the committed offsets."""
        topic_partitions = [TopicPartition(*partition) for partition in partitions]
        starts = committed_or_start(self.kafka_consumer, topic_partitions) if topic_partitions else []
        self.positions = {(tp.topic, tp.partition): tp.offset for tp in starts}
        self._committed = dict(self.positions)
        self._read_from_positions()

    def _read_from_positions(self) -> None:
        """Fetch from the positions. librdkafka keeps a partition paused over `assign`, so all are resumed."""
        starts = self._offsets()
        if self._fetcher is not None:
            # Before the assignment: what arrived until then would be fetched by confluent-kafka.
            self._fetcher.route(list(self.positions))
        self.kafka_consumer.assign(starts)
        self.kafka_consumer.resume(starts)
        self.paused = set()
        self._drop_fetched()

    def _drop_fetched(self) -> None:
        self._buffer, self._errors = [], []

    def _offsets(self) -> list[TopicPartition]:
        return [TopicPartition(*partition, offset) for partition, offset in self.positions.items()]

    def pause(self, partitions: Iterable[PartitionId]) -> None:
        """Stop fetching some of the assigned partitions, and fetch all others."""
        paused = set(partitions)
        for changed, call in (
            (paused - self.paused, self.kafka_consumer.pause),
            (self.paused - paused, self.kafka_consumer.resume),
        ):
            if changed:
                call([TopicPartition(*partition) for partition in sorted(changed)])
        self.paused = paused

    # ------------------------------------------------------------------------------------------ reading

    @property
    def buffered(self) -> int:
        """How many fetched messages the next portions hold."""
        return sum(len(batch) for _, batch in self._buffer)

    @property
    def has_more(self) -> bool:
        """Whether messages are buffered, or the last fetch was full, so that more are likely to wait."""
        return bool(self._buffer) or self._last_fetch_full

    def read(self, membership: Membership) -> Portion:
        """Return the next portion and move the positions behind it.

        The caller decodes the messages first and then passes each error to `handle_error`, since a position that is out
        of range restarts the fetching of all partitions.
        """
        if not self._buffer:
            self._fetch(POLL_S)
        self._report.heartbeat.beat()
        self._require(membership)
        portion = Portion()
        while self._buffer:
            topic, batch = self._buffer.pop(0)
            n = portion_size(batch)
            if n < len(batch):
                self._buffer.insert(0, (topic, batch.select(slice(n, None))))
                batch = batch.select(slice(n))
            portion.messages.append((topic, self._take_unread(topic, batch)))
            if batch.headers:
                # Its Arrow messages, if any, are as many as are decoded at once.
                break
        if not self._buffer:
            self._take_errors(portion)
        return portion

    def keep_polling(self, membership: Membership, timeout_s: float) -> None:
        """Poll while the partitions are paused, so that this member stays in its group; keep what still arrives."""
        self._fetch(timeout_s)
        self._report.heartbeat.beat()
        self._require(membership)

    def _fetch(self, timeout_s: float) -> None:
        """Fetch messages and errors into the buffer; the group's callbacks run meanwhile."""
        wait_s = timeout_s if self._fetcher is None else 0.0
        fetched = fetch(self.kafka_consumer, self.poll_messages, wait_s, self._action)
        if self._callback_error is not None:
            error, self._callback_error = self._callback_error, None
            raise error
        if self._fetcher is not None and not fetched:
            # Only now: a message that arrived before its partition was routed comes first.
            batches, errors, self._last_fetch_full = self._fetcher.fetch(self.poll_messages, timeout_s)
            self._buffer += batches
            self._errors += errors
            return
        messages = []
        for message in fetched:
            if (error := message.error()) is None:
                messages.append(message)
            else:
                self._errors.append(PartitionError(error, message.topic(), message.partition(), message.offset()))
        for topic in self._topics:
            of_topic = messages if len(self._topics) == 1 else [each for each in messages if each.topic() == topic]
            if of_topic:
                self._buffer.append((topic, MessageBatch.of(of_topic)))
        self._last_fetch_full = self.buffered >= self.poll_messages

    def _require(self, membership: Membership) -> None:
        if self._generation != membership.generation:
            raise Rebalanced

    def _take_errors(self, portion: Portion) -> None:
        for error, topic, partition, offset in self._errors:
            if error.code() != KafkaError._PARTITION_EOF:
                portion.errors.append((error, (topic, partition)))
            # A position that stayed before trailing markers would never reach the end, and the partition would hold all
            # models back.
            elif self.positions.get((topic, partition), offset) < offset:
                self.positions[topic, partition] = offset
        self._errors = []

    def _take_unread(self, topic: str, batch: MessageBatch) -> MessageBatch:
        """Move the positions of a topic behind messages; leave out those that were read before or are not assigned.

        librdkafka also returns messages that it had fetched before a seek.
        """
        unread = np.zeros(len(batch), dtype=bool)
        for partition in np.flatnonzero(np.bincount(batch.partition)).tolist():
            position = self.positions.get((topic, partition))
            if position is None:
                continue
            rows = batch.partition == partition
            offsets = batch.offset[rows]
            reached: NDArray[np.int64] = np.maximum.accumulate(np.append(position - 1, offsets))
            unread[rows] = offsets > reached[:-1]
            self.positions[topic, partition] = int(reached[-1]) + 1
        return batch if unread.all() else batch.select(np.flatnonzero(unread))

    # ------------------------------------------------------------------------------------------ errors

    def handle_error(self, error: KafkaError, partition: PartitionId) -> None:
        """Skip to the log's start after an offset out of range; count errors that pass by themselves."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self.skip_lost(partition)
        elif error.code() in (KafkaError._PARTITION_EOF, KafkaError._MAX_POLL_EXCEEDED):
            return
        elif error.fatal() or error.code() in FATAL_ERRORS:
            raise explain(KafkaException(error), self._action)
        else:
            self.count_retry(error.str())

    def count_retry(self, error: str) -> None:
        """Count and log an error of Kafka that passes by itself."""
        self._report.count_retry("kafka")
        self._log.warning("kafka", error=error)

    def skip_lost(self, partition: PartitionId) -> None:
        """Continue at the log's start where retention deleted the next offset, and report the lost range."""
        if partition not in self.positions:
            raise Rebalanced
        start = self.positions[partition]
        low, _ = self.kafka_consumer.get_watermark_offsets(TopicPartition(*partition), timeout=TIMEOUT_S, cached=False)
        self._log.warning("offsets lost to retention", topic=partition[0], partition=partition[1], start=start, end=low)
        self._report.add(metrics.OFFSETS_LOST, max(0, low - start), self._topics[partition[0]])
        self.positions[partition] = low
        # Not by `seek`: after this error librdkafka 2.16 refuses it as an erroneous state.
        self._read_from_positions()

    def end_offset(self, partition: PartitionId) -> int | None:
        """Return a partition's end offset, queried from the broker; None where it does not answer."""
        try:
            _, end = self.kafka_consumer.get_watermark_offsets(
                TopicPartition(*partition), timeout=TIMEOUT_S, cached=False
            )
        except KafkaException as error:
            self.count_retry(str(error))
            return None
        return int(end)

    # ------------------------------------------------------------------------------------------ committing

    @property
    def has_uncommitted(self) -> bool:
        """Whether a position moved since the last commit."""
        return self.positions != self._committed

    def commit(self, transactions: Transactions, messages: Iterable[Message], membership: Membership) -> None:
        """Write messages and the offsets of all assigned partitions in one transaction."""
        try:
            transactions.commit(messages, self._offsets(), membership.metadata)
        except TransactionDropped as dropped:
            self._log.warning("transaction dropped", error=str(dropped))
            raise Rebalanced from dropped
        self._committed = dict(self.positions)
