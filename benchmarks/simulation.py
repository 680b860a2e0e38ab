"""Many partitions and processes on one small machine at a low rate, to check the estimates of `benchmarks.sizing`.

Eight sketchers share a topic of 64 partitions, two monitors share 16 partitions of `partials`, one recorder reads
everything. The rate is low enough for two cores; most CPU time is then independent of the rate: heartbeats, polls of a
few events, flushes, progress records. The measured CPU time is compared with the estimate from separately measured
coefficients.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.figures import Figures
from benchmarks.growth_measurement import Growth
from benchmarks.growth_store import register
from benchmarks.process_stats import sample_process
from benchmarks.processor_process import ProcessorProcess, terminating
from benchmarks.sizing import Costs, Load
from benchmarks.stack import Testbed
from benchmarks.steady_publisher import SteadyPublisher
from benchmarks.synthetic_models import Templates, make_model

SIMULATION = "Many partitions and processes, measured against computed"
DATABASE, PREFIX = "simulated", "simulated-"
SOURCES, PARTIALS = 64, 16
SKETCHERS, MONITORS, MODELS = 8, 2, 4
SETTING = {"sources": SOURCES, "partials": PARTIALS, "sketchers": SKETCHERS, "monitors": MONITORS, "models": MODELS}
RATES = (2_000.0, 8_000.0)
"""Total events per second."""
SETTLE_S, COUNTED_S = 15.0, 60.0
"""Warm-up, and a whole minute that counts, so that it contains every flush and the end of a pane."""


@dataclass(frozen=True, slots=True)
class CpuShare:
    """The CPU of one kind of process at one rate."""

    kind: str
    processes: int
    events_per_s: float
    """The rate that was actually published."""
    measured: float
    """Share of a core, the mean of the processes."""
    low: float
    """Minimum of the processes."""
    high: float
    """Maximum of the processes."""


def simulate(testbed: Testbed) -> list[CpuShare]:
    """Run the simulation at each rate."""
    base = make_model()
    models = [base.named(f"simulated-{i}") for i in range(MODELS)]
    topics = testbed.create_topics(PREFIX, SOURCES, partials=PARTIALS)
    register(testbed, DATABASE, models)
    templates = [Templates(model, 2_000, i + 1) for i, model in enumerate(models)]
    kinds = ["sketcher"] * SKETCHERS + ["monitor"] * MONITORS + ["recorder"]
    result: list[CpuShare] = []
    with terminating(
        ProcessorProcess(testbed, kind, f"{kind}-{i}", database=DATABASE, prefix=PREFIX) for i, kind in enumerate(kinds)
    ) as processes:
        at_once = {"sketcher": SOURCES // SKETCHERS, "monitor": PARTIALS // MONITORS, "recorder": SOURCES}
        _settle(processes, at_once)
        for rate in RATES:
            publisher = SteadyPublisher(testbed.producer(), topics.predictions, templates, rate, partitions=SOURCES)
            publisher.start()
            time.sleep(SETTLE_S)
            spent, published = _spent([process.pid for process in processes] + [testbed.engine_pid], publisher)
            publisher.stop()
            result += _measured([*kinds, "engine"], spent, published)
    return result


def _settle(processes: Sequence[ProcessorProcess], at_once: dict[str, int]) -> None:
    """Wait until every process has its share of the partitions: a group rebalances with each new member."""
    while True:
        for process in processes:
            process.wait_assigned(1)
        if all(len(process.wait_assigned(1)) <= at_once[process.kind] + 1 for process in processes):
            return
        time.sleep(0.5)


def _spent(pids: Sequence[int], publisher: SteadyPublisher) -> tuple[list[float], float]:
    """The share of a core of each process over the counted time, and the published rate (events/s)."""
    began, n = time.monotonic(), publisher.n
    before = [sample_process(pid).cpu_s for pid in pids]
    time.sleep(COUNTED_S)
    after = [sample_process(pid).cpu_s for pid in pids]
    took_s = time.monotonic() - began
    return [(b - a) / took_s for a, b in zip(before, after, strict=True)], (publisher.n - n) / took_s


def computed(growth: Growth, setting: dict[str, int], rate: float) -> dict[str, float]:
    """The estimate for each kind of process, as a share of a core."""
    sketchers, monitors, partials = setting["sketchers"], setting["monitors"], setting["partials"]
    costs, load = Costs(growth), Load(events_per_s=rate, models=setting["models"])
    cores, _ = costs.monitor_cores(load, sketchers, setting["sources"], partials)
    return {
        "sketcher": costs.sketcher_share(load, sketchers, setting["sources"], partials),
        "monitor": costs.monitor_waiting(partials, monitors) + cores / monitors,
        "recorder": costs.recorder_share(load, 1),
        "engine": costs.engine_cores(load, partials, sketchers=sketchers, recorders=1, monitors=monitors),
    }


def _measured(kinds: Sequence[str], spent: Sequence[float], rate: float) -> list[CpuShare]:
    result = []
    for kind in dict.fromkeys(kinds):
        of_kind = [each for name, each in zip(kinds, spent, strict=True) if name == kind]
        result.append(CpuShare(kind, len(of_kind), rate, mean(of_kind), min(of_kind), max(of_kind)))
    return result


def measure_simulation(testbed: Testbed, growth: Growth, figures: Figures) -> list[CpuShare]:
    """Run the simulation and add its figures."""
    simulated = simulate(testbed)
    for each in simulated:
        share = computed(growth, SETTING, each.events_per_s)[each.kind]
        note = f"computed {100 * share:.1f} %: {100 * (share / each.measured - 1):+.0f} %"
        if each.processes > 1:
            note += f"; {100 * each.low:.1f} to {100 * each.high:.1f} % in {each.processes} processes"
        name = f"{each.kind} at {each.events_per_s:,.0f} events/s"
        figures.add(SIMULATION, name, 100 * each.measured, "% of a core", note)
    return simulated
