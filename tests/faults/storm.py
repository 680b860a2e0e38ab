"""The storm: random faults in sequence during a replay."""

from __future__ import annotations

import time

from tests.faults.oracle import Verdict
from tests.faults.sequence import Plan, announce, apply_plan
from tests.faults.trial_run import World

COUNTS = {"sketcher": 2, "recorder": 2, "monitor": 2, "scorer": 1}


def run_storm(
    world: World,
    plan: Plan,
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
    announce(world, plan)
    world.begin(counts or COUNTS)
    world.wait_begun()
    world.say(f"{time.monotonic() - began:5.0f} s: all processors have started")
    apply_plan(world, plan, began, budget_s, lambda _: time.monotonic() - began > budget_s)
    world.say(f"{time.monotonic() - began:5.0f} s: the storm is over; {world.source.n} messages were sent")
    verdict = world.finish()
    world.say(f"{time.monotonic() - began:5.0f} s: compared")
    return verdict
