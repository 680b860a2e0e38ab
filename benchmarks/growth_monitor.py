"""Cost of the monitor by fields, slices, models, events, history and partitions, in this process without Kafka.

Measures CPU time of the thread that processes the records. With a warehouse, rows are also written, which shows the
cost of writing on both sides and the stored bytes; without one, rows are built and dropped. The last hour of panes
counts: it contains all hops of the windows of 15 minutes and an hour, and one hop of the day's window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from barograph.contract import Window

from barograph_server.streams.monitor.partition import PartitionState
from barograph_server.streams.monitor.state.empty_store import EmptyStore
from barograph_server.streams.monitor.state.store import Store, WarehouseStore
from barograph_server.streams.records import OffsetRange, PartitionProgress, Progress, encode
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from benchmarks.growth_measurement import Growth
from benchmarks.growth_store import BenchmarkDatabase
from benchmarks.monitor import apply, merge
from benchmarks.synthetic_models import SyntheticModel, event_columns, make_model, registry_of

STAGE = "monitor"
TOPIC_ID = "growth"
PANE_S = 60
FIRST_S = (int(time.time()) // 86_400 - 2) * 86_400
"""Start of the first pane: a recent midnight, because the warehouse drops rows past their retention."""
EVENTS = 5_000
"""Events per pane where they are not the factor."""
VARIANTS = 8
"""Number of different pane contents, used in turn."""
WARM, COUNTED = 5, 60
"""Panes for the warm-up, and panes that count."""

FIELDS = (5, 20, 70, 200)
DIMENSIONS = (0, 1, 2, 4)
MODELS = (1, 2, 5, 10, 20)
EVENTS_OF_PANE = (20, 200, 2_000, 20_000)
LENGTHS = (15, 60, 240, 720, 1_440)
SOURCES = (1, 8, 32, 128, 512)
SOURCE_MODELS = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a pane of all models."""

    merge_ms: float
    """CPU of merging its partials; a large pane has several."""
    pane_ms: float
    """CPU of processing the progress record: sealing, judging, building rows."""
    write_ms: float
    """CPU of writing those rows; 0 without a warehouse."""


def measure_monitor_growth(growth: Growth, create_database: Callable[[SyntheticModel], BenchmarkDatabase]) -> None:
    """Measure one factor after the other.

    Args:
        growth: receives the curves.
        create_database: creates an empty database for a model, for the factors whose rows are stored.
    """
    feed([make_model()], COUNTED)
    for factor, values, models in (
        ("fields", FIELDS, [make_model(fields=n) for n in FIELDS]),
        ("slice dimensions", DIMENSIONS, [make_model(dimensions=n) for n in DIMENSIONS]),
    ):
        constants = "no slices" if factor == "fields" else "20 fields; each dimension has 21 slices"
        _measure_stored(
            growth, factor, values, models, f"{constants}, {EVENTS:,} events per pane in 1 partial", create_database
        )
    base = make_model()
    costs = [feed([base.named(f"synthetic-{i:02d}") for i in range(n)]).pane_ms for n in MODELS]
    constants = f"20 fields, no slices, {EVENTS:,} events per model and pane"
    growth.add(STAGE, "models", "CPU of judging a pane of all models", "ms", "models", constants, MODELS, costs)
    costs = [feed([base], events=n).pane_ms for n in EVENTS_OF_PANE]
    growth.add(STAGE, "events", "CPU of judging a pane", "ms", "events per pane", "20 fields", EVENTS_OF_PANE, costs)
    costs = []
    for length in LENGTHS:
        model = make_model(windows=[Window(length * 60, 60)])
        costs.append(feed([model], length + 20, counted=20).pane_ms)
    constants = "20 fields, no slices; one window that hops by a pane"
    growth.add(STAGE, "history", "CPU of judging a pane", "ms", "panes kept", constants, LENGTHS, costs)
    _measure_sources(growth, base)


def _measure_stored(
    growth: Growth,
    factor: str,
    values: Sequence[int],
    models: Sequence[SyntheticModel],
    constants: str,
    create_database: Callable[[SyntheticModel], BenchmarkDatabase],
) -> None:
    costs, engine, stored, rows = [], [], [], []
    for model in models:
        db = create_database(model)
        with db.client() as client:
            began = db.engine_cpu_s()
            costs.append(feed([model], store=WarehouseStore(client)))
            engine.append(1e3 * (db.engine_cpu_s() - began) / (WARM + COUNTED))
            result = db.stored(client)
        stored.append(sum(size for _, size in result.values()) / 1024 / (WARM + COUNTED))
        rows.append(sum(n for n, _ in result.values()) / (WARM + COUNTED))
    name = factor.split()[-1]
    for key, cost, unit, results in (
        (f"partials by {name}", "CPU of merging a flush", "ms", [c.merge_ms for c in costs]),
        (f"judging by {name}", "CPU of judging a pane", "ms", [c.pane_ms for c in costs]),
        (f"writing by {name}", "CPU of writing a pane's rows", "ms", [c.write_ms for c in costs]),
    ):
        growth.add(STAGE, key, cost, unit, factor, constants, values, results)
    for key, cost, unit, results in (
        (f"engine by {name}", "CPU of the engine for a pane", "ms", engine),
        (f"rows by {name}", "rows of a pane", "rows", rows),
        (f"bytes by {name}", "stored bytes per pane, merged", "KiB", stored),
    ):
        growth.add("ClickHouse", key, cost, unit, factor, constants, values, results)


