"""What a recorded row costs the recorder, for all of the predictions and for a share of them, from Kafka to ClickHouse.

The insert itself is the engine's work, in a process of its own, and not counted.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from benchmarks.children import Clock, Told, memory_mib, profiled
from benchmarks.figures import Figures, spread
from benchmarks.workload import Workload, json_events
from benchmarks.world import World
from streams.batch import MessageBatch
from streams.raw_json import RawJson
from streams.recorder import GROUP
from streams.registry import Registry
from streams.topics import Topics
from warehouse.client import Address

RECORDER = "The recorder"
SHARES = (1.0, 0.1, 0.01)
"""Of `raw: share` in the contract."""
PREFIX = "record-"
SPAN_MS = 600_000
"""Event times of the topic: the ten minutes before it was written."""


class _Id(msgspec.Struct, gc=False):
    id: str


def recorder(told: Told) -> Told:
    """The recorder as `streams.run` puts it together, until it has committed a number of rows."""
    from streams.process import configure_logging
    from streams.recorder import Recorder
    from streams.registry_source import RegistrySource
    from streams.report import Report, Reporter
    from streams.settings import ProcessorSettings

    configure_logging("warning")
    stop, found = threading.Event(), {}

    class Counting(Report):
        def committed(self, events: int, outcome: str, dead_letters: Mapping[str, int] | None = None) -> None:
            super().committed(events, outcome, dead_letters)
            if self.events >= told["rows"]:
                found.update(clock.read(self.events))
                stop.set()

    report = Counting("recorder", "benchmark")
    settings = ProcessorSettings(
        instance="benchmark",
        bootstrap_servers=told["bootstrap_servers"],
        warehouse=Address(told["host"], told["port"], told["database"]),
        topics=Topics(told["prefix"]),
    )
    source = RegistrySource(settings.warehouse, settings.registry_poll_s)
    source.start()
    reporter = Reporter(report, settings.warehouse, settings.report_s)
    reporter.start()
    process = Recorder(settings, source.current, report)
    _warm_up(source.current(), told["warm"].encode())
    clock = Clock()
    if told.get("profile"):
        profiled(lambda: process.run(stop), Path(told["profile"]))
    else:
        process.run(stop)
    source.stop()
    reporter.stop()
    rss, peak = memory_mib()
    return {**found, "rss_mib": rss, "peak_mib": peak}


def _warm_up(registry: Registry, event: bytes) -> None:
    """Make a row of one event, so that what libraries import at their first use is not measured."""
    now_ms = np.array([time.time_ns() // 1_000_000])
    RawJson(registry).rows(MessageBatch([event], np.zeros(1, np.int32), np.zeros(1, np.int64), now_ms))


CHILDREN = {"recorder": recorder}


def measure_recorder(world: World, workload: Workload, figures: Figures, *, events: int, runs: int) -> None:
    """Let recorders read one topic from its start under contracts of several shares, in turns with librdkafka alone."""
    for share in SHARES:
        contract = msgspec.structs.replace(workload.contract, raw_share=share)
        world.register(_database(share), replace(workload, contract=contract))
    topics = world.create_topics(PREFIX)
    now_ms = int(time.time() * 1000)
    rows = dict.fromkeys(SHARES, 0)
    sent = _counted(json_events(workload, events, now_ms - SPAN_MS, now_ms), rows)
    world.fill(topics.predictions, sent)
    cost_us: dict[float, list[float]] = {share: [] for share in SHARES}
    floor_us, peaks = [], []
    for _ in range(runs):
        bare = world.run_child("consume", topic=topics.predictions, messages=events)
        floor_us.append(bare["cpu_s"] / events * 1e6)
        for share in SHARES:
            found = run_recorder(world, workload, share, rows[share])
            cost_us[share].append(found["cpu_s"] / events * 1e6)
            if share == 1:
                peaks.append(found["peak_mib"])
    rates = [1e6 / each for each in cost_us[1.0]]
    features = len(workload.numbers) + len(workload.texts)
    figures.add(
        RECORDER,
        f"rows of {features} features per CPU-second ({events:,} events)",
        median(rates),
        "rows",
        f"to be at least 100,000; {spread(rates)}",
    )
    figures.add(RECORDER, "librdkafka alone: consume and forget", median(floor_us), "µs/event", spread(floor_us))
    for share in SHARES:
        above = [(cost - floor) for cost, floor in zip(cost_us[share], floor_us, strict=True)]
        whole = [(cost - floor) for cost, floor in zip(cost_us[1.0], floor_us, strict=True)]
        ratio = median(part / all_ for part, all_ in zip(above, whole, strict=True))
        figures.add(
            RECORDER,
            f"raw share {share:g}",
            median(cost_us[share]),
            "µs/event",
            f"{spread(cost_us[share])}; {ratio:.0%} of the whole's cost beyond librdkafka's",
        )
    figures.add(RECORDER, "memory at most", median(peaks), "MiB", spread(peaks))


def run_recorder(
    world: World, workload: Workload, share: float, rows: int, *, profile: Path | None = None
) -> dict[str, Any]:
    """Let a new recorder read the topic from its start until it has written so many rows."""
    world.forget_group(f"{PREFIX}{GROUP}")
    now_ms = int(time.time() * 1000)
    return world.run_child(
        "recorder",
        prefix=PREFIX,
        database=_database(share),
        rows=rows,
        warm=next(json_events(workload, 1, now_ms, now_ms)).decode(),
        profile=str(profile) if profile else "",
    )


def _database(share: float) -> str:
    return f"recorder_{round(share * 1000):04d}"


def _counted(events: Iterator[bytes], rows: dict[float, int]) -> Iterator[bytes]:
    """Pass events on and count of how many each share keeps a row."""
    decode = msgspec.json.Decoder(_Id).decode
    for event in events:
        code = zlib.crc32(decode(event).id.encode())
        for share in rows:
            rows[share] += code < share * 2**32
        yield event
