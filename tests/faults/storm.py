"""The storm: faults one after the other, at random, while a replay goes on."""

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
    """Run a plan to its end, let everything arrive, and hold it to the source data.

    Args:
        world: where.
        plan: faults and the pauses before them.
        counts: processors of each kind.
        budget_s: no fault begins later than so many seconds after the start; what is left out is said.
    """
    began = time.monotonic()
    for i, (pause_s, fault) in enumerate(plan):
        world.say(f"planned {i + 1:3d}: after {pause_s:.1f} s {fault}")
    world.begin(counts or COUNTS)
    world.wait_begun()
    world.say(f"{time.monotonic() - began:5.0f} s: everything runs")
    for i, (pause_s, fault) in enumerate(plan):
        if time.monotonic() - began > budget_s:
            world.say(f"!!! {len(plan) - i} faults were left out: this machine took {budget_s:.0f} s for the others")
            break
        time.sleep(pause_s)
        reported = fault.apply(world)
        world.done[fault.name] += 1
        world.say(f"{time.monotonic() - began:5.0f} s: {i + 1}/{len(plan)} {fault.name}: {reported}")
    world.say(f"{time.monotonic() - began:5.0f} s: the storm is over; {world.source.n} messages were sent")
    verdict = world.finish()
    world.say(f"{time.monotonic() - began:5.0f} s: compared")
    return verdict
