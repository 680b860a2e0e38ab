"""The sketcher: predictions in, parts and progress out, in one Kafka transaction with the input's offsets.

It keeps nothing between flushes. A flush captures the group's metadata before its first poll, reads, summarises, and
then opens a transaction: parts of every pane, dead letters, tallies, one progress record for each partition of
`partials`, the offsets of all its partitions (an idle flush too: that is what fences a stale one), commit. Whatever goes
wrong before the commit leaves nothing behind, and reading restarts at the committed offsets.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Final

import numpy as np
import structlog
from barograph.events import PREDICTIONS_TOPIC
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from numpy.typing import NDArray

from streams.broker.client import NO_WAY_ON, TIMEOUT_S, TopicFacts, committed_or_start, explain, fetch, make_consumer
from streams.broker.transactions import Message, TransactionDropped, Transactions
from streams.dead_letters.message import dead_message
from streams.errors import ProcessorError
from streams.events.arrow_decoder import ArrowDecoder
from streams.events.batch import (
    MAX_ARROW_MESSAGES,
    Decoded,
    MessagePositions,
    RejectedEvent,
    SortedMessages,
    portion_size,
    sort_messages,
)
from streams.events.columns import EventColumns
from streams.events.json_decoder import JsonDecoder
from streams.records import PartitionProgress, Progress, Range, encode
from streams.registry.registry import Registry
from streams.runtime.lifecycle import freeze_heap
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from streams.sketcher.partial_messages import encode_partials
from streams.sketcher.summarise import FlushSummaries
from streams.tallies import split
from streams.topics import partials_partition
from warehouse import metrics

GROUP: Final = "sketcher"
POLL_MESSAGES = 1_000
"""Messages fetched at once: so many are still in the processor's cache when they are decoded."""
POLL_S = 0.1
TURN_MESSAGES = 100_000
"""Messages whose events are summarised together at most, since arrays are the cheaper the longer they are;"""
TURN_BYTES = 16 << 20
"""… and no more of them than have so many bytes of numbers,"""
TURN_S = 0.25
"""… nor than are read in so long: how the flush does is looked at between turns."""
REPLAY_TURN_MESSAGES = 20_000
"""Of history, where each event may be of another pane: fewer of these, or a poll of Arrow messages."""
PROBE_S = 1.0
"""How often an open flush asks the broker where its partitions end."""
BOUNDARY_S = 1.0
"""How long after a pane's end an open flush goes on to read what came until then."""
DEAD_BYTES = 64 << 20
"""How many bytes of events that were put aside a flush holds before it ends."""
PANE_BYTES = 48 << 20
"""… and about how many bytes of panes; those of one turn come on top."""
MIN_FLUSH_S = 0.2
"""Boundaries of many models' panes do not make flushes shorter than this."""


MAX_AHEAD_MS = 24 * 3600 * 1000
"""On the replay clock a partition that is further ahead of the slowest than this waits for it: panes stay open until
every partition has passed them."""


class _Rebalanced(Exception):
    """The group started a new generation: the open flush is void."""


@dataclass(slots=True)
class _Flush:
    """What one flush has read."""

    start: dict[int, int]
    metadata: Any
    summaries: FlushSummaries
    opened_s: float
    boundary_ms: float
    fetched: set[int] = field(default_factory=set)
    newest_ms: dict[tuple[int, str], int] = field(default_factory=dict)
    oldest_ms: dict[int, int] = field(default_factory=dict)
    end_marks: set[int] = field(default_factory=set)
    dead: list[RejectedEvent] = field(default_factory=list)
    dead_bytes: int = 0
    letters: dict[tuple[int, int], str] = field(default_factory=dict)
    """Partition and offset of a replayed dead letter → its name."""
    events: int = 0
    probes: dict[int, tuple[int, int]] = field(default_factory=dict)
    caught_up_ms: dict[int, int] = field(default_factory=dict)
    must_end: bool = False


