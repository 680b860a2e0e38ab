"""The durable offset ledger: per source partition the covered offsets, the watermarks and the losses."""

from dataclasses import dataclass, field

import msgspec

from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.records import PartitionProgress, Progress
from barograph_server.warehouse.queries import END_OF_TIME_S

EVERY_MODEL = ""
"""Key of the watermark that applies to all models: that of a partition read to its end, or of an end marker."""
ENDED_MS = 1 << 61
"""The watermark of a partition whose replay has ended."""
END_OF_TIME_MS = END_OF_TIME_S * 1000
"""How tables store the watermark of an ended replay, and the end of a loss without an upper bound."""
SEQ_EPOCH_BITS = 48


def make_record_seq(epoch: int, offset: int) -> int:
    """Return epoch · 2⁴⁸ + offset, which orders records across incarnations of the topic `partials`."""
    return (epoch << SEQ_EPOCH_BITS) + offset


def offset_of(record_seq: int) -> int:
    return record_seq & ((1 << SEQ_EPOCH_BITS) - 1)


@dataclass(slots=True)
class LedgerEntry:
    """The state of one source partition."""

    source_topic_id: str
    end: int = 0
    """End of the covered offsets."""
    watermarks: dict[str, int] = field(default_factory=dict)
    """Model → Unix ms, before `out_of_order_s` is subtracted; `EVERY_MODEL` for all."""
    last_event_ms: int = 0
    record_seq: int = -1
    """Of the last record that changed the entry."""
    dirty: bool = True
    former_topic_ids: set[str] = field(default_factory=set, compare=False)
    """Topic ids that this process has seen replaced."""

    def replace_topic(self, topic_id: str, covered: PartitionProgress) -> None:
        """Continue with the first range of a recreated source topic."""
        if topic_id in self.former_topic_ids:
            raise ProcessorError(
                f"Records of two source topics (ids {self.source_topic_id} and {topic_id}) alternate in `partials` for "
                f"source partition {covered.partition}: an installation has one source topic. Stop the sketchers of "
                "one of them, and give it an installation with a prefix of its own."
            )
        self.former_topic_ids.add(self.source_topic_id)
        self.source_topic_id, self.end = topic_id, covered.start


@dataclass(frozen=True, slots=True)
class Loss:
    """Offsets [start, end) of a source partition that no flush covered."""

    source_partition: int
    start: int
    end: int
    from_ms: int
    """Time of the last event before the gap, or of the last reading to the partition's end, whichever is later; 0 if
    neither is known."""
    to_ms: int
    """Event time of the oldest event after the gap; of the newest, if the oldest is late."""
    reason: str
    record_seq: int

    @property
    def offsets(self) -> int:
        return self.end - self.start

    def overlaps(self, start_ms: int, end_ms: int, out_of_order_ms: int) -> bool:
        """Whether events of the gap may belong to [start, end) of event time."""
        return self.from_ms - out_of_order_ms < end_ms and self.to_ms + out_of_order_ms >= start_ms


