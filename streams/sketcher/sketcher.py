"""The sketcher: reads `predictions`, writes partials and progress in one Kafka transaction with the input's offsets.

It keeps no state between flushes. A flush captures the group's metadata before its first poll, reads, summarises, and
then commits one transaction: the partials of every pane, dead letters, tallies, one progress record for each partition
of `partials`, and the offsets of all assigned partitions. An idle flush commits too, since its offsets are what fences
a stale sketcher. Any failure before the commit leaves nothing behind, and reading restarts at the committed offsets.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import structlog
from barograph.events import PREDICTIONS_TOPIC
from confluent_kafka import KafkaError

from barograph_server.streams.broker.assigned_consumer import AssignedConsumer
from barograph_server.streams.broker.client import PartitionId, TopicMetadata
from barograph_server.streams.broker.transactions import Message, Transactions
from barograph_server.streams.dead_letters.message import dead_message
from barograph_server.streams.dead_letters.replay_verifier import ReplayVerifier
from barograph_server.streams.events import native_reader
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import MAX_ARROW_MESSAGES, sort_messages
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.records import Progress, encode
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.lifecycle import freeze_heap
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.sketcher.decode_batch import DecodeBatch
from barograph_server.streams.sketcher.flush import EndProbe, Flush
from barograph_server.streams.sketcher.flush_policy import FlushPolicy
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.streams.tallies import encode_tally
from barograph_server.streams.topics import partials_partition
from barograph_server.warehouse.operations import metrics

GROUP: Final = "sketcher"
POLL_MESSAGES = 1_000
"""Messages fetched at once by confluent-kafka: as many as stay in the processor's cache until they are decoded."""
NATIVE_POLL_MESSAGES = 4_000
"""The same by `barograph_native`, which limits their bytes. More of them cost less per event."""
MAX_AHEAD_MS = 24 * 3600 * 1000
"""On the replay clock, a partition whose event time is further ahead of the slowest one is paused. A pane stays open
until every partition has passed it, so this bounds the open panes."""


