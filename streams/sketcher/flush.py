"""The content of one flush: summaries, rejected events, event times and offset ranges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from barograph_server.streams.broker.assigned_consumer import Membership
from barograph_server.streams.events.batch import Decoded, RejectedEvent
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.records import OffsetRange, PartitionProgress
from barograph_server.streams.sketcher.end_probe import EndProbe
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.streams.topics import partials_partition


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
    """Accepted events."""
    must_end: bool = False
    """Whether retention deleted offsets in the middle of the flush, which would leave two ranges of one partition."""

    def add(self, decoded: Decoded, *, arrivals_counted: bool) -> None:
        """Summarise decoded events. Of shadows it counts only the arrival: no pane of the model includes them.

        Args:
            decoded: what a decoder returned.
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
        """Add rejected events."""
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
            offsets: the range of the source partition.
            partials_topic_partition: the partition of `partials` that the record goes to.
            n_partitions: how many partitions `partials` has.
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
