"""Cost of merging a partial and of sealing and judging a pane in the monitor, without Kafka and ClickHouse.

Measures CPU time of the thread, because wall times depend on the load of the machine.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from statistics import mean

from barograph_server.streams.monitor.partition import Pace, PartitionState
from barograph_server.streams.monitor.state.commit_rows import COLUMN_TABLES, CommitRows
from barograph_server.streams.monitor.state.empty_store import EmptyStore
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.records import OffsetRange, Partial, PartitionProgress, Progress, decode, encode
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from benchmarks.figures import Figures, quantile
from benchmarks.stack import Testbed
from benchmarks.workload import Workload, event_columns, make_workload

MONITOR = "The monitor, without Kafka and ClickHouse"
EVENTS_PER_PANE = 5_000
FLUSHES_PER_PANE = 4
"""Flushes per pane: a flush covers at most 15 s, a pane a minute."""
TOPIC_ID = "benchmark"
FIRST_S = 1_700_000_400
"""Start of the first pane, 20 minutes past an hour (Unix s)."""


def recent_hour_s() -> int:
    """A full hour of the day before yesterday (Unix s): ClickHouse drops panes past their retention."""
    return (int(time.time()) - 2 * 86_400) // 3_600 * 3_600


def measure_monitor(testbed: Testbed, figures: Figures, *, panes: int) -> None:
    """Feed partials of narrow and wide models to the state of a partition."""
    for numbers, texts in ((18, 2), (17, 3), (197, 3)):
        workload = make_workload(testbed.folder, numbers=numbers, texts=texts)
        _measure(workload, figures, f"{numbers + texts} features × {texts} slice dimensions", panes)


def _measure(workload: Workload, figures: Figures, title: str, panes: int) -> None:
    def build_rows(commit: CommitRows) -> None:
        for table in COLUMN_TABLES:
            deque(commit.columns(table), maxlen=0)

    feed = PartitionFeed(workload, EmptyStore(), build_rows)
    all_flushes = list(flushes(workload, panes))
    seal_ms = [feed.apply_s[-1] * 1000 for partials, progress in all_flushes if feed.flush(partials, progress)]
    merge_ms = [each * 1000 for each in feed.merge_s]
    slices = sum(len(d.values) + 1 for d in workload.baseline.dimensions) + 1
    shape = f"{len(workload.baseline.fields)} fields × {slices} slices, {mean(feed.sizes) / 1024:.0f} KiB"
    for name, times_ms, note in (
        ("a partial", merge_ms, f"{shape}, {len(feed.sizes) / len(all_flushes):.2g} partials per flush"),
        ("sealing and judging a pane", seal_ms, f"{len(seal_ms)} panes of a minute, windows of 15 m, 1 h and 1 d"),
    ):
        p99 = f"p99 {quantile(times_ms, 0.99):.3g} ms"
        figures.add(MONITOR, f"{title}: {name}, median", quantile(times_ms, 0.5), "ms CPU", f"{p99}; {note}")


class PartitionFeed:
    """The state of a partition, and what encoded records cost in it: CPU time of the thread, and bytes."""

    def __init__(
        self,
        workload: Workload,
        store: EmptyStore | WarehouseStore,
        write: Callable[[CommitRows], None],
        *,
        live: bool = False,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        registry = workload.registry()
        self._state = PartitionState(0, (TOPIC_ID, 1), store, lambda: registry, Pace(live), clock=clock)
        self._write, self._offset = write, 0
        self.sizes: list[int] = []
        """Of each partial (bytes)."""
        self.merge_s: list[float] = []
        """Decoding and merging each partial."""
        self.apply_s: list[float] = []
        """Applying each progress record, and writing what it seals."""

    def flush(self, partials: Iterable[bytes], progress: bytes) -> int:
        """Take the records of a flush, and return the number of verdicts."""
        for data in partials:
            began = time.thread_time()
            partial = decode(data)
            assert isinstance(partial, Partial)
            if (dead := self._state.merge_partial(partial, self._offset)) is not None:
                raise RuntimeError(f"the monitor dead-lettered a partial: {dead.reason}")
            self.merge_s.append(time.thread_time() - began)
            self.sizes.append(len(data))
            self._offset += 1
        began = time.thread_time()
        record = decode(progress)
        assert isinstance(record, Progress)
        commit, _ = self._state.apply_progress(record, self._offset)
        self._offset += 1
        if commit is not None:
            self._write(commit)
        self.apply_s.append(time.thread_time() - began)
        return commit.n_verdicts if commit is not None else 0


def flushes(
    workload: Workload, panes: int, events_per_pane: int = EVENTS_PER_PANE, first_s: int = FIRST_S
) -> Iterator[tuple[list[bytes], bytes]]:
    """The records of consecutive flushes: partials, and the progress record that follows them."""
    read = 0
    n = events_per_pane // FLUSHES_PER_PANE
    step_ms = 60_000 // FLUSHES_PER_PANE
    registry = workload.registry()
    for i in range(panes * FLUSHES_PER_PANE):
        first_ms = first_s * 1000 + i * step_ms
        summaries = FlushSummaries(registry)
        summaries.add(event_columns(workload, n, first_ms, first_ms + step_ms - 1, stream=100 + i % 40))
        covered = [OffsetRange(0, read, read + n)]
        partials = [
            data for key, pane in summaries.panes.items() for data in encode_partials(key, pane, TOPIC_ID, covered)
        ]
        progress = PartitionProgress(
            partition=0,
            start=read,
            end=read + n,
            newest_ms={workload.models[0]: first_ms + step_ms - 1},
            oldest_ms=first_ms,
        )
        record = Progress(
            source_topic_id=TOPIC_ID, source_partitions=1, counted_at_ms=first_ms + step_ms, ranges=[progress]
        )
        yield partials, encode(record)
        read += n