class Sketcher:
    def __init__(
        self,
        settings: ProcessorSettings,
        registry: Callable[[], Registry],
        report: Report,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        consumer: AssignedConsumer | None = None,
        topics: TopicMetadata | None = None,
    ) -> None:
        """Create the consumer and the producer; nothing is read before `run` or `flush_once`."""
        self._settings, self._registry, self._report = settings, registry, report
        self._clock, self._monotonic = clock, monotonic
        self._log = structlog.get_logger().bind(processor=GROUP, instance=settings.instance)
        self._topic = settings.topics.predictions
        self._consumer = consumer or AssignedConsumer(
            settings,
            GROUP,
            {self._topic: PREDICTIONS_TOPIC},
            report,
            poll_messages=POLL_MESSAGES,
            reports_ends=True,
            native=settings.native,
        )
        self._transactions = Transactions(settings, GROUP, report)
        self._replays = ReplayVerifier(settings, GROUP)
        self._topics = topics or TopicMetadata(settings)
        self._topic_id, self._source_partitions = self._topics.describe(self._topic)
        _, self._partials_partitions = self._topics.describe(settings.topics.partials)
        self._overtaken: set[PartitionId] = set()
        """Partitions that retention overtook in the middle of the last flush."""
        self._decoders: tuple[Registry, JsonDecoder, ArrowDecoder] | None = None

    def run(self, stop: threading.Event) -> None:
        """Flush after flush until `stop` is set."""
        freeze_heap()
        self._log.info("reads JSON", by=native_reader.describe(requested=self._settings.native))
        self._transactions.start()
        try:
            self._consumer.run(self.flush_once, stop)
        finally:
            self._replays.close()

    def assigned_partitions(self) -> Collection[PartitionId]:
        """Return the partitions that this sketcher must move, without the paused ones; callable from any thread."""
        paused = self._consumer.paused
        return [partition for partition in self._consumer.assigned_partitions() if partition not in paused]

    # ------------------------------------------------------------------------------------------ one flush

    def flush_once(self, stop: threading.Event) -> bool:
        """Read and commit one flush; return whether anything was committed."""
        flush, policy = self.open()
        for partition in sorted(self._overtaken & self._consumer.positions.keys()):
            self._skip_lost(flush, partition)
        self._overtaken = set()
        # A flush is counted by one registry: events of a model that was just registered must not be rejected meanwhile.
        while not (stop.is_set() or policy.is_due(flush, self._positions()) or self._is_outdated()):
            self.read(flush)
            flush.ends.update(self._positions())
            self.pause_ahead(flush)
        if not self._consumer.positions or (stop.is_set() and not flush.events and not flush.rejected):
            return False
        flush.ends.finish(self._positions())
        # The number of partitions is queried after the flush's last fetch, so that a partition which this flush did
        # not see is counted.
        _, self._source_partitions = self._topics.describe_unchanged(self._topic, self._topic_id)
        self.commit(flush, int(self._clock() * 1000))
        self._report.observe(metrics.FLUSH, policy.age_s())
        return True

    def open(self) -> tuple[Flush, FlushPolicy]:
        """Start a flush at the current positions."""
        membership = self._consumer.membership()
        registry = self._registry()
        if self._decoders is None or self._decoders[0] is not registry:
            from_json = JsonDecoder(registry, native=self._settings.native)
            self._decoders = registry, from_json, ArrowDecoder(registry)
        policy = FlushPolicy(self._settings, registry, clock=self._clock, monotonic=self._monotonic)
        ends = EndProbe(
            lambda partition: self._consumer.end_offset((self._topic, partition)),
            clock=self._clock,
            boundary_ms=policy.boundary_ms,
        )
        return Flush(membership, self._positions(), FlushSummaries(registry), ends), policy

    def _is_outdated(self) -> bool:
        return self._decoders is not None and self._decoders[0] is not self._registry()

    def read(self, flush: Flush) -> None:
        """Read up to one full decode batch and add it to the flush."""
        assert self._decoders is not None
        replay = self._settings.clock == "replay"
        batch = DecodeBatch(*self._decoders[1:], replay=replay, monotonic=self._monotonic)
        max_events = self._settings.flush_events - flush.events - len(flush.rejected)
        while True:
            portion = self._consumer.read(flush.membership)
            for _, messages in portion.messages:
                by_encoding = sort_messages(messages, accept_end_markers=replay, verify=self._replays.verify)
                flush.end_markers |= by_encoding.end_markers
                flush.reject(by_encoding.rejected)
                flush.summaries.add_heartbeats(by_encoding.heartbeats)
                flush.replay_of |= by_encoding.replay_of
                batch.add(by_encoding)
            # A thousand Arrow messages at once would take some hundred megabytes.
            at_most = NATIVE_POLL_MESSAGES if self._consumer.is_native else POLL_MESSAGES
            self._consumer.poll_messages = MAX_ARROW_MESSAGES if batch.has_arrow else at_most
            if portion.errors or batch.is_full(max_events) or not self._consumer.has_more:
                break
        for decoded, arrivals_counted in batch.take():
            flush.add(decoded, arrivals_counted=arrivals_counted)
        self._report.count_json_messages(self._decoders[1].read_by)
        for error, partition in portion.errors:
            self._handle_error(flush, error, partition)

    def _handle_error(self, flush: Flush, error: KafkaError, partition: PartitionId) -> None:
        if error.code() != KafkaError._AUTO_OFFSET_RESET:
            self._consumer.handle_error(error, partition)
        elif self._consumer.positions.get(partition, 0) > flush.start.get(partition[1], 0):
            # A flush has one range per partition: this one ends here, and the next begins at the log's start.
            flush.must_end = True
            self._overtaken.add(partition)
        else:
            self._skip_lost(flush, partition)

    def _skip_lost(self, flush: Flush, partition: PartitionId) -> None:
        """Start the flush behind what retention deleted: the offset ledger shows it as a gap before this flush."""
        self._consumer.skip_lost(partition)
        flush.start[partition[1]] = self._consumer.positions[partition]

    def pause_ahead(self, flush: Flush) -> None:
        """Pause the partitions that are far ahead of the slowest one that still has something to read."""
        partitions = self._positions()
        if self._settings.clock != "replay" or len(partitions) < 2:
            return
        newest: dict[int, int] = {}
        for (partition, _), at_ms in flush.newest_ms.items():
            newest[partition] = max(newest.get(partition, at_ms), at_ms)
        reading = [at_ms for partition, at_ms in newest.items() if partition not in flush.ends.caught_up_ms]
        self._consumer.pause(
            (self._topic, partition)
            for partition, at_ms in newest.items()
            if reading and at_ms > min(reading) + MAX_AHEAD_MS
        )

    def _positions(self) -> dict[int, int]:
        return {partition: offset for (_, partition), offset in self._consumer.positions.items()}

    # ------------------------------------------------------------------------------------------ the transaction

    def commit(self, flush: Flush, counted_ms: int) -> None:
        """Write the flush and its offsets in one transaction."""
        self._consumer.commit(self._transactions, self._messages(flush, counted_ms), flush.membership)
        self._report.count_committed(
            flush.events, "counted", Counter(rejected.reason.value for rejected in flush.rejected)
        )

    def _messages(self, flush: Flush, counted_ms: int) -> Iterator[Message]:
        """Yield partials, dead letters and tallies, and then a progress record for each partition of `partials`."""
        topics = self._settings.topics
        ranges = flush.ranges(self._positions())
        covered = [offsets for offsets in ranges if offsets.end > offsets.start]
        for key, pane in flush.summaries.panes.items():
            for data in encode_partials(key, pane, self._topic_id, covered):
                yield topics.partials, self._record(data, key.model)
        for rejected in flush.rejected:
            replay_of = flush.replay_of.get((rejected.partition, rejected.offset), "")
            yield topics.predictions_dead, dead_message(rejected, self._topic, replay_of)
        for tally in flush.summaries.tallies.tallies(PREDICTIONS_TOPIC, self._topic_id, covered, flush.rejected):
            for data in encode_tally(tally):
                yield topics.partials, self._record(data, tally.model)
        for partition in range(self._partials_partitions):
            progress = Progress(
                source_topic_id=self._topic_id,
                source_partitions=self._source_partitions,
                counted_at_ms=counted_ms,
                ranges=[flush.progress(offsets, partition, self._partials_partitions) for offsets in ranges],
                instance=self._settings.instance,
            )
            yield topics.partials, {"value": encode(progress), "partition": partition}

    def _record(self, data: bytes, model: str) -> dict[str, Any]:
        return {"value": data, "partition": partials_partition(model, self._partials_partitions)}
