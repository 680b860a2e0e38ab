"""A day of panes through the whole chain: does memory stay flat, do verdicts come as fast at the end as at the start?

Broker, sketcher, recorder, monitor and engine as processes of their own, on the replay clock. A chunk of panes is
published, its verdicts are waited for, then comes the next: so each latency is of one chunk alone and not of a queue.
After each chunk every process is looked at: resident memory, open files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from barograph.events import MARK_HEADER

from benchmarks.figures import Figures, quantile
from benchmarks.growth_store import BenchmarkDatabase, register
from benchmarks.linear_fit import fit_line
from benchmarks.process_stats import (
    Cluster,
    ProcessorProcess,
    ProcessSample,
    find_pid,
    sample_process,
    send_all,
    terminating,
    wait_until,
)
from benchmarks.stack import Testbed
from benchmarks.synthetic_models import SyntheticModel, Templates, make_model, spread_times
from warehouse.client import Client

SOAK = "Soak: a day of panes"
DATABASE, PREFIX = "soak", "soak-"
PANES, EVENTS = 1_440, 2_000
PER_CHUNK = 4
"""Panes that are published at once: one flush of the sketcher, one commit of the monitor."""
PANE_S = 60
LIMIT_S = 440.0
"""The chain is given no more panes after so long; how many there were is told."""
POLL_INTERVAL_S = 0.02
"""How often ClickHouse is asked whether a chunk is judged: the error of a latency."""
WARM_UP = 0.25
"""Of the run is left out where slopes are fitted: interpreters, caches and the windows' own reach fill up in it."""
BLOCKS = 36
"""Samples are averaged in so many blocks before a slope is fitted: neighbours are alike, and would feign precision."""
FLAT_GROWTH = 0.1
"""Memory and open files are flat where they cannot grow by more than this share within another day of panes."""
STEADY = 1.25
"""Latency and CPU are steady where the last third has less than so many times the first one's after the warm-up."""
PROCESSORS = ("sketcher", "recorder", "monitor")


@dataclass
class SoakResult:
    """What was seen."""

    panes: list[int] = field(default_factory=list)
    """How many had been published at each sample."""
    latency_s: list[float] = field(default_factory=list)
    """From the last event's acknowledgement to the verdicts, per chunk."""
    rss_mib: dict[str, list[float]] = field(default_factory=dict)
    """Per process."""
    files: dict[str, list[float]] = field(default_factory=dict)
    threads: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: dict[str, list[float]] = field(default_factory=dict)
    """CPU time of each chunk."""
    load: list[float] = field(default_factory=list)
    """What else the machine had to do: processes that ran or waited, over the minute before each sample."""
    took_s: float = 0.0
    events: int = 0
    counted: int = 0
    """Events in the panes that were stored in the end."""
    recorded: int = 0
    """Raw rows in the end."""
    stored_bytes: dict[str, int] = field(default_factory=dict)
    """Of each table, merged, at the end."""
    stored_rows: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON's types."""
        return {
            "panes": self.panes,
            "latency_s": [round(each, 4) for each in self.latency_s],
            "rss_mib": {name: [round(each, 2) for each in subset] for name, subset in self.rss_mib.items()},
            "files": self.files,
            "threads": self.threads,
            "cpu_s": {name: [round(each, 4) for each in subset] for name, subset in self.cpu_s.items()},
            "load": self.load,
            "took_s": self.took_s,
            "events": self.events,
            "counted": self.counted,
            "recorded": self.recorded,
            "stored_bytes": self.stored_bytes,
            "stored_rows": self.stored_rows,
        }


@dataclass(frozen=True, slots=True)
class Trend:
    """How something changed over the run, warm-up left out."""

    mean: float
    per_day: float
    """By how much it grew per `PANES` panes, as the line has it."""
    low: float
    high: float
    """The interval of that at 95 %."""