@dataclass
class OffsetLedger:
    rows: dict[int, LedgerEntry] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    partitions: int = 0
    """The largest number of source partitions that any record reported."""
    counted_ms: int = 0
    new_losses: list[Loss] = field(default_factory=list)

    def newest_record_seq(self) -> int:
        """The `record_seq` of the last record that changed an entry; -1 if there is none."""
        return max((row.record_seq for row in self.rows.values()), default=-1)

    def is_resketched(self, partition: int, start: int, topic_id: str, record_seq: int) -> bool:
        """Whether a new record covers offsets that the ledger has already: an operator reset the sketcher's offsets."""
        row = self.rows.get(partition)
        return row is not None and row.source_topic_id == topic_id and record_seq > row.record_seq and start < row.end

    def record_resketch(self, progress: Progress, record_seq: int) -> None:
        """Record as lost the new offsets of a progress record that is rejected as a re-sketch."""
        for covered in progress.ranges:
            row = self.rows.get(covered.partition)
            if row is None or record_seq <= row.record_seq or covered.end <= row.end:
                continue
            self._record_loss(row, covered.end, covered, progress.counted_at_ms, "re-sketch", record_seq)
            row.end, row.record_seq, row.dirty = covered.end, record_seq, True

    def advance(self, progress: Progress, record_seq: int, *, live: bool, received_ms: int | None = None) -> None:
        """Apply a progress record; a redelivered one changes nothing.

        Args:
            live: whether a partition that was read to its end advances the watermark.
            received_ms: when Kafka received the record (Unix ms), which bounds the sketcher's clock; None if unknown.
        """
        for reported in progress.ranges:
            covered = _clip_to_broker_clock(reported, received_ms)
            row = self.rows.get(covered.partition)
            if row is None:
                row = self.rows[covered.partition] = LedgerEntry(progress.source_topic_id, end=covered.start)
            elif record_seq <= row.record_seq:
                continue
            if row.source_topic_id != progress.source_topic_id:
                row.replace_topic(progress.source_topic_id, covered)
            if covered.start > row.end:
                self._record_loss(row, covered.start, covered, progress.counted_at_ms, "gap", record_seq)
            row.end, row.record_seq, row.dirty = covered.end, record_seq, True
            for model, newest_ms in covered.newest_ms.items():
                _raise_watermark(row, model, newest_ms)
                row.last_event_ms = max(row.last_event_ms, newest_ms)
            if live and covered.caught_up_at_ms is not None:
                _raise_watermark(row, EVERY_MODEL, covered.caught_up_at_ms)
            if covered.end_mark and not live:
                _raise_watermark(row, EVERY_MODEL, ENDED_MS)
        if progress.source_partitions > self.partitions:
            self.partitions = progress.source_partitions
            for row in self.rows.values():
                row.dirty = True
        self.counted_ms = max(self.counted_ms, progress.counted_at_ms)

    def forget(self, model: str) -> None:
        for row in self.rows.values():
            if row.watermarks.pop(model, None) is not None:
                row.dirty = True

    def mark_written(self) -> None:
        """Record that all entries and losses are in ClickHouse, or in the commit that is about to be written."""
        self.new_losses = []
        for row in self.rows.values():
            row.dirty = False

    def watermark_ms(self, model: str, out_of_order_ms: int) -> int | None:
        """Event time before which no event of a model is expected; None while a source partition has no watermark."""
        watermarks = []
        for partition in range(self.partitions):
            row = self.rows.get(partition)
            if row is None:
                return None
            known = [row.watermarks[key] for key in (model, EVERY_MODEL) if key in row.watermarks]
            if not known:
                return None
            watermarks.append(max(known))
        if not watermarks:
            return None
        lowest = min(watermarks)
        return lowest if lowest >= ENDED_MS else lowest - out_of_order_ms

    def has_ended(self, model: str) -> bool:
        """Whether the replay of a model has ended, so that no event is expected at all."""
        watermark = self.watermark_ms(model, 0)
        return watermark is not None and watermark >= ENDED_MS

    def lost_offsets(self, start_ms: int, end_ms: int, out_of_order_ms: int) -> int:
        """Count the lost offsets that may have held events of [start, end)."""
        return sum(loss.offsets for loss in self.losses if loss.overlaps(start_ms, end_ms, out_of_order_ms))

    def _record_loss(
        self, row: LedgerEntry, end: int, covered: PartitionProgress, counted_ms: int, reason: str, record_seq: int
    ) -> None:
        """Record as lost the offsets from the end of those that are covered."""
        before_ms = row.last_event_ms
        after_ms = _after_gap_ms(covered, before_ms, counted_ms)
        caught_up_ms = row.watermarks.get(EVERY_MODEL, 0)
        if caught_up_ms < ENDED_MS:
            # The lost offsets were written after the partition was read to its end; windows sealed by then miss none.
            before_ms = max(before_ms, caught_up_ms)
        loss = Loss(covered.partition, row.end, end, before_ms, max(after_ms, before_ms), reason, record_seq)
        offsets = (loss.source_partition, loss.start, loss.end)
        if all((known.source_partition, known.start, known.end) != offsets for known in self.losses):
            self.losses.append(loss)
        self.new_losses.append(loss)


def _after_gap_ms(covered: PartitionProgress, before_ms: int, counted_ms: int) -> int:
    """Return the event time by which the lost events were made, give or take the allowed disorder.

    The range's oldest event tells it, unless that is older than the events before the gap: it is then late, or belongs
    to another model's history. In that case the newest event tells it; if even that is older, only the time at which
    the range was received is known.
    """
    if covered.oldest_ms is None:
        return covered.caught_up_at_ms if covered.caught_up_at_ms is not None else ENDED_MS
    newest_ms = max(covered.newest_ms.values(), default=before_ms - 1)
    if covered.oldest_ms >= before_ms:
        return covered.oldest_ms
    return newest_ms if newest_ms >= before_ms else counted_ms


def _clip_to_broker_clock(covered: PartitionProgress, received_ms: int | None) -> PartitionProgress:
    """Limit the sketcher's clock to the broker's: a fast one would seal panes whose events are still to come."""
    at_ms = covered.caught_up_at_ms
    if received_ms is None or at_ms is None or at_ms <= received_ms:
        return covered
    return msgspec.structs.replace(covered, caught_up_at_ms=received_ms)


def _raise_watermark(row: LedgerEntry, model: str, watermark_ms: int) -> None:
    row.watermarks[model] = max(row.watermarks.get(model, watermark_ms), watermark_ms)
