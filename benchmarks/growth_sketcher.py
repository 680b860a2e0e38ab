"""Cost of decoding and summarizing by fields, slices, models and events, in this process without Kafka."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.records import OffsetRange
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.sketcher.pane_summary import PaneKey, PaneSummary
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from benchmarks.growth_measurement import Growth, cpu_in_turns
from benchmarks.synthetic_models import SyntheticModel, Templates, arrow_events, make_model, registry_of, spread_times

STAGE = "sketcher"
EVENTS = 10_000
"""Events of a batch where they are not the factor; a poll returns at most twice as many."""
PANE_MS = 60_000
TOPIC_ID = "growth"

FIELDS = (5, 10, 20, 50, 100, 200)
DIMENSIONS = (0, 1, 2, 3, 4)
MODELS = (1, 2, 5, 10, 20, 50)
BATCHES = (50, 200, 1_000, 5_000, 10_000, 20_000)
PANES = (1, 4, 15, 60, 240)


@dataclass(frozen=True, slots=True)
class _Job:
    """A batch and its registry."""

    registry: Registry
    batch: MessageBatch
    arrow: bool = False

    def summarise(self) -> FlushSummaries:
        """Summarize the batch as the sketcher does with a poll."""
        decoder = ArrowDecoder(self.registry) if self.arrow else JsonDecoder(self.registry)
        summaries = FlushSummaries(self.registry)
        decoded = decoder.decode(self.batch)
        if decoded.rejected:
            raise RuntimeError(f"an event was rejected: {decoded.rejected[0].detail}")
        for arrivals in decoded.arrivals:
            summaries.add_arrivals(arrivals)
        for events in decoded.events:
            summaries.add(events)
        return summaries

    def records(self) -> int:
        """Summarize the batch, encode its partials and return their size in bytes."""
        covered = [OffsetRange(0, 0, len(self.batch))]
        panes = self.summarise().panes.items()
        return sum(len(data) for key, pane in panes for data in encode_partials(key, pane, TOPIC_ID, covered))


def _batch(values: Sequence[bytes]) -> MessageBatch:
    n = len(values)
    now_ms = np.full(n, int(time.time() * 1000), dtype=np.int64)
    return MessageBatch(list(values), np.zeros(n, np.int32), np.arange(n, dtype=np.int64), now_ms)


def _of_one_pane() -> tuple[int, int]:
    first_ms = int(time.time() * 1000) // PANE_MS * PANE_MS - 2 * PANE_MS
    return first_ms, first_ms + PANE_MS - 1


def json_job(models: Sequence[SyntheticModel], events: int, panes: int = 1) -> _Job:
    """A batch of events of several models in turn, in the panes before the current one."""
    _, last_ms = _of_one_pane()
    times = spread_times(events, last_ms + 1 - panes * PANE_MS, last_ms)
    templates = [Templates(model, min(events, 2_000), i + 1) for i, model in enumerate(models)]
    writing = [template.events(times[i :: len(models)]) for i, template in enumerate(templates)]
    return _Job(registry_of(models), _batch([next(writing[i % len(models)]) for i in range(events)]))


def _arrow_job(model: SyntheticModel, events: int) -> _Job:
    return _Job(registry_of([model]), _batch(arrow_events(model, events, *_of_one_pane())), arrow=True)


def measure_sketcher(growth: Growth) -> None:
    """Measure one factor after the other."""
    json_job([make_model()], 1_000).records()  # Imports at the first use of libraries do not count.
    _measure_fields(growth)
    jobs = [json_job([make_model(dimensions=dimensions)], EVENTS) for dimensions in DIMENSIONS]
    constants = "20 fields, batches of 10,000 events, one pane; each dimension has 21 slices"
    costs = [1e6 * spent / EVENTS for spent in cpu_in_turns([job.summarise for job in jobs])]
    growth.add(STAGE, "slices", "CPU of an event, JSON", "µs", "slice dimensions", constants, DIMENSIONS, costs)
    sizes = [job.records() / 1024 for job in jobs]
    growth.add(
        STAGE, "partial by slices", "bytes of a partial", "KiB", "slice dimensions", constants, DIMENSIONS, sizes
    )
    base = make_model()
    constants = "20 fields, no slices, batches of 10,000 events in all"
    costs = _batches_ms([json_job([base.named(f"synthetic-{i:02d}") for i in range(n)], EVENTS) for n in MODELS])
    growth.add(STAGE, "models", "CPU of a batch, JSON", "ms", "models", constants, MODELS, costs)
    constants = "20 fields, no slices, one pane"
    costs = _batches_ms([json_job([base], n) for n in BATCHES])
    growth.add(STAGE, "events", "CPU of a batch, JSON", "ms", "events in the batch", constants, BATCHES, costs)
    constants = "20 fields, no slices, 10,000 events in all: 240 panes have 42 each"
    costs = _batches_ms([json_job([base], EVENTS, panes) for panes in PANES])
    growth.add(STAGE, "panes", "CPU of a batch, JSON", "ms", "panes of its events", constants, PANES, costs)


def _batches_ms(jobs: Sequence[_Job]) -> list[float]:
    return [1e3 * spent for spent in cpu_in_turns([job.summarise for job in jobs])]


def _measure_fields(growth: Growth) -> None:
    models = [make_model(fields=fields) for fields in FIELDS]
    from_json = [json_job([model], EVENTS) for model in models]
    from_arrow = [_arrow_job(model, EVENTS) for model in models]
    panes = [next(iter(job.summarise().panes.items())) for job in from_json]
    writing = [partial(_write, *pane) for pane in panes]
    constants = "no slices, batches of 10,000 events, one pane"
    for name, cost, jobs in (("fields", "JSON", from_json), ("Arrow by fields", "Arrow", from_arrow)):
        costs = [1e6 * spent / EVENTS for spent in cpu_in_turns([job.summarise for job in jobs])]
        growth.add(STAGE, name, f"CPU of an event, {cost}", "µs", "fields", constants, FIELDS, costs)
    costs = [1e3 * spent for spent in cpu_in_turns(writing)]
    growth.add(STAGE, "writing by fields", "CPU of writing a partial", "ms", "fields", constants, FIELDS, costs)
    sizes = [write() / 1024 for write in writing]
    growth.add(STAGE, "partial by fields", "bytes of a partial", "KiB", "fields", constants, FIELDS, sizes)


def _write(key: PaneKey, pane: PaneSummary) -> int:
    return sum(len(data) for data in encode_partials(key, pane, TOPIC_ID, [OffsetRange(0, 0, EVENTS)]))