class _Turn:
    """What is read between two looks at whether the flush should end."""

    def __init__(self, from_json: JsonDecoder, from_arrow: ArrowDecoder, *, replay: bool) -> None:
        self._replay = replay
        self._json, self._counted_json = from_json.accumulator(), from_json.accumulator()
        self._arrow, self._counted_arrow = from_arrow.accumulator(), from_arrow.accumulator()
        self._began_s = time.monotonic()

    def add(self, flush: _Flush, batch: SortedMessages) -> None:
        """Decode some messages and note the marks among them."""
        flush.end_marks |= batch.end_markers
        flush.letters |= batch.replay_of
        self._json.add(batch.json)
        self._counted_json.add(batch.counted_json)
        self._arrow.add(batch.arrow)
        self._counted_arrow.add(batch.counted_arrow)

    def is_full(self, most_events: int) -> bool:
        """Whether it is time to summarise: arrays are long enough, or it has been some time."""
        every = self._json, self._counted_json, self._arrow, self._counted_arrow
        return (
            sum(some.messages for some in every) >= (REPLAY_TURN_MESSAGES if self._replay else TURN_MESSAGES)
            or (self._replay and self.has_arrow)
            or self.events >= most_events
            or sum(some.n_bytes for some in every) >= TURN_BYTES
            or sum(some.rejected_bytes for some in every) >= DEAD_BYTES
            or time.monotonic() - self._began_s >= TURN_S
        )

    @property
    def events(self) -> int:
        """How many events came, those that will be put aside among them."""
        json, arrow = self._json.messages + self._counted_json.messages, self._arrow.rows + self._counted_arrow.rows
        return json + arrow

    @property
    def has_arrow(self) -> bool:
        """Whether Arrow messages have come."""
        return bool(self._arrow.messages or self._counted_arrow.messages)

    def take(self) -> Iterator[tuple[Decoded, bool]]:
        """Hand over what came, and whether the numbers of its producers were counted before."""
        yield self._json.take(), False
        yield self._counted_json.take(), True
        yield self._arrow.take(), False
        yield self._counted_arrow.take(), True