def trend(panes: Sequence[float], values: Sequence[float]) -> Trend:
    """Fit a line through averages of blocks, the warm-up left out.

    Args:
        panes: shape (n,), ascending.
        values: shape (n,).
    """
    first = int(len(panes) * WARM_UP)
    retained = list(zip(panes[first:], values[first:], strict=True))
    size = max(1, len(retained) // BLOCKS)
    blocks = [retained[i : i + size] for i in range(0, len(retained) - size + 1, size)]
    x, y = [mean(p for p, _ in block) for block in blocks], [mean(v for _, v in block) for block in blocks]
    line = fit_line(x, y)
    return Trend(mean(y), line.slope * PANES, line.slope_low * PANES, line.slope_high * PANES)


def thirds(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The first and the last third of what follows the warm-up."""
    retained = list(values[int(len(values) * WARM_UP) :])
    n = max(1, len(retained) // 3)
    return retained[:n], retained[-n:]


def judge(soaked: SoakResult) -> dict[str, bool]:
    """Say of each goal whether it is met."""
    result = {}
    for name, values in soaked.rss_mib.items():
        known = trend(soaked.panes, values)
        result[f"{name}: memory flat"] = known.high <= FLAT_GROWTH * known.mean
    for name, values in soaked.files.items():
        known = trend(soaked.panes, values)
        result[f"{name}: no more open files"] = known.high <= FLAT_GROWTH * known.mean
    for name in PROCESSORS if soaked.cpu_s else ():
        early, late = thirds(soaked.cpu_s[name])
        result[f"{name}: CPU of a pane steady"] = mean(late) <= STEADY * mean(early)
    early, late = thirds(soaked.latency_s)
    result["latency steady"] = median(late) <= STEADY * median(early)
    result["every event counted once"] = soaked.counted == soaked.events
    result["every event recorded once"] = soaked.recorded == soaked.events
    return result


def soak(testbed: Testbed, *, panes: int = PANES, limit_s: float = LIMIT_S) -> SoakResult:
    """Run it."""
    model = make_model(dimensions=1, lateness_s=0, out_of_order_s=0)
    cluster = Cluster(testbed)
    topics = cluster.create_topics(PREFIX)
    register(testbed, DATABASE, [model])
    replay = {"clock": "replay", "flush_events": PER_CHUNK * EVENTS, "flush_s": 2.0}
    started = (
        ProcessorProcess(testbed, kind, "soak", database=DATABASE, prefix=PREFIX, **replay) for kind in PROCESSORS
    )
    with terminating(started) as processes, testbed.client(DATABASE) as client:
        for process in processes:
            process.wait_assigned()
        pids = {process.kind: process.pid for process in processes}
        pids |= {
            "engine": find_pid(testbed.folder, "local.http_gateway"),
            "broker": find_pid(testbed.folder, "kafka.Kafka"),
        }
        soaked = _publish(cluster, client, model, topics.predictions, pids, panes, limit_s)
        wait_until(lambda: _recorded(client) >= soaked.events, "the recorder has recorded all of it")
        soaked.recorded = _recorded(client)
        [(counted,)] = client.rows("SELECT sum(n) FROM volume FINAL WHERE slice = 'all'")
        soaked.counted = int(counted)
    with testbed.client(DATABASE) as client:
        stored = BenchmarkDatabase(testbed, DATABASE).stored(client)
    soaked.stored_bytes = {table: size for table, (_, size) in stored.items()}
    soaked.stored_rows = {table: rows for table, (rows, _) in stored.items()}
    return soaked


def _publish(
    cluster: Cluster,
    client: Client,
    model: SyntheticModel,
    topic: str,
    pids: dict[str, int],
    panes: int,
    limit_s: float,
) -> SoakResult:
    soaked = SoakResult()
    producer, templates = cluster.producer(), Templates(model, 5_000)
    start_s = (int(time.time()) // 86_400 - 1) * 86_400
    before = {name: sample_process(pid) for name, pid in pids.items()}
    began = time.monotonic()
    for first in range(0, panes, PER_CHUNK):
        if time.monotonic() - began > limit_s:
            break
        from_ms = 1_000 * (start_s + first * PANE_S)
        until_s = start_s + (first + PER_CHUNK) * PANE_S
        times = spread_times(PER_CHUNK * EVENTS, from_ms, 1_000 * until_s - 1)
        soaked.events += send_all(producer, topic, templates.events(times, soaked.events))
        written = time.monotonic()
        # Its last pane ends with the first event of the next chunk, or with the mark.
        wait_until(
            lambda until_s=until_s: _sealed(client) >= until_s - PANE_S, "a chunk is judged", pause_s=POLL_INTERVAL_S
        )
        soaked.latency_s.append(time.monotonic() - written)
        soaked.panes.append(first + PER_CHUNK)
        soaked.load.append(os.getloadavg()[0])
        for name, pid in pids.items():
            known = sample_process(pid)
            _record_sample(soaked, name, known, known.cpu_s - before[name].cpu_s)
            before[name] = known
    soaked.took_s = time.monotonic() - began
    send_all(producer, topic, [b""], headers=[(MARK_HEADER, b"end")])
    last_s = start_s + soaked.panes[-1] * PANE_S
    wait_until(lambda: _sealed(client) >= last_s, "the last pane is judged")
    return soaked


def _record_sample(soaked: SoakResult, name: str, seen: ProcessSample, cpu_s: float) -> None:
    soaked.rss_mib.setdefault(name, []).append(seen.rss_mib)
    soaked.files.setdefault(name, []).append(seen.files)
    soaked.threads.setdefault(name, []).append(seen.threads)
    soaked.cpu_s.setdefault(name, []).append(cpu_s)


def _sealed(client: Client) -> int:
    [(until,)] = client.rows("SELECT max(toUnixTimestamp(sealed_until)) FROM progress")
    return int(until)


def _recorded(client: Client) -> int:
    [(n,)] = client.rows("SELECT count() FROM predictions")
    return int(n)


def measure_soak(testbed: Testbed, figures: Figures, *, panes: int = PANES) -> SoakResult:
    """Run it, and tell what was found."""
    soaked = soak(testbed, panes=panes)
    n = soaked.panes[-1]
    short = "" if n == panes else f"; {panes:,} were asked for, and would take {soaked.took_s / n * panes:.0f} s"
    figures.add(SOAK, "panes", n, "panes", f"{soaked.events:,} events in {soaked.took_s:.0f} s{short}")
    for name, values in soaked.rss_mib.items():
        known = trend(soaked.panes, values)
        interval = f"{known.low:+.1f} to {known.high:+.1f} MiB in {PANES:,} more panes"
        figures.add(SOAK, f"memory of the {name}", known.mean, "MiB", interval)
    for name, values in soaked.files.items():
        early, late = thirds(values)
        figures.add(SOAK, f"open files of the {name}", median(late), "", f"{median(early):.0f} in the first third")
    for name, values in soaked.cpu_s.items():
        early, late = thirds(values)
        note = f"{1e3 * mean(early) / PER_CHUNK:.1f} ms in the first third"
        figures.add(SOAK, f"CPU of the {name} for a pane, last third", 1e3 * mean(late) / PER_CHUNK, "ms", note)
    for name, subset in zip(("first", "last"), thirds(soaked.latency_s), strict=True):
        note = f"p99 {quantile(subset, 0.99):.2f} s; {PER_CHUNK} panes at once"
        figures.add(SOAK, f"from the last event to the verdicts, {name} third", median(subset), "s", note)
    for goal, met in judge(soaked).items():
        figures.add(SOAK, goal, met, "", "met" if met else "NOT met")
    return soaked
