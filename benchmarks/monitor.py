"""Cost of merging a partial and of sealing and judging a pane in the monitor, without Kafka and ClickHouse.

Measures CPU time of the thread, because wall times depend on the load of the machine.
"""

import time
from collections import deque
from collections.abc import Iterator

from barograph_server.streams.monitor.partition import PartitionState
from barograph_server.streams.monitor.state.commit_rows import COLUMN_TABLES, CommitRows
from barograph_server.streams.monitor.state.empty_store import EmptyStore
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
    all_flushes = list(flushes(workload, panes))
    registry = workload.registry()
    state = PartitionState(0, 1, TOPIC_ID, EmptyStore(), lambda: registry, live=False, clock=lambda: 0.0)
    merge_ms, seal_ms, sizes, offset = [], [], [], 0
    for partials, progress in all_flushes:
        for data in partials:
            began = time.thread_time()
            merge(state, data, offset)
            merge_ms.append((time.thread_time() - began) * 1000)
            sizes.append(len(data))
            offset += 1
        began = time.thread_time()
        commit = apply(state, progress, offset)
        if commit is not None:
            for table in COLUMN_TABLES:
                deque(commit.columns(table), maxlen=0)
        if commit is not None and commit.n_verdicts:
            seal_ms.append((time.thread_time() - began) * 1000)
        offset += 1
    slices = sum(len(d.values) + 1 for d in workload.baseline.dimensions) + 1
    fields = len(workload.baseline.fields)
    per_flush = len(sizes) / len(all_flushes)
    figures.add(
        MONITOR,
        f"{title}: a partial, median",
        quantile(merge_ms, 0.5),
        "ms CPU",
        f"p99 {quantile(merge_ms, 0.99):.3g} ms; {fields} fields × {slices} slices, "
        f"{sum(sizes) / len(sizes) / 1024:.0f} KiB, {per_flush:.2g} partials per flush",
    )
    figures.add(
        MONITOR,
        f"{title}: sealing and judging a pane, median",
        quantile(seal_ms, 0.5),
        "ms CPU",
        f"p99 {quantile(seal_ms, 0.99):.3g} ms; {len(seal_ms)} panes of a minute, windows of 15 m, 1 h and 1 d",
    )


def merge(state: PartitionState, data: bytes, offset: int) -> None:
    """Merge an encoded partial.

    Raises:
        RuntimeError: the monitor rejects it.
    """
    partial = decode(data)
    assert isinstance(partial, Partial)
    if (dead := state.merge_partial(partial, offset)) is not None:
        raise RuntimeError(f"the monitor dead-lettered a partial: {dead.reason}")


def apply(state: PartitionState, data: bytes, offset: int) -> CommitRows | None:
    """Apply an encoded progress record, and return the rows to write."""
    progress = decode(data)
    assert isinstance(progress, Progress)
    commit, _ = state.apply_progress(progress, offset)
    return commit


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
