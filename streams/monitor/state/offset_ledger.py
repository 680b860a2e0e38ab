"""The durable offset ledger: per source partition, what was covered, how far event time has come, what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from streams.records import PartitionProgress, Progress

EVERY_MODEL = ""
"""Key of the watermark that holds for all models: a partition read to its end, or an `end` mark."""
ENDED_MS = 1 << 61
"""The watermark of a partition whose replay has ended."""
SEQ_EPOCH_BITS = 48


def make_record_seq(epoch: int, offset: int) -> int:
    """Order records over incarnations of `partials`: epoch · 2⁴⁸ + offset."""
    return (epoch << SEQ_EPOCH_BITS) + offset


@dataclass(slots=True)
class LedgerEntry:
    """What is known of one source partition."""

    source_topic_id: str
    end: int = 0
    watermarks: dict[str, int] = field(default_factory=dict)
    """Model → Unix ms, before `out_of_order_s` is taken off; `EVERY_MODEL` for all."""
    last_event_ms: int = 0
    record_seq: int = -1
    dirty: bool = True


@dataclass(frozen=True, slots=True)
class Loss:
    """Offsets [start, end) of a source partition that no flush covered."""

    source_partition: int
    start: int
    end: int
    from_ms: int
    """The last event before the gap, or the moment since when it can have come, if later; 0 where none is known."""
    to_ms: int
    """Event time of the oldest event after it; of the newest, where the oldest is late."""
    reason: str
    record_seq: int

    @property
    def offsets(self) -> int:
        return self.end - self.start

    def overlaps(self, start_ms: int, end_ms: int, out_of_order_ms: int) -> bool:
        """Whether events of the gap can belong to [start, end) of event time."""
        return self.from_ms - out_of_order_ms < end_ms and self.to_ms + out_of_order_ms >= start_ms


@dataclass
class OffsetLedger:
    """The chain of one partition of `partials`."""

    rows: dict[int, LedgerEntry] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    partitions: int = 0
    """The largest count of source partitions ever read."""
    counted_ms: int = 0
    new_losses: list[Loss] = field(default_factory=list)

    def newest_record_seq(self) -> int:
        """The `record_seq` of the last record that changed a row; -1 where none did."""
        return max((row.record_seq for row in self.rows.values()), default=-1)

    def resketched(self, partition: int, start: int, topic_id: str, record_seq: int) -> bool:
        """Whether a record covers again what the offset ledger has: an operator reset offsets."""
        row = self.rows.get(partition)
        return row is not None and row.source_topic_id == topic_id and record_seq > row.record_seq and start < row.end

    def lose_from_resketch(self, progress: Progress, record_seq: int) -> None:
        """Record as loss what was new in a progress record that is not followed."""
        for read in progress.ranges:
            row = self.rows.get(read.partition)
            if row is None or record_seq <= row.record_seq or read.end <= row.end:
                continue
            self._lose(read.partition, row, row.end, read.end, read, progress.counted_at_ms, "re-sketch", record_seq)
            row.end, row.record_seq, row.dirty = read.end, record_seq, True

    def follow(self, progress: Progress, record_seq: int, *, live: bool, received_ms: int | None = None) -> None:
        """Take a progress record in; a redelivered one changes nothing.

        Args:
            progress: the record.
            record_seq: its place.
            live: whether a partition that was read to its end moves time.
            received_ms: when Kafka took the record (Unix ms), which no sketcher's clock can be ahead of; None where
                that is not known.
        """
        for each in progress.ranges:
            read = _clipped(each, received_ms)
            row = self.rows.get(read.partition)
            if row is None:
                row = self.rows[read.partition] = LedgerEntry(progress.source_topic_id, end=read.start)
            elif record_seq <= row.record_seq:
                continue
            if row.source_topic_id != progress.source_topic_id:
                row.source_topic_id, row.end = progress.source_topic_id, read.start
            if read.start > row.end:
                self._lose(read.partition, row, row.end, read.start, read, progress.counted_at_ms, "gap", record_seq)
            row.end, row.record_seq, row.dirty = read.end, record_seq, True
            for model, newest_ms in read.newest_ms.items():
                _raise(row, model, newest_ms)
                row.last_event_ms = max(row.last_event_ms, newest_ms)
            if live and read.caught_up_at_ms is not None:
                _raise(row, EVERY_MODEL, read.caught_up_at_ms)
            if read.end_mark:
                _raise(row, EVERY_MODEL, ENDED_MS)
        if progress.source_partitions > self.partitions:
            self.partitions = progress.source_partitions
            for row in self.rows.values():
                row.dirty = True
        self.counted_ms = max(self.counted_ms, progress.counted_at_ms)

    def watermark_ms(self, model: str, out_of_order_ms: int) -> int | None:
        """Event time before which nothing of a model is expected; None while a source partition has none."""
        marks = []
        for partition in range(self.partitions):
            row = self.rows.get(partition)
            if row is None:
                return None
            known = [row.watermarks[key] for key in (model, EVERY_MODEL) if key in row.watermarks]
            if not known:
                return None
            marks.append(max(known))
        if not marks:
            return None
        mark = min(marks)
        return mark if mark >= ENDED_MS else mark - out_of_order_ms

    def has_ended(self, model: str) -> bool:
        """Whether the replay of a model has ended, so that no event is expected at all."""
        mark = self.watermark_ms(model, 0)
        return mark is not None and mark >= ENDED_MS

    def lost_offsets(self, start_ms: int, end_ms: int, out_of_order_ms: int) -> int:
        """How many lost offsets may have held events of [start, end)."""
        return sum(loss.offsets for loss in self.losses if loss.overlaps(start_ms, end_ms, out_of_order_ms))

    def _lose(
        self,
        partition: int,
        row: LedgerEntry,
        start: int,
        end: int,
        read: PartitionProgress,
        counted_ms: int,
        reason: str,
        record_seq: int,
    ) -> None:
        before = row.last_event_ms
        after = _after_ms(read, before, counted_ms)
        read_to_end_ms = row.watermarks.get(EVERY_MODEL, 0)
        if read_to_end_ms < ENDED_MS:
            # What was lost came after the moment at which nothing was left; windows sealed by then cannot miss it.
            before = max(before, read_to_end_ms)
        loss = Loss(partition, start, end, before, max(after, before), reason, record_seq)
        if not any((h.source_partition, h.start, h.end) == (partition, start, end) for h in self.losses):
            self.losses.append(loss)
        self.new_losses.append(loss)


def _after_ms(read: PartitionProgress, before_ms: int, counted_ms: int) -> int:
    """The event time by which what was lost before a range was made, give or take what may be out of order.

    Its oldest event says so only where that is not older than what came before the gap: one that is tells of itself
    alone, that it is late, or of another model's history. Then the newest does; and where even that is older, only
    that the range had been received.
    """
    if read.oldest_ms is None:
        return read.caught_up_at_ms if read.caught_up_at_ms is not None else ENDED_MS
    newest_ms = max(read.newest_ms.values(), default=before_ms - 1)
    if read.oldest_ms >= before_ms:
        return read.oldest_ms
    return newest_ms if newest_ms >= before_ms else counted_ms


def _clipped(read: PartitionProgress, received_ms: int | None) -> PartitionProgress:
    """What was read, its sketcher's clock held against the broker's: a fast one would seal panes that are to come."""
    at_ms = read.caught_up_at_ms
    if received_ms is None or at_ms is None or at_ms <= received_ms:
        return read
    return msgspec.structs.replace(read, caught_up_at_ms=received_ms)


def _raise(row: LedgerEntry, model: str, mark_ms: int) -> None:
    row.watermarks[model] = max(row.watermarks.get(model, mark_ms), mark_ms)
