"""The storm: random faults in sequence during a replay."""

from __future__ import annotations

import time

from tests.faults.faults import Fault
from tests.faults.oracle import Verdict
from tests.faults.trial_run import World

COUNTS = {"sketcher": 2, "recorder": 2, "monitor": 2, "scorer": 1}


def run_storm(
    world: World,
    plan: list[tuple[float, Fault]],
    counts: dict[str, int] | None = None,
    budget_s: float = float("inf"),
) -> Verdict:
    """Run all faults of a plan, wait until all data has arrived, and compare it with the source data.

    Args:
        world: the run.
        plan: faults and the pauses before them, in seconds.
        counts: number of processors of each kind.
        budget_s: time from the start after which no fault begins, in seconds; the number of omitted faults is logged.
    """
    began = time.monotonic()
    for i, (pause_s, fault) in enumerate(plan):
        world.say(f"planned {i + 1:3d}: after {pause_s:.1f} s {fault}")
    world.begin(counts or COUNTS)
    world.wait_begun()
    world.say(f"{time.monotonic() - began:5.0f} s: all processors have started")
    for i, (pause_s, fault) in enumerate(plan):
        if time.monotonic() - began > budget_s:
            world.say(f"!!! {len(plan) - i} faults were omitted: this machine took {budget_s:.0f} s for the others")
            break
        time.sleep(pause_s)
        description = fault.apply(world)
        world.done[fault.name] += 1
        world.say(f"{time.monotonic() - began:5.0f} s: {i + 1}/{len(plan)} {fault.name}: {description}")
    world.say(f"{time.monotonic() - began:5.0f} s: the storm is over; {world.source.n} messages were sent")
    verdict = world.finish()
    world.say(f"{time.monotonic() - began:5.0f} s: compared")
    return verdict
