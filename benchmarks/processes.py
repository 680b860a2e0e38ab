"""One and two sketchers on a topic of two partitions: the gain of a second process in CPU time and wall time.

The topic is filled in one transaction while the sketchers wait with their partitions assigned: all events become
visible at once, and joining the group is not measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.figures import Figures
from benchmarks.rates import span
from benchmarks.stack import Child, Testbed
from benchmarks.workload import Workload, json_events
from streams.sketcher.sketcher import GROUP
from streams.topics import Topics

PROCESSES = "One and two sketchers on two partitions"
DATABASE = "processes"
PARTITIONS = 2
TIMEOUT_S = 180.0
FLUSH_S = 1.0
"""Short compared with the measurement: a flush that began before the events became visible may end among them, and the
remaining events wait for the end of the next flush."""


def measure_processes(testbed: Testbed, workload: Workload, figures: Figures, *, events: int, runs: int) -> None:
    """Measure one and two sketchers alternately on the same number of events."""
    testbed.register(DATABASE, workload)
    by_cpu: dict[int, list[float]] = {1: [], 2: []}
    by_wall: dict[int, list[float]] = {1: [], 2: []}
    for run in range(runs):
        for n in (1, 2):
            cpu_s, wall_s = _run(testbed, workload, f"processes-{run}-{n}-", n, events)
            by_cpu[n].append(events / cpu_s)
            by_wall[n].append(events / wall_s)
    for n in (1, 2):
        name = "1 process" if n == 1 else f"{n} processes, together"
        figures.add_runs(PROCESSES, f"{name}: per CPU-second", by_cpu[n], "events", f"{events:,} events each")
        figures.add_runs(PROCESSES, f"{name}: by the wall clock", by_wall[n], "events/s")
    for unit, result in (("per CPU-second", by_cpu), ("by the wall clock", by_wall)):
        ratios = [two / one for one, two in zip(result[1], result[2], strict=True)]
        figures.add_runs(PROCESSES, f"2 processes ÷ 1: {unit}", ratios, "×")


def _run(testbed: Testbed, workload: Workload, prefix: str, n: int, events: int) -> tuple[float, float]:
    """CPU time of all n sketchers, and wall time since the events became visible (s)."""
    topics = testbed.create_topics(prefix, PARTITIONS)
    warm = next(json_events(workload, 1, *span())).decode()
    parameters = {"prefix": prefix, "database": DATABASE, "flush_s": FLUSH_S, "flush_events": events // n, "warm": warm}
    children = [testbed.start_child("sketcher", **parameters, instance=f"{prefix}{i}") for i in range(n)]
    _wait_members(testbed, topics, f"{prefix}{GROUP}", children)
    testbed.fill(topics.predictions, json_events(workload, events, *span()), partitions=PARTITIONS, at_once=True)
    visible_at = time.time()
    # The commit marker follows the last event of each partition.
    _wait(lambda: testbed.committed(f"{prefix}{GROUP}", topics.predictions, PARTITIONS) >= events, children)
    for child in children:
        child.stop()
    result = [child.finish() for child in children]
    testbed.delete_topics(topics)
    if (counted := sum(one["events"] for one in result)) != events:
        raise RuntimeError(f"{n} sketchers counted {counted:,} of {events:,} events")
    cpu_s = sum(_cpu_since(one["samples"], one["cpu_s"], visible_at) for one in result)
    return cpu_s, max(one["at"] for one in result) - visible_at


def _cpu_since(samples: list[dict[str, Any]], cpu_s: float, moment: float) -> float:
    """CPU time since the last idle commit before a moment (s)."""
    idle = [sample["cpu_s"] for sample in samples if sample["at"] < moment and not sample["events"]]
    return float(cpu_s - (idle[-1] if idle else 0.0))


def _wait_members(testbed: Testbed, topics: Topics, group: str, children: list[Child]) -> None:
    """Wait until every sketcher has been assigned its share of the partitions."""
    _wait(lambda: testbed.shares(group) == [PARTITIONS // len(children)] * len(children), children)


def _wait(condition: Callable[[], bool], children: list[Child]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if any(child.process.poll() for child in children) or time.monotonic() > deadline:
            raise RuntimeError("a sketcher failed, or did not read to the end in time")
        time.sleep(0.1)
