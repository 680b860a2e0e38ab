"""Many partitions and processes on one small machine, at a throttled rate: do the computations of `sizing` hold?

Eight sketchers share a topic of 64 partitions, two monitors 16 partitions of `parts`, one recorder reads all of it. The
rate is low enough that two cores carry everything; what each process takes is then mostly what it takes at any rate:
heartbeats, polls of a few events, flushes, progress records. Measured CPU is held against what the coefficients say,
which were measured one by one before.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from benchmarks.figures import Figures
from benchmarks.grown import Templates, grown
from benchmarks.growth_points import Growth
from benchmarks.growth_store import register
from benchmarks.sizing import Costs, Load
from benchmarks.throttled import Publishing
from benchmarks.watched import Cluster, Watched, find_pid, look_at, watched
from benchmarks.world import World

SIMULATION = "Many partitions and processes, measured against computed"
DATABASE, PREFIX = "simulated", "simulated-"
SOURCES, PARTS = 64, 16
SKETCHERS, MONITORS, MODELS = 8, 2, 4
RATES = (2_000.0, 8_000.0)
"""Events a second in all."""
SETTLE_S, COUNTED_S = 15.0, 60.0
"""A whole minute counts: each flush, each pane's end is in it once per minute."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The CPU of one kind of process at one rate."""

    kind: str
    processes: int
    events_per_s: float
    """That were really published."""
    measured: float
    """Of a core, the mean of one process."""
    low: float
    high: float
    """The least and the greatest of the processes."""
    computed: float

    @property
    def error(self) -> float:
        """Computed ÷ measured − 1."""
        return self.computed / self.measured - 1


@dataclass
class Simulated:
    """All of it."""

    found: list[Compared]

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON's types."""
        setting = {"sources": SOURCES, "parts": PARTS, "sketchers": SKETCHERS, "monitors": MONITORS, "models": MODELS}
        return {"setting": setting, "found": [{**asdict(each), "error": each.error} for each in self.found]}


def simulate(world: World, growth: Growth, rates: Sequence[float] = RATES) -> Simulated:
    """Run it at each rate."""
    cluster, base = Cluster(world), grown()
    models = [base.named(f"simulated-{i}") for i in range(MODELS)]
    topics = cluster.create_topics(PREFIX, sources=SOURCES, parts=PARTS)
    register(world, DATABASE, models)
    templates = [Templates(model, 2_000, i + 1) for i, model in enumerate(models)]
    engine = find_pid(world.folder, "local.door")
    kinds = ["sketcher"] * SKETCHERS + ["monitor"] * MONITORS + ["recorder"]
    found: list[Compared] = []
    with watched(
        Watched(world, kind, f"{kind}-{i}", database=DATABASE, prefix=PREFIX) for i, kind in enumerate(kinds)
    ) as processes:
        at_once = {"sketcher": SOURCES // SKETCHERS, "monitor": PARTS // MONITORS, "recorder": SOURCES}
        _settle(processes, at_once)
        for rate in rates:
            publishing = Publishing(cluster.producer(), topics.predictions, templates, rate, partitions=SOURCES)
            publishing.start()
            time.sleep(SETTLE_S)
            spent, published = _spent([process.pid for process in processes] + [engine], publishing)
            publishing.stop()
            found += _compare(growth, [*kinds, "engine"], spent, published)
    return Simulated(found)


def _settle(processes: Sequence[Watched], at_once: dict[str, int]) -> None:
    """Wait until every process has its share of the partitions: a group shares out again with each that joins."""
    while True:
        for process in processes:
            process.wait_assigned(1)
        if all(len(process.wait_assigned(1)) <= at_once[process.kind] + 1 for process in processes):
            return
        time.sleep(0.5)


def _spent(pids: Sequence[int], publishing: Publishing) -> tuple[list[float], float]:
    """The share of a core that each process takes over the counted time, and the rate that was published."""
    began, n = time.monotonic(), publishing.n
    before = [look_at(pid).cpu_s for pid in pids]
    time.sleep(COUNTED_S)
    after = [look_at(pid).cpu_s for pid in pids]
    took_s = time.monotonic() - began
    return [(b - a) / took_s for a, b in zip(before, after, strict=True)], (publishing.n - n) / took_s


def _compare(growth: Growth, kinds: Sequence[str], spent: Sequence[float], rate: float) -> list[Compared]:
    costs, load = Costs(growth), Load(events_per_s=rate, models=MODELS)
    cores, _ = costs.monitor_cores(load, SKETCHERS, SOURCES, PARTS)
    computed = {
        "sketcher": costs.sketcher_share(load, SKETCHERS, SOURCES, PARTS),
        "monitor": costs.monitor_waiting(PARTS, MONITORS) + cores / MONITORS,
        "recorder": costs.recorder_share(load, 1),
        "engine": costs.engine_cores(load, PARTS, recorders=1, processes=SKETCHERS + MONITORS + 1),
    }
    found = []
    for kind, share in computed.items():
        of_kind = [each for name, each in zip(kinds, spent, strict=True) if name == kind]
        found.append(Compared(kind, len(of_kind), rate, mean(of_kind), min(of_kind), max(of_kind), share))
    return found


def measure_simulation(world: World, growth: Growth, figures: Figures) -> Simulated:
    """Run it, and tell what was found."""
    simulated = simulate(world, growth)
    for each in simulated.found:
        note = f"computed {100 * each.computed:.1f} %: {100 * each.error:+.0f} %"
        if each.processes > 1:
            note += f"; {100 * each.low:.1f} to {100 * each.high:.1f} % in {each.processes} processes"
        name = f"{each.kind} at {each.events_per_s:,.0f} events/s"
        figures.add(SIMULATION, name, 100 * each.measured, "% of a core", note)
    return simulated
