"""Many partitions and processes on one small machine, at a throttled rate: do the computations of `sizing` hold?

Eight sketchers share a topic of 64 partitions, two monitors 16 partitions of `partials`, one recorder reads all of it. The
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
from benchmarks.growth_measurement import Growth
from benchmarks.growth_store import register
from benchmarks.process_stats import Cluster, Watched, find_pid, look_at, watched
from benchmarks.sizing import Costs, Load
from benchmarks.stack import World
from benchmarks.steady_publisher import Publishing
from benchmarks.synthetic_models import Templates, grown

SIMULATION = "Many partitions and processes, measured against computed"
DATABASE, PREFIX = "simulated", "simulated-"
SOURCES, PARTS = 64, 16
SKETCHERS, MONITORS, MODELS = 8, 2, 4
SETTING = {"sources": SOURCES, "parts": PARTS, "sketchers": SKETCHERS, "monitors": MONITORS, "models": MODELS}
RATES = (2_000.0, 8_000.0)
"""Events a second in all."""
SETTLE_S, COUNTED_S = 15.0, 60.0
"""A whole minute counts: each flush, each pane's end is in it once per minute."""


@dataclass(frozen=True, slots=True)
class Measured:
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


@dataclass
class Simulated:
    """All of it."""

    found: list[Measured]

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON's types."""
        return {"setting": SETTING, "found": [asdict(each) for each in self.found]}


def simulate(world: World, rates: Sequence[float] = RATES) -> Simulated:
    """Run it at each rate."""
    cluster, base = Cluster(world), grown()
    models = [base.named(f"simulated-{i}") for i in range(MODELS)]
    topics = cluster.create_topics(PREFIX, sources=SOURCES, partials=PARTS)
    register(world, DATABASE, models)
    templates = [Templates(model, 2_000, i + 1) for i, model in enumerate(models)]
    engine = find_pid(world.folder, "local.http_gateway")
    kinds = ["sketcher"] * SKETCHERS + ["monitor"] * MONITORS + ["recorder"]
    result: list[Measured] = []
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
            result += _measured([*kinds, "engine"], spent, published)
    return Simulated(result)


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


def computed(growth: Growth, setting: dict[str, int], rate: float) -> dict[str, float]:
    """What the coefficients say of each kind of process, as a share of a core."""
    sketchers, monitors, parts = setting["sketchers"], setting["monitors"], setting["parts"]
    costs, load = Costs(growth), Load(events_per_s=rate, models=setting["models"])
    cores, _ = costs.monitor_cores(load, sketchers, setting["sources"], parts)
    return {
        "sketcher": costs.sketcher_share(load, sketchers, setting["sources"], parts),
        "monitor": costs.monitor_waiting(parts, monitors) + cores / monitors,
        "recorder": costs.recorder_share(load, 1),
        "engine": costs.engine_cores(load, parts, sketchers=sketchers, recorders=1, monitors=monitors),
    }


def _measured(kinds: Sequence[str], spent: Sequence[float], rate: float) -> list[Measured]:
    result = []
    for kind in dict.fromkeys(kinds):
        of_kind = [each for name, each in zip(kinds, spent, strict=True) if name == kind]
        result.append(Measured(kind, len(of_kind), rate, mean(of_kind), min(of_kind), max(of_kind)))
    return result


def measure_simulation(world: World, growth: Growth, figures: Figures) -> Simulated:
    """Run it, and tell what was found."""
    simulated = simulate(world)
    for each in simulated.found:
        share = computed(growth, SETTING, each.events_per_s)[each.kind]
        note = f"computed {100 * share:.1f} %: {100 * (share / each.measured - 1):+.0f} %"
        if each.processes > 1:
            note += f"; {100 * each.low:.1f} to {100 * each.high:.1f} % in {each.processes} processes"
        name = f"{each.kind} at {each.events_per_s:,.0f} events/s"
        figures.add(SIMULATION, name, 100 * each.measured, "% of a core", note)
    return simulated
