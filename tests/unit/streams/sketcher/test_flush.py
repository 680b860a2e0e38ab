"""What a flush records of the event times it has read."""

from __future__ import annotations

import numpy as np

from streams.broker.assigned_consumer import Membership
from streams.records import OffsetRange
from streams.registry.registry import Registry
from streams.sketcher.end_probe import EndProbe
from streams.sketcher.flush import Flush
from streams.sketcher.summarise import FlushSummaries
from streams.topics import partials_partition
from tests.support.monitor_schedule import Event, columns


def make_flush() -> Flush:
    ends = EndProbe(lambda partition: None, clock=lambda: 0.0)
    return Flush(Membership(None, 1), {3: 10, 4: 20}, FlushSummaries(Registry()), ends)


def event(at_ms: int, received_ms: int, model: str = "m") -> Event:
    return Event(model, "1", at_ms, received_ms, None, None, "n", False)


def test_event_times_are_clipped_to_their_receipt_and_never_go_back() -> None:
    flush = make_flush()
    flush.note_times(columns("m", 3, [(0, event(5000, 4000))]))
    flush.note_times(columns("m", 3, [(i, event(at_ms, 9000)) for i, at_ms in enumerate([2000, 3000])]))
    flush.note_times(columns("b", 4, [(0, event(7000, 9000, "b"))]))
    assert flush.newest_ms == {(3, "m"): 4000, (4, "b"): 7000}
    assert flush.oldest_ms == {3: 2000, 4: 7000}
    other_partition = columns("m", 3, [(5, event(8000, 8500))])
    other_partition.partition = np.array([4], dtype=np.int32)
    flush.note_times(other_partition)
    assert flush.newest_ms == {(3, "m"): 4000, (4, "b"): 7000, (4, "m"): 8000}


def test_progress_holds_the_models_of_its_partition_of_partials() -> None:
    flush = make_flush()
    flush.newest_ms = {(3, "m"): 4000, (3, "b"): 6000, (4, "m"): 8000}
    flush.oldest_ms, flush.end_markers = {3: 1000}, {3}
    flush.ends.caught_up_ms[3] = 9000
    assert flush.ranges({4: 20, 3: 15}) == [OffsetRange(3, 10, 15), OffsetRange(4, 20, 20)]
    both = [flush.progress(OffsetRange(3, 10, 15), partition, 2) for partition in (0, 1)]
    for partition, progress in enumerate(both):
        assert (progress.partition, progress.start, progress.end) == (3, 10, 15)
        assert (progress.oldest_ms, progress.end_mark, progress.caught_up_at_ms) == (1000, True, 9000)
        assert progress.newest_ms == {
            model: at_ms for model, at_ms in (("m", 4000), ("b", 6000)) if partials_partition(model, 2) == partition
        }