def _measure_sources(growth: Growth, base: SyntheticModel) -> None:
    """Cost of a progress record that seals nothing: a model's watermark is the minimum over all source partitions."""
    models = [base.named(f"synthetic-{i:02d}") for i in range(SOURCE_MODELS)]
    costs = []
    for sources in SOURCES:
        state = _state(models, EmptyStore(), live=True)
        at_ms = FIRST_S * 1000
        for source in range(sources):
            state.apply_progress(
                _progress(
                    [PartitionProgress(partition=source, start=0, end=1, newest_ms={}, caught_up_at_ms=at_ms)],
                    sources,
                    at_ms,
                ),
                source,
            )
        records = [
            encode(_progress([PartitionProgress(
                partition=i % sources, start=1 + i // sources, end=2 + i // sources, newest_ms={},
                caught_up_at_ms=at_ms + i)], sources, at_ms))
            for i in range(200)
        ]  # fmt: skip
        began = time.thread_time()
        for i, data in enumerate(records):
            apply(state, data, sources + i)
        costs.append(1e6 * (time.thread_time() - began) / len(records))
    constants = f"{SOURCE_MODELS} models in the partition of `partials`; nothing is sealed"
    growth.add(STAGE, "sources", "CPU of a progress record", "µs", "source partitions", constants, SOURCES, costs)
    growth.unit("monitor_progress_models", SOURCE_MODELS)


def feed(
    models: Sequence[SyntheticModel],
    panes: int = WARM + COUNTED,
    *,
    counted: int = COUNTED,
    events: int = EVENTS,
    store: Store | None = None,
) -> Cost:
    """Feed panes to the state of a partition, one flush per pane; the last `counted` panes count."""
    state = _state(models, store or EmptyStore(), live=False)
    merge_s: list[float] = []
    pane_s: list[float] = []
    write_s: list[float] = []
    offset = 0
    for partials, progress in flushes(models, panes, events):
        merge_s.append(0.0)
        for data in partials:
            began = time.thread_time()
            merge(state, data, offset)
            merge_s[-1] += time.thread_time() - began
            offset += 1
        began = time.thread_time()
        commit = apply(state, progress, offset)
        pane_s.append(time.thread_time() - began)
        began = time.thread_time()
        if store is not None and commit is not None:
            store.write(commit)
        write_s.append(time.thread_time() - began)
        offset += 1
    return Cost(*(1e3 * sum(subset[-counted:]) / counted for subset in (merge_s, pane_s, write_s)))


def _state(models: Sequence[SyntheticModel], store: Store, *, live: bool) -> PartitionState:
    registry = registry_of(models)
    return PartitionState(0, 1, TOPIC_ID, store, lambda: registry, live=live, clock=lambda: 0.0)


def flushes(models: Sequence[SyntheticModel], panes: int, events: int) -> Iterator[tuple[list[bytes], bytes]]:
    """The records of flushes, one per pane: the partials of all models, and the progress record."""
    registry = registry_of(models)
    variants = []
    last_ms = FIRST_S * 1000 + PANE_S * 1000 - 1
    for i in range(VARIANTS):
        summaries = FlushSummaries(registry)
        for model in models:
            summaries.add(event_columns(model, events, FIRST_S * 1000, last_ms, stream=100 + i))
        variants.append(summaries.panes)
    n = events * len(models)
    for pane in range(panes):
        start_s = FIRST_S + pane * PANE_S
        covered = OffsetRange(0, pane * n, (pane + 1) * n)
        partials = [
            data
            for key, summary in variants[pane % VARIANTS].items()
            for data in encode_partials(key._replace(pane_start_s=start_s), summary, TOPIC_ID, [covered])
        ]
        newest_ms = (start_s + PANE_S) * 1000 - 1
        read = PartitionProgress(
            partition=0,
            start=covered.start,
            end=covered.end,
            newest_ms={model.contract.model: newest_ms for model in models},
            oldest_ms=start_s * 1000,
        )
        yield partials, encode(_progress([read], 1, newest_ms))


def _progress(ranges: list[PartitionProgress], sources: int, at_ms: int) -> Progress:
    return Progress(source_topic_id=TOPIC_ID, source_partitions=sources, counted_at_ms=at_ms, ranges=ranges)
