"""What a monitor holds in memory of a very wide model, in a process of its own, without Kafka and ClickHouse.

The baseline is made here, not learned, and the parts hold drawn counts and real sketches: what fills memory is their
shape. The panes of an hour and more are fed, so that windows of 15 m and 1 h are full; of the 23 hours before only the
sums are given, as the monitor would hold them.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import numpy as np
from barograph.contract import SECONDS_PER_HOUR, Contract, Field

from benchmarks.children import Told, cpu_s, memory_mib
from benchmarks.figures import Figures, quantile
from benchmarks.monitor import FIRST_S, TOPIC_ID, NoStore
from benchmarks.world import World
from sketches.baseline import ALL, Baseline, FieldBaseline, SliceCounts, SliceValues
from sketches.layout import EVENTS, HEADER, TAIL, Layout
from sketches.numeric import numeric_sketch
from streams.monitor.partition import PartitionState
from streams.records import Part, PartitionProgress, Progress, Range
from streams.registry import RegisteredBaseline, Registry, build_registry

WIDE = "The monitor's memory"
MODEL, VERSION = "wide", "1"
BINS = 10
EVENTS_PER_PART = 2_500
PARTS_PER_PANE = 2
SEED = 20_130_915


def wide_registry(n_fields: int, n_slices: int) -> Registry:
    """A model of numeric fields on deciles and of one dimension, whose slices are of one size."""
    values = tuple(f"v{i:03d}" for i in range(n_slices - 2))
    rows = 100_000
    share = 1.0 / (n_slices - 1)
    edges = tuple(float(edge) for edge in np.linspace(-1.28, 1.28, BINS - 1))
    counts = {
        name: SliceCounts(cells=(*([int(rows * part / BINS)] * BINS), 0), below=10, above=10)
        for name, part in ((ALL, 1.0), *((f"country={value}", share) for value in (*values, "other")))
    }
    fields = tuple(
        FieldBaseline(name=f"x{i:04d}", kind="numeric", edges=edges, low=-3.0, high=3.0, std=1.0, slices=counts)
        for i in range(n_fields)
    )
    baseline = Baseline(
        model=MODEL,
        version=VERSION,
        rows=rows,
        slice_rows={name: int(rows * (1.0 if name == ALL else share)) for name in counts},
        dimensions=(SliceValues(name="country", source="context.country", values=values, trained=True),),
        fields=fields,
    )
    contract = Contract(
        model=MODEL,
        fields=tuple(Field(name=field.name, type="float", source=f"features.{field.name}") for field in fields),
    )
    return build_registry([(contract, 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])


def monitor_memory(told: Told) -> Told:
    """Feed panes one after the other, and tell memory and CPU time as they are sealed and judged."""
    registry = wide_registry(told["fields"], told["slices"])
    (baseline_id,) = registry.layouts
    layout = registry.layouts[baseline_id]
    empty_mib = memory_mib()[0]
    state = PartitionState(0, 1, TOPIC_ID, NoStore(), lambda: registry, live=False, clock=lambda: 0.0)
    rng = np.random.default_rng(SEED)
    samples: list[Told] = []
    offset = 0
    for i in range(told["panes"]):
        start_s = FIRST_S + 60 * i
        began = cpu_s()
        for j in range(PARTS_PER_PANE):
            read = (i * PARTS_PER_PANE + j) * EVENTS_PER_PART
            for part in _parts(layout, baseline_id, start_s, read, rng):
                if (dead := state.part(part, offset)) is not None:
                    raise RuntimeError(f"a part was refused: {dead.reason}")
                offset += 1
        merged = cpu_s()
        if i == 0:
            _seed_hours(state, told["hours"])
        sealed = PartitionProgress(
            partition=0,
            start=i * PARTS_PER_PANE * EVENTS_PER_PART,
            end=(i + 1) * PARTS_PER_PANE * EVENTS_PER_PART,
            newest_ms={MODEL: (start_s + 60) * 1000 - 1},
            oldest_ms=start_s * 1000,
        )
        record = Progress(
            source_topic_id=TOPIC_ID, source_partitions=1, counted_at_ms=(start_s + 60) * 1000, ranges=[sealed]
        )
        writes, _ = state.progress(record, offset)
        offset += 1
        rows = sum(len(each["pos"]) for each in (*writes.drift, *writes.rates)) if writes else 0
        rss, peak = memory_mib()
        samples.append(
            {"merge_s": merged - began, "seal_s": cpu_s() - merged, "rows": rows, "rss_mib": rss, "peak_mib": peak}
        )
        print(f"pane {i}: {samples[-1]}", file=sys.stderr, flush=True)
    return {"empty_mib": empty_mib, "samples": samples, "took_s": time.process_time()}


def _parts(layout: Layout, baseline_id: str, start_s: int, read: int, rng: np.random.Generator) -> list[Part]:
    """The parts of one flush, of so many fields each that a message of `parts` could hold them."""
    n_slices = layout.n_slices
    events = np.concatenate(
        ([EVENTS_PER_PART], rng.multinomial(EVENTS_PER_PART, [1 / (n_slices - 1)] * (n_slices - 1)))
    )
    values = rng.normal(size=EVENTS_PER_PART)
    sketch = numeric_sketch(False, "kll")
    sketch.update(values)
    data = sketch.to_bytes()
    cells = rng.multinomial(events, [1 / BINS] * BINS)
    step = max(1, 50_000 // n_slices // (BINS + TAIL + 1))
    found = []
    for first in range(0, layout.n_fields, step):
        until = min(first + step, layout.n_fields)
        one = np.concatenate((cells, np.zeros((n_slices, 1 + TAIL), dtype=np.int64)), axis=1)
        counts = np.concatenate((np.zeros((n_slices, HEADER), dtype=np.int64), np.tile(one, until - first)), axis=1)
        if first == 0:
            counts[:, EVENTS] = events
        found.append(
            Part(
                model=MODEL,
                version=VERSION,
                baseline_id=baseline_id,
                pane_start_s=start_s,
                pane_s=60,
                unregistered=False,
                source_topic_id=TOPIC_ID,
                ranges=[Range(0, read, read + EVENTS_PER_PART)],
                slice_from=0,
                slice_to=n_slices,
                field_from=first,
                field_to=until,
                counts=counts,
                moments=np.tile([values.sum(), (values**2).sum(), values.min(), values.max()], (until - first, 1)),
                sketches=[data] * (until - first),
            )
        )
    return found


def _seed_hours(state: Any, hours: int) -> None:
    """Give a monitor sums of the hours before its first pane, sixty times what that pane held."""
    for model in state._models.values():
        for series in model.series.values():
            (pane,) = series.panes.values()
            first = pane.start_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR
            for i in range(1, hours + 1):
                series.hours[first - i * SECONDS_PER_HOUR] = (pane.counts * 60).astype(pane.counts.dtype)


CHILDREN = {"monitor-memory": monitor_memory}


def measure_wide_monitor(world: World, figures: Figures, *, fields: int, slices: int, panes: int) -> None:
    """Follow one monitor until its windows are full."""
    found = world.run_child("monitor-memory", fields=fields, slices=slices, panes=panes, hours=23)
    samples = found["samples"]
    title = f"{fields:,} fields × {slices} slices"
    figures.add(
        WIDE,
        f"{title}: resident at most",
        samples[-1]["peak_mib"],
        "MiB",
        f"to be under 1,000; {samples[-1]['rss_mib']:.0f} MiB after {panes} panes, {found['empty_mib']:.0f} MiB before",
    )
    seal_s = [sample["seal_s"] for sample in samples[len(samples) // 2 :]]
    merge_s = [sample["merge_s"] for sample in samples]
    figures.add(
        WIDE,
        f"{title}: sealing and judging a pane, median",
        quantile(seal_s, 0.5),
        "s CPU",
        f"p99 {quantile(seal_s, 0.99):.3g} s",
    )
    figures.add(WIDE, f"{title}: merging the parts of a pane, median", quantile(merge_s, 0.5), "s CPU")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    monitor_memory({"fields": int(sys.argv[1]), "slices": int(sys.argv[2]), "panes": int(sys.argv[3]), "hours": 23})
