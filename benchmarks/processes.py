"""One and two sketchers on a topic of two partitions: the gain of a second process in CPU time and wall time.

The topic is filled in one transaction while the sketchers wait with their partitions assigned: all events become
visible at once, and joining the group is not measured.
"""

import time
from typing import Any

from barograph_server.streams.sketcher.sketcher import GROUP
from benchmarks.figures import Figures
from benchmarks.processors import sketcher
from benchmarks.rates import span
from benchmarks.stack import Testbed, wait_until
from benchmarks.workload import Workload, json_events, make_workload

PROCESSES = "One and two sketchers on two partitions"
DATABASE = "processes"
PARTITIONS = 2
FLUSH_S = 1.0
"""Short compared with the measurement: a flush that began before the events became visible may end among them, and the
remaining events wait for the end of the next flush."""


def measure_processes(testbed: Testbed, figures: Figures, *, events: int, runs: int) -> None:
    """Measure one and two sketchers alternately on the same number of events."""
    workload = make_workload(testbed.folder)
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
        figures.add_ratios(PROCESSES, f"2 processes ÷ 1: {unit}", result[2], result[1])


def _run(testbed: Testbed, workload: Workload, prefix: str, n: int, events: int) -> tuple[float, float]:
    """CPU time of all n sketchers, and wall time since the events became visible (s)."""
    topics = testbed.create_topics(prefix, PARTITIONS)
    warm = next(json_events(workload, 1, *span())).decode()
    parameters = {"prefix": prefix, "database": DATABASE, "flush_s": FLUSH_S, "flush_events": events // n, "warm": warm}
    children = [testbed.start_child(sketcher, **parameters, instance=f"{prefix}{i}") for i in range(n)]
    shares = [PARTITIONS // n] * n
    wait_until(
        lambda: testbed.shares(f"{prefix}{GROUP}") == shares, "every sketcher has its partitions", children=children
    )
    testbed.fill(topics.predictions, json_events(workload, events, *span()), partitions=PARTITIONS, at_once=True)
    visible_at = time.time()
    # The commit marker follows the last event of each partition.
    wait_until(
        lambda: testbed.committed(f"{prefix}{GROUP}", topics.predictions, PARTITIONS) >= events,
        "the sketchers have read to the end",
        children=children,
    )
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
