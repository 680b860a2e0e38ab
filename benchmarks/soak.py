"""A soak test: a day of panes through all processors, to check that memory, open files and latency stay constant.

Broker, sketcher, recorder, monitor and engine run as separate processes with the replay clock. Each chunk of panes is
published after the verdicts of the chunk before, so that a latency is that of one chunk and not of a queue. After each
chunk every process is sampled.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import mean, median

from barograph.events import MARK_HEADER

from barograph_server.warehouse.client import Client
from benchmarks.figures import Figures, quantile
from benchmarks.growth_store import BenchmarkDatabase, register
from benchmarks.linear_fit import fit_line
from benchmarks.process_stats import ProcessSample, find_pid, sample_process
from benchmarks.processor_process import ProcessorProcess, terminating
from benchmarks.stack import Testbed, wait_until
from benchmarks.synthetic_models import SyntheticModel, Templates, make_model, spread_times

SOAK = "Soak: a day of panes"
DATABASE, PREFIX = "soak", "soak-"
PANES, EVENTS = 1_440, 2_000
PER_CHUNK = 4
"""Panes per chunk: one flush of the sketcher, one commit of the monitor."""
PANE_S = 60
LIMIT_S = 440.0
"""No more chunks are published after this time; the result reports how many panes there were."""
POLL_INTERVAL_S = 0.02
"""Interval between queries for verdicts, which is the resolution of a latency."""
WARM_UP = 0.25
"""Share of the run that is excluded from trends: interpreters, caches and windows fill up in it."""
BLOCKS = 36
"""Number of blocks over which samples are averaged before a fit, because samples are autocorrelated."""
FLAT_GROWTH = 0.1
"""Memory and open files are flat if the interval of their growth in another day of panes is at most this share."""
STEADY = 1.25
"""Latency and CPU are steady if their ratio between the last and the first third after the warm-up is at most this."""
PROCESSORS = ("sketcher", "recorder", "monitor")


@dataclass
class SoakResult:
    """The measurements of a soak test."""

    panes: list[int] = field(default_factory=list)
    """Number of published panes at each sample."""
    latency_s: list[float] = field(default_factory=list)
    """Time from the acknowledgement of the last event to the verdicts, per chunk."""
    rss_mib: dict[str, list[float]] = field(default_factory=dict)
    """Process → resident memory at each sample."""
    files: dict[str, list[float]] = field(default_factory=dict)
    """Process → open files at each sample."""
    threads: dict[str, list[float]] = field(default_factory=dict)
    """Process → threads at each sample."""
    cpu_s: dict[str, list[float]] = field(default_factory=dict)
    """Process → CPU time per chunk."""
    load: list[float] = field(default_factory=list)
    """Load average of the machine over the minute before each sample."""
    took_s: float = 0.0
    events: int = 0
    """Number of published events."""
    counted: int = 0
    """Events in the stored panes at the end."""
    recorded: int = 0
    """Raw rows at the end."""
    stored_bytes: dict[str, int] = field(default_factory=dict)
    """Table → bytes on disk after merging, at the end."""
    stored_rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trend:
    """Change of a measurement over the run without the warm-up."""

    mean: float
    per_day: float
    """Growth per `PANES` panes according to the fitted line."""
    low: float
    """Lower bound of the growth at 95 %."""
    high: float
    """Upper bound of the growth at 95 %."""


def trend(panes: Sequence[float], values: Sequence[float]) -> Trend:
    """Fit a line through averages of blocks without the warm-up.

    Args:
        panes: shape (n,), ascending.
        values: shape (n,).
    """
    first = int(len(panes) * WARM_UP)
    samples = list(zip(panes[first:], values[first:], strict=True))
    size = max(1, len(samples) // BLOCKS)
    blocks = [samples[i : i + size] for i in range(0, len(samples) - size + 1, size)]
    x, y = [mean(p for p, _ in block) for block in blocks], [mean(v for _, v in block) for block in blocks]
    line = fit_line(x, y)
    return Trend(mean(y), line.slope * PANES, line.slope_low * PANES, line.slope_high * PANES)


def thirds(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The first and the last third after the warm-up."""
    samples = list(values[int(len(values) * WARM_UP) :])
    n = max(1, len(samples) // 3)
    return samples[:n], samples[-n:]


def judge(soaked: SoakResult) -> dict[str, bool]:
    """Goal → whether it is met."""
    result = {}
    for name, values in soaked.rss_mib.items():
        fit = trend(soaked.panes, values)
        result[f"{name}: memory flat"] = fit.high <= FLAT_GROWTH * fit.mean
    for name, values in soaked.files.items():
        fit = trend(soaked.panes, values)
        result[f"{name}: no more open files"] = fit.high <= FLAT_GROWTH * fit.mean
    for name in PROCESSORS if soaked.cpu_s else ():
        early, late = thirds(soaked.cpu_s[name])
        result[f"{name}: CPU of a pane steady"] = mean(late) <= STEADY * mean(early)
    early, late = thirds(soaked.latency_s)
    result["latency steady"] = median(late) <= STEADY * median(early)
    result["every event counted once"] = soaked.counted == soaked.events
    result["every event recorded once"] = soaked.recorded == soaked.events
    return result


def soak(testbed: Testbed) -> SoakResult:
    """Run the soak test."""
    model = make_model(dimensions=1, lateness_s=0, out_of_order_s=0)
    topics = testbed.create_topics(PREFIX)
    register(testbed, DATABASE, [model])
    replay = {"clock": "replay", "flush_events": PER_CHUNK * EVENTS, "flush_s": 2.0}
    started = (
        ProcessorProcess(testbed, kind, "soak", database=DATABASE, prefix=PREFIX, **replay) for kind in PROCESSORS
    )
    with terminating(started) as processes, testbed.client(DATABASE) as client:
        for process in processes:
            process.wait_assigned()
        pids = {process.kind: process.pid for process in processes}
        pids |= {"engine": testbed.engine_pid, "broker": find_pid(testbed.folder, "kafka.Kafka")}
        soaked = _publish(testbed, client, model, topics.predictions, pids)
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
    testbed: Testbed,
    client: Client,
    model: SyntheticModel,
    topic: str,
    pids: dict[str, int],
) -> SoakResult:
    soaked = SoakResult()
    templates = Templates(model, 5_000)
    start_s = (int(time.time()) // 86_400 - 1) * 86_400
    before = {name: sample_process(pid) for name, pid in pids.items()}
    began = time.monotonic()
    for first in range(0, PANES, PER_CHUNK):
        if time.monotonic() - began > LIMIT_S:
            break
        from_ms = 1_000 * (start_s + first * PANE_S)
        until_s = start_s + (first + PER_CHUNK) * PANE_S
        times = spread_times(PER_CHUNK * EVENTS, from_ms, 1_000 * until_s - 1)
        n, _ = testbed.fill(topic, templates.events(times, soaked.events))
        soaked.events += n
        written = time.monotonic()
        # The last pane of a chunk ends with the first event of the next chunk, or with the end marker.
        wait_until(partial(_is_sealed, client, until_s - PANE_S), "a chunk is judged", pause_s=POLL_INTERVAL_S)
        soaked.latency_s.append(round(time.monotonic() - written, 4))
        soaked.panes.append(first + PER_CHUNK)
        soaked.load.append(os.getloadavg()[0])
        for name, pid in pids.items():
            sample = sample_process(pid)
            _record_sample(soaked, name, sample, sample.cpu_s - before[name].cpu_s)
            before[name] = sample
    soaked.took_s = time.monotonic() - began
    testbed.fill(topic, [b""], [(MARK_HEADER, b"end")])
    last_s = start_s + soaked.panes[-1] * PANE_S
    wait_until(partial(_is_sealed, client, last_s), "the last pane is judged")
    return soaked


def _record_sample(soaked: SoakResult, name: str, sample: ProcessSample, cpu_s: float) -> None:
    soaked.rss_mib.setdefault(name, []).append(round(sample.rss_mib, 2))
    soaked.files.setdefault(name, []).append(sample.files)
    soaked.threads.setdefault(name, []).append(sample.threads)
    soaked.cpu_s.setdefault(name, []).append(round(cpu_s, 4))


def _is_sealed(client: Client, until_s: int) -> bool:
    [(sealed_until_s,)] = client.rows("SELECT max(toUnixTimestamp(sealed_until)) FROM progress")
    return int(sealed_until_s) >= until_s


def _recorded(client: Client) -> int:
    [(n,)] = client.rows("SELECT count() FROM predictions")
    return int(n)


def measure_soak(testbed: Testbed, figures: Figures) -> SoakResult:
    """Run the soak test and add its figures."""
    soaked = soak(testbed)
    n = soaked.panes[-1]
    short = "" if n == PANES else f"; {PANES:,} were planned, and would take {soaked.took_s / n * PANES:.0f} s"
    figures.add(SOAK, "panes", n, "panes", f"{soaked.events:,} events in {soaked.took_s:.0f} s{short}")
    for name, values in soaked.rss_mib.items():
        fit = trend(soaked.panes, values)
        interval = f"{fit.low:+.1f} to {fit.high:+.1f} MiB in {PANES:,} more panes"
        figures.add(SOAK, f"memory of the {name}", fit.mean, "MiB", interval)
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