class Sketcher:
    """One sketcher process."""

    def __init__(
        self,
        settings: ProcessorSettings,
        registry: Callable[[], Registry],
        report: Report,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._report = report
        self._clock = clock
        self._log = structlog.get_logger().bind(processor="sketcher", instance=settings.instance)
        self._topic = settings.topics.predictions
        self._consumer = make_consumer(settings, GROUP, tells_ends=True)
        self._transactions = Transactions(settings, GROUP, report)
        self._facts = TopicFacts(settings)
        self._topic_id, self._source_partitions = self._facts.describe(self._topic)
        _, self._partials_partitions = self._facts.describe(settings.topics.partials)
        self._generation = 0
        self._assigned: list[int] = []
        self._position: dict[int, int] = {}
        self._paused: set[int] = set()
        self._overtaken: set[int] = set()
        self._poll_messages = POLL_MESSAGES
        self._early: list[Any] = []
        """Messages that were fetched with those of this flush and did not fit into it."""
        self._decoders: tuple[Registry, JsonDecoder, ArrowDecoder] | None = None

    def run(self, stop: threading.Event) -> None:
        """Flush after flush until `stop` is set.

        Raises:
            ProcessorError: something that neither waiting nor putting an event aside mends.
        """
        freeze_heap()
        self._transactions.start()
        self._consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke)
        try:
            while not stop.is_set():
                try:
                    self.flush_once(stop)
                except _Rebalanced:
                    self._restart()
        finally:
            self._consumer.close()

    def assigned_partitions(self) -> Collection[tuple[str, int]]:
        """The partitions that are this sketcher's to move, those that wait for slower ones left out; for any thread."""
        return [(self._topic, p) for p in self._assigned if p not in self._paused]

    # ------------------------------------------------------------------------------------------ the group

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        self._assigned = sorted(tp.partition for tp in partitions)
        self._assign()
        self._log.info("assigned", partitions=self._assigned)

    def _on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        self._assigned, self._position, self._early = [], {}, []
        consumer.unassign()

    def _assign(self) -> None:
        """Read on from the committed offsets."""
        topic_partitions = [TopicPartition(self._topic, p) for p in self._assigned]
        starts = committed_or_start(self._consumer, topic_partitions) if topic_partitions else []
        self._start_at(starts)
        self._position = {tp.partition: tp.offset for tp in starts}

    def _start_at(self, starts: list[TopicPartition]) -> None:
        """Read from given offsets; librdkafka keeps a partition paused over `assign`, so all are resumed."""
        self._consumer.assign(starts)
        self._consumer.resume(starts)
        self._paused, self._early = set(), []

    def _restart(self) -> None:
        """Drop what was read and go back to the committed offsets."""
        if self._assigned:
            self._assign()

    # ------------------------------------------------------------------------------------------ one flush

    def flush_once(self, stop: threading.Event) -> bool:
        """Read and commit one flush; return whether anything was committed.

        Raises:
            _Rebalanced: the flush is void.
        """
        generation = self._generation
        metadata = self._consumer.consumer_group_metadata()
        flush = self._open(metadata)
        for partition in sorted(self._overtaken & set(self._assigned)):
            self._out_of_range(flush, partition)
        self._overtaken = set()
        while not self._due(flush, stop):
            self._read(flush, generation)
            self._probe(flush)
            self._hold_back(flush)
        if not self._assigned or (stop.is_set() and not flush.events and not flush.dead):
            return False
        self._probe_reached(flush)
        # The count is read after the flush's last fetch: a partition this flush did not see is then counted.
        topic_id, self._source_partitions = self._facts.describe(self._topic)
        if topic_id != self._topic_id:
            raise ProcessorError(
                f"Topic {self._topic} was deleted and made anew while this sketcher read it. Start it again: it "
                "then reads the new one from its start."
            )
        self._commit(flush, self._now_ms())
        return True

    def _open(self, metadata: Any) -> _Flush:
        registry = self._registry()
        if self._decoders is None or self._decoders[0] is not registry:
            self._decoders = registry, JsonDecoder(registry), ArrowDecoder(registry)
        return _Flush(
            dict(self._position),
            metadata,
            FlushSummaries(registry),
            time.monotonic(),
            self._next_boundary(registry),
        )

    def _next_boundary(self, registry: Registry) -> float:
        """The next moment of event time at which some pane ends or can be sealed; none on the replay clock."""
        if self._settings.clock == "replay":
            return float("inf")
        now_s = self._clock()
        boundary = float("inf")
        for pane_s, after_s in {
            (contract.pane_s, after)
            for contract in registry.contracts.values()
            for after in (0, contract.lateness_s + contract.out_of_order_s)
        }:
            boundary = min(boundary, ((now_s - after_s) // pane_s + 1) * pane_s + after_s)
        return boundary * 1000

    def _due(self, flush: _Flush, stop: threading.Event) -> bool:
        if stop.is_set() or flush.must_end:
            return True
        age_s = time.monotonic() - flush.opened_s
        if flush.events + len(flush.dead) >= self._settings.flush_events or flush.dead_bytes >= DEAD_BYTES:
            return True
        if len(flush.summaries.panes) >= self._settings.flush_panes or flush.summaries.n_bytes >= PANE_BYTES:
            return True
        if age_s >= self._settings.flush_s:
            return True
        if age_s < MIN_FLUSH_S or not self._assigned:
            return False
        if self._settings.clock == "replay":
            return bool(flush.end_marks) and self._all_reached(flush)
        return self._boundary_passed(flush)

    def _boundary_passed(self, flush: _Flush) -> bool:
        """Whether a pane ended or can be sealed, and everything up to then has been read.

        A flush that ended at the boundary itself would not know yet that nothing older comes: the pane would be
        sealed by the flush after it only, up to `flush_s` later. Who lags waits no longer than `BOUNDARY_S`.
        """
        now_ms = self._now_ms()
        if now_ms < flush.boundary_ms:
            return False
        read = all(flush.caught_up_ms.get(p, 0) >= flush.boundary_ms for p in self._assigned)
        return read or now_ms >= flush.boundary_ms + BOUNDARY_S * 1000

    def _all_reached(self, flush: _Flush) -> bool:
        return all(p in flush.caught_up_ms for p in self._assigned)

    def _read(self, flush: _Flush, generation: int) -> None:
        """Read what there is, up to a full turn, and summarise it.

        Raises:
            _Rebalanced: the flush is void.
        """
        assert self._decoders is not None
        turn = _Turn(*self._decoders[1:], replay=self._settings.clock == "replay")
        most_events = self._settings.flush_events - flush.events - len(flush.dead)
        there_is_more = True
        while True:
            if not self._early:
                self._early = fetch(self._consumer, self._poll_messages, POLL_S, f"read {self._topic}")
                there_is_more = len(self._early) >= self._poll_messages
            self._report.heartbeat.beat()
            if self._generation != generation:
                raise _Rebalanced
            n = portion_size(self._early)
            messages, self._early = self._early[:n], self._early[n:]
            faults = self._take(flush, turn, messages)
            # A thousand Arrow messages at once would be some hundred megabytes.
            self._poll_messages = MAX_ARROW_MESSAGES if turn.has_arrow else POLL_MESSAGES
            if faults or turn.is_full(most_events) or not (self._early or there_is_more):
                break
        self._count(flush, turn)
        # After the messages, since mending one partition starts all of them again at their positions.
        for error, partition in faults:
            self._on_error(flush, error, partition)

    def _take(self, flush: _Flush, turn: _Turn, messages: list[Any]) -> list[tuple[KafkaError, int]]:
        """Decode messages of the partitions' new positions; return what is no message: errors, each with its partition.

        A message before its partition's position was read already: librdkafka gave it out before it was told to start
        anew.
        """
        faults: list[tuple[KafkaError, int]] = []
        good = [message for message in messages if message.error() is None]
        if good:
            places = MessagePositions.of(good)
            fresh = self._advance(flush, places)
            if not fresh.all():
                good, places = list(compress(good, fresh)), places.take(fresh)
            turn.add(flush, sort_messages(good, places, counted_apart=True))
        if len(good) == len(messages):
            return faults
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self._step_over(flush, message.partition(), message.offset())
                else:
                    faults.append((error, message.partition()))
        return faults

    def _advance(self, flush: _Flush, places: MessagePositions) -> NDArray[np.bool_]:
        """Move the positions behind messages; return which of them had not been read before, shape (n,)."""
        fresh = np.zeros(len(places.partition), dtype=bool)
        for p in np.flatnonzero(np.bincount(places.partition)).tolist():
            position = self._position.get(p)
            if position is None:
                continue
            mine = places.partition == p
            offsets = places.offset[mine]
            reached = np.maximum.accumulate(np.append(position - 1, offsets))
            fresh[mine] = offsets > reached[:-1]
            if reached[-1] >= position:
                flush.fetched.add(p)
                self._position[p] = int(reached[-1]) + 1
        return fresh

    def _step_over(self, flush: _Flush, partition: int, end: int) -> None:
        """Take what lies before a partition's end and is given to nobody as read: markers, aborted messages.

        A replay of dead letters ends with such. A position that stayed before them would never reach the end, and the
        partition's silence would hold all models back.
        """
        if self._position.get(partition, end) < end:
            flush.fetched.add(partition)
            self._position[partition] = end

    def _on_error(self, flush: _Flush, error: KafkaError, partition: int) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._out_of_range(flush, partition)
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:
            return
        elif error.fatal() or error.code() in NO_WAY_ON:
            raise explain(KafkaException(error), f"read {self._topic}")
        else:
            self._report.count_retry("kafka")
            self._log.warning("kafka", error=error.str())

    def _out_of_range(self, flush: _Flush, partition: int) -> None:
        """Retention overtook this consumer: what is gone shows in the offset ledger as a gap before this flush's start."""
        if partition < 0:
            raise _Rebalanced
        if partition in flush.fetched:
            # One flush has one range per partition: this one ends here, the next begins at the log's start.
            flush.must_end = True
            self._overtaken.add(partition)
            return
        low, _ = self._consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), timeout=TIMEOUT_S, cached=False
        )
        self._log.warning(
            "offsets lost to retention", partition=partition, start=self._position.get(partition), end=low
        )
        self._report.add(metrics.OFFSETS_LOST, max(0, low - self._position.get(partition, low)), PREDICTIONS_TOPIC)
        self._position[partition] = flush.start[partition] = low
        # Not by `seek`: after this error librdkafka 2.16 refuses it as an erroneous state.
        self._start_at([TopicPartition(self._topic, p, at) for p, at in sorted(self._position.items())])

    def _count(self, flush: _Flush, turn: _Turn) -> None:
        """Summarise what a turn read."""
        for decoded, counted in turn.take():
            flush.dead += decoded.rejected
            flush.dead_bytes += sum(len(dead.value) for dead in decoded.rejected)
            for arrivals in () if counted else decoded.arrivals:
                flush.summaries.add_arrivals(arrivals)
            for events in decoded.events:
                flush.summaries.add(events)
                flush.events += len(events)
                _note_times(flush, events)

    def _probe(self, flush: _Flush) -> None:
        """Learn when each partition was read to its end, without ever calling a lagging one idle."""
        now_ms = self._now_ms()
        for p in self._assigned:
            asked = flush.probes.get(p)
            if asked is not None and self._position[p] >= asked[1]:
                flush.caught_up_ms[p] = asked[0]
                asked = None
                del flush.probes[p]
            caught_up_ms = flush.caught_up_ms.get(p, 0)
            due = now_ms - caught_up_ms >= PROBE_S * 1000 or caught_up_ms < flush.boundary_ms <= now_ms
            if asked is None and due:
                self._ask_end(flush, p)

    def _hold_back(self, flush: _Flush) -> None:
        """Pause partitions that are far ahead of the slowest one that still has something to read."""
        if self._settings.clock != "replay" or len(self._assigned) < 2:
            return
        newest: dict[int, int] = {}
        for (p, _), at in flush.newest_ms.items():
            newest[p] = max(newest.get(p, at), at)
        reading = [at for p, at in newest.items() if p not in flush.caught_up_ms]
        ahead = {p for p, at in newest.items() if reading and at > min(reading) + MAX_AHEAD_MS}
        for partitions, change in (
            (ahead - self._paused, self._consumer.pause),
            (self._paused - ahead, self._consumer.resume),
        ):
            if partitions:
                change([TopicPartition(self._topic, p) for p in sorted(partitions)])
        self._paused = ahead

    def _ask_end(self, flush: _Flush, partition: int) -> None:
        asked_ms = self._now_ms()
        try:
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=TIMEOUT_S, cached=False
            )
        except KafkaException as error:
            self._report.count_retry("kafka")
            self._log.warning("kafka", error=str(error))
            return
        flush.probes[partition] = (asked_ms, end)

    def _probe_reached(self, flush: _Flush) -> None:
        for p in self._assigned:
            if p not in flush.probes:
                self._ask_end(flush, p)
        for p, (asked_ms, end) in flush.probes.items():
            if self._position.get(p, -1) >= end:
                flush.caught_up_ms[p] = asked_ms

    # ------------------------------------------------------------------------------------------ the transaction

    def _commit(self, flush: _Flush, counted_ms: int) -> None:
        ranges = [Range(p, flush.start[p], self._position[p]) for p in self._assigned]
        covered = [r for r in ranges if r.end > r.start]
        offsets = [TopicPartition(self._topic, p, self._position[p]) for p in self._assigned]
        try:
            self._transactions.commit(self._messages(flush, ranges, covered, counted_ms), offsets, flush.metadata)
        except TransactionDropped as dropped:
            self._log.warning("flush dropped", error=str(dropped))
            raise _Rebalanced from dropped
        self._report.observe(metrics.FLUSH, time.monotonic() - flush.opened_s)
        self._report.committed(flush.events, "counted", Counter(dead.reason.value for dead in flush.dead))

    def _messages(self, flush: _Flush, ranges: list[Range], covered: list[Range], counted_ms: int) -> Iterator[Message]:
        """Parts, dead letters, tallies, and after them one progress record for each partition of `partials`."""
        topics = self._settings.topics
        for key, pane in flush.summaries.panes.items():
            partition = partials_partition(key.model, self._partials_partitions)
            for data in encode_partials(key, pane, self._topic_id, covered):
                yield topics.partials, {"value": data, "partition": partition}
        for dead in flush.dead:
            replay_of = flush.letters.get((dead.partition, dead.offset), "")
            yield topics.predictions_dead, dead_message(dead, self._topic, replay_of)
        for tally in flush.summaries.tallies.tallies(PREDICTIONS_TOPIC, self._topic_id, covered, flush.dead):
            for data in split(tally):
                yield (
                    topics.partials,
                    {"value": data, "partition": partials_partition(tally.model, self._partials_partitions)},
                )
        for partition in range(self._partials_partitions):
            progress = Progress(
                source_topic_id=self._topic_id,
                source_partitions=self._source_partitions,
                counted_at_ms=counted_ms,
                ranges=[self._progress(flush, r, partition) for r in ranges],
                instance=self._settings.instance,
            )
            yield topics.partials, {"value": encode(progress), "partition": partition}

    def _progress(self, flush: _Flush, read: Range, partition: int) -> PartitionProgress:
        return PartitionProgress(
            partition=read.partition,
            start=read.start,
            end=read.end,
            newest_ms={
                model: at
                for (p, model), at in flush.newest_ms.items()
                if p == read.partition and partials_partition(model, self._partials_partitions) == partition
            },
            oldest_ms=flush.oldest_ms.get(read.partition),
            end_mark=read.partition in flush.end_marks,
            caught_up_at_ms=flush.caught_up_ms.get(read.partition),
        )

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _note_times(flush: _Flush, events: EventColumns) -> None:
    """Keep the newest event time per partition and model, each clipped to its receipt, and the oldest."""
    clipped = np.minimum(events.at_ms, events.received_ms)
    for p in np.flatnonzero(np.bincount(events.partition)).tolist():
        mine = events.partition == p
        newest, oldest = int(clipped[mine].max()), int(events.at_ms[mine].min())
        key = (p, events.model)
        flush.newest_ms[key] = max(flush.newest_ms.get(key, newest), newest)
        flush.oldest_ms[p] = min(flush.oldest_ms.get(p, oldest), oldest)
