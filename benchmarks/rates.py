"""The sketcher against Faust's bare loop on the same topic, with the floors below both, and its memory."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from benchmarks.figures import Figures, spread
from benchmarks.workload import (
    ARROW_HEADERS,
    ARROW_ROWS,
    MODEL,
    VERSION,
    Workload,
    arrow_messages,
    json_events,
)
from benchmarks.world import World
from streams.batch import MessageBatch
from streams.decode_json import JsonDecoder
from streams.sketcher import GROUP
from streams.summarise import FlushSummaries

RATES = "Rate per CPU-second"
STAGES = "Where the sketcher's time goes"
MEMORY = "The sketcher's memory"
DATABASE = "rates"
SPAN_MS = 600_000
"""Event times of a topic: the ten minutes before it was written."""
FLUSH_S = 2.0
"""Of the sketcher whose rate is measured, so that a run of a few seconds pays for several commits. The default of
15 s pays less often."""


def _span() -> tuple[int, int]:
    now_ms = int(time.time() * 1000)
    return now_ms - SPAN_MS, now_ms


def measure_rates(
    world: World, workload: Workload, figures: Figures, *, events: int, faust_events: int, arrow_events: int, runs: int
) -> None:
    """Compare the sketcher with Faust, librdkafka and msgspec alone, in turns; then its Arrow path."""
    topics = world.create_topics("rate-")
    n, size = world.fill(topics.predictions, json_events(workload, events, *_span()))
    figures.about["events"] = (
        f"{size / n:.0f} bytes of JSON on average, {len(workload.numbers)} numeric and {len(workload.texts)} "
        f"categorical features and a score, {len(workload.texts)} slice dimensions with "
        f"{sum(len(d.values) + 1 for d in workload.baseline.dimensions)} slices, 1 partition, lz4"
    )
    sample = list(json_events(workload, 100_000, *_span()))
    found: dict[str, list[float]] = {name: [] for name in ("consume", "decode", "sketcher", "faust", "arrow")}
    stages: dict[str, list[float]] = {}
    for _ in range(runs):
        found["consume"].append(_rate(world.run_child("consume", topic=topics.predictions, messages=events)))
        found["decode"].append(_bare_decode(workload, sample))
        found["sketcher"].append(_rate(run_sketcher(world, workload, "rate-", events)))
        found["faust"].append(
            _rate(
                world.run_child(
                    "faust", topic=topics.predictions, messages=faust_events, group=f"faust-{uuid.uuid4().hex[:8]}"
                )
            )
        )
        for name, spent_us in _stages(workload, sample).items():
            stages.setdefault(name, []).append(spent_us)
    names = {
        "faust": f"Faust, empty loop ({faust_events:,} events)",
        "sketcher": f"sketcher, JSON ({events:,} events)",
        "consume": "librdkafka alone: consume and forget",
        "decode": "msgspec alone: decode into the contract's struct",
    }
    for name, title in names.items():
        figures.add(RATES, title, median(found[name]), "events", spread(found[name]))
    ratios = [s / f for s, f in zip(found["sketcher"], found["faust"], strict=True)]
    figures.add(RATES, "**sketcher ÷ Faust**", median(ratios), "×", f"to be at least 10; {spread(ratios)}")
    _measure_arrow(world, workload, figures, arrow_events, runs)
    whole_us = 1e6 / median(found["sketcher"])
    for name, spent in stages.items():
        figures.add(STAGES, name, median(spent), "µs/event")
    figures.add(
        STAGES,
        "fetching, sorting, commits: the rest",
        whole_us - sum(median(spent) for spent in stages.values()),
        "µs/event",
        f"of {whole_us:.2f} in all",
    )


def _measure_arrow(world: World, workload: Workload, figures: Figures, events: int, runs: int) -> None:
    topics = world.create_topics("arrow-")
    world.fill(topics.predictions, arrow_messages(workload, events, *_span()), ARROW_HEADERS)
    rates = [_rate(run_sketcher(world, workload, "arrow-", events)) for _ in range(runs)]
    name = f"sketcher, Arrow batches of {ARROW_ROWS:,} ({events:,} events)"
    figures.add(RATES, name, median(rates), "events", spread(rates))


def measure_memory(world: World, workload: Workload, figures: Figures, *, events: int) -> None:
    """Follow one sketcher with its default settings over many events."""
    topics = world.create_topics("memory-")
    world.fill(topics.predictions, json_events(workload, events, *_span()))
    found = run_sketcher(world, workload, "memory-", events, flush_s=15.0)
    samples = found["samples"]
    for target in range(1_000_000, events + 1, 1_000_000):
        sample = next(s for s in samples if s["events"] >= target)
        name = f"after {sample['events'] / 1e6:.2g} M events"
        figures.add(MEMORY, name, sample["rss_mib"], "MiB", f"peak so far {sample['peak_mib']:.0f} MiB")
    rate = found["events"] / found["wall_s"]
    figures.add(MEMORY, "rate meanwhile, by the wall clock", rate, "events/s", "start of the group included")


def run_sketcher(
    world: World, workload: Workload, prefix: str, events: int, *, flush_s: float = FLUSH_S, profile: Path | None = None
) -> dict[str, Any]:
    """Let a new sketcher read a topic from its start."""
    world.forget_group(f"{prefix}{GROUP}")
    return world.run_child(
        "sketcher",
        prefix=prefix,
        database=DATABASE,
        events=events,
        flush_s=flush_s,
        warm=next(json_events(workload, 1, *_span())).decode(),
        profile=str(profile) if profile else "",
    )


def _rate(found: dict[str, Any]) -> float:
    return float(found["events"] / found["cpu_s"])


def _bare_decode(workload: Workload, sample: list[bytes]) -> float:
    """Decode into one struct per event with the members that the contract watches, and keep nothing."""
    features: list[tuple[str, Any, Any]] = [(name, float | None, None) for name in workload.numbers]
    features += [(name, str | None, None) for name in workload.texts]
    inner: Any = msgspec.defstruct("Features", features, gc=False)
    members: list[Any] = [("model", str), ("version", str), ("id", str), ("at", int)]
    outer: Any = msgspec.defstruct("Event", [*members, ("features", inner), ("score", float | None, None)], gc=False)
    decode = msgspec.json.Decoder(outer).decode
    began = time.process_time()
    for event in sample:
        decode(event)
    return len(sample) / (time.process_time() - began)


def _stages(workload: Workload, sample: list[bytes]) -> dict[str, float]:
    """Time the sketcher's two calculations alone, in µs per event."""
    registry = workload.registry()
    decoder, summaries = JsonDecoder(registry), FlushSummaries(registry)
    now_ms = int(time.time() * 1000)
    decode_s = summarise_s = 0.0
    for start in range(0, len(sample), 20_000):
        values: list[bytes | None] = list(sample[start : start + 20_000])
        n = len(values)
        offsets = np.arange(start, start + n, dtype=np.int64)
        batch = MessageBatch(values, np.zeros(n, np.int32), offsets, np.full(n, now_ms, np.int64))
        began = time.process_time()
        decoded = decoder.decode(batch)
        decode_s += time.process_time() - began
        if decoded.dead:
            raise RuntimeError(f"an event of model {MODEL} version {VERSION} was refused: {decoded.dead[0].detail}")
        began = time.process_time()
        for columns in decoded.events:
            summaries.add(columns)
        summarise_s += time.process_time() - began
    scale = 1e6 / len(sample)
    return {
        "JSON into columns (streams/decode_json.py)": decode_s * scale,
        "columns into counts and sketches (streams/summarise.py)": summarise_s * scale,
    }
