"""The content of one flush: summaries, rejected events, event times and offset ranges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from barograph_server.streams.broker.assigned_consumer import Membership
from barograph_server.streams.events.batch import Decoded, RejectedEvent
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.records import OffsetRange, PartitionProgress
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.streams.topics import partials_partition

PROBE_S = 1.0
"""How often an open flush queries the broker for the end of each partition."""


@dataclass(frozen=True, slots=True)
class _EndQuery:
    """An answer of the broker that the position has not reached yet."""

    queried_at_ms: int
    end: int


class EndProbe:
    """Finds, for each partition of one flush, the last moment at which it held nothing beyond the position.

    A partition is caught up as of the moment *before* its end offset was queried, once the position reaches that
    offset: a lagging partition never counts as idle, however fast it grows.
    """

    def __init__(
        self, end_offset: Callable[[int], int | None], *, clock: Callable[[], float], boundary_ms: float = float("inf")
    ) -> None:
        """Start without answers.

        Args:
            end_offset: queries a partition's end; None where the broker does not answer.
            boundary_ms: once this moment (Unix ms) has passed, partitions that were caught up before it only are
                queried at once, so that the flush can end.
        """
        self._end_offset, self._clock, self._boundary_ms = end_offset, clock, boundary_ms
        self._pending: dict[int, _EndQuery] = {}
        self.caught_up_ms: dict[int, int] = {}
        """Partition → the moment (Unix ms) up to which everything in it is read."""

    def update(self, positions: Mapping[int, int]) -> None:
        """Compare the positions with the ends, and query the ends that are due."""
        now_ms = self._now_ms()
        for partition, position in positions.items():
            self._check(partition, position)
            caught_up_ms = self.caught_up_ms.get(partition, 0)
            is_due = now_ms - caught_up_ms >= PROBE_S * 1000 or caught_up_ms < self._boundary_ms <= now_ms
            if partition not in self._pending and is_due:
                self._query(partition)

    def finish(self, positions: Mapping[int, int]) -> None:
        """Query every partition without a pending answer once more, before the flush is committed."""
        for partition, position in positions.items():
            if partition not in self._pending:
                self._query(partition)
            self._check(partition, position)

    def _check(self, partition: int, position: int) -> None:
        pending = self._pending.get(partition)
        if pending is not None and position >= pending.end:
            self.caught_up_ms[partition] = pending.queried_at_ms
            del self._pending[partition]

    def _query(self, partition: int) -> None:
        queried_at_ms = self._now_ms()
        end = self._end_offset(partition)
        if end is not None:
            self._pending[partition] = _EndQuery(queried_at_ms, end)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


@dataclass(slots=True)
class Flush:
    """Everything that one flush has read."""

    membership: Membership
    start: dict[int, int]
    """Source partition → the offset at which the flush begins."""
    summaries: FlushSummaries
    ends: EndProbe
    newest_ms: dict[tuple[int, str], int] = field(default_factory=dict)
    """Partition and model → the newest event time, each clipped to its receipt."""
    oldest_ms: dict[int, int] = field(default_factory=dict)
    """Partition → the oldest event time."""
    end_markers: set[int] = field(default_factory=set)
    """Partitions in which an end marker was read."""
    rejected: list[RejectedEvent] = field(default_factory=list)
    rejected_bytes: int = 0
    replay_of: dict[tuple[int, int], str] = field(default_factory=dict)
    """Partition and offset of a replayed message → the name of its dead letter."""
    events: int = 0
    must_end: bool = False
    """Whether retention deleted offsets in the middle of the flush, which would leave two ranges of one partition."""

    def add(self, decoded: Decoded, *, arrivals_counted: bool) -> None:
        """Summarise decoded events. Of shadows it counts only the arrival: no pane of the model includes them.

        Args:
            arrivals_counted: whether the producer numbers were counted before, as those of replayed dead letters.
        """
        self.reject(decoded.rejected)
        for arrivals in () if arrivals_counted else decoded.arrivals:
            self.summaries.add_arrivals(arrivals)
        for decoded_events in decoded.events:
            events = decoded_events.without_shadows()
            if not len(events):
                continue
            self.summaries.add(events)
            self.events += len(events)
            self.note_times(events)

    def reject(self, rejected: Sequence[RejectedEvent]) -> None:
        self.rejected += rejected
        self.rejected_bytes += sum(len(each.value) for each in rejected)

    def note_times(self, events: EventColumns) -> None:
        """Update the newest event time of each partition and model, clipped to the receipt, and the oldest."""
        clipped = np.minimum(events.at_ms, events.received_ms)
        for partition in np.flatnonzero(np.bincount(events.partition)).tolist():
            rows = events.partition == partition
            newest, oldest = int(clipped[rows].max()), int(events.at_ms[rows].min())
            key = (partition, events.model)
            self.newest_ms[key] = max(self.newest_ms.get(key, newest), newest)
            self.oldest_ms[partition] = min(self.oldest_ms.get(partition, oldest), oldest)

    def ranges(self, positions: Mapping[int, int]) -> list[OffsetRange]:
        """Return the offset range of each assigned partition; those of idle partitions are empty."""
        return [OffsetRange(partition, self.start[partition], end) for partition, end in sorted(positions.items())]

    def progress(self, offsets: OffsetRange, partials_topic_partition: int, n_partitions: int) -> PartitionProgress:
        """Describe what the flush covers of one source partition.

        Args:
            partials_topic_partition: the partition of `partials` that the record goes to.
        """
        return PartitionProgress(
            partition=offsets.partition,
            start=offsets.start,
            end=offsets.end,
            newest_ms={
                model: at_ms
                for (partition, model), at_ms in self.newest_ms.items()
                if partition == offsets.partition
                and partials_partition(model, n_partitions) == partials_topic_partition
            },
            oldest_ms=self.oldest_ms.get(offsets.partition),
            end_mark=offsets.partition in self.end_markers,
            caught_up_at_ms=self.ends.caught_up_ms.get(offsets.partition),
        )
