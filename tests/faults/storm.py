"""The storm: random faults in sequence during a replay, within a budget of time. And trials of the harness itself."""

import time
from collections.abc import Callable

from tests.faults.faults import Fault, Kill
from tests.faults.oracle import Verdict
from tests.faults.sabotage import SABOTAGES
from tests.faults.trial_run import World

COUNTS = {"sketcher": 2, "recorder": 2, "monitor": 2, "scorer": 1}
Plan = list[tuple[float, Fault]]
"""Faults and the pauses before them, in seconds."""


def announce(world: World, plan: Plan) -> None:
    for i, (pause_s, fault) in enumerate(plan):
        world.say(f"planned {i + 1:3d}: after {pause_s:.1f} s {fault}")


def apply_plan(world: World, plan: Plan, began_s: float, budget_s: float, is_over: Callable[[int], bool]) -> None:
    """Apply the faults in order, until `is_over`, called with the number of those applied; log how many are omitted."""
    for i, (pause_s, fault) in enumerate(plan):
        if is_over(i):
            world.say(f"!!! {len(plan) - i} faults were omitted: this machine took {budget_s:.0f} s for the others")
            break
        time.sleep(pause_s)
        description = fault.apply(world)
        world.done[fault.name] += 1
        world.say(f"{time.monotonic() - began_s:5.0f} s: {i + 1}/{len(plan)} {fault.name}: {description}")


def run_storm(
    world: World, plan: Plan, counts: dict[str, int] | None = None, budget_s: float = float("inf")
) -> Verdict:
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


HOLD_S = 1.5
"""Time at a kill point before the kill, in seconds. The monitor commits acknowledged offsets every second."""
KILLS = sorted({sabotage.killed for sabotage in SABOTAGES.values()})
"""Kinds of processors and their kill points, at which the control trial kills them."""


def run_trial(world: World) -> Verdict:
    """Fail if a safeguard of the product is disabled, and pass otherwise."""
    kills, counts = KILLS, {"sketcher": 1, "recorder": 1, "monitor": 1}
    if world.sabotage:
        kills = [SABOTAGES[world.sabotage].killed]
        # Only the processors that the safeguard concerns: differences of others would pass as detection.
        counts = {"recorder": 1} if kills[0][0] == "recorder" else {"sketcher": 1, "monitor": 1}
    world.begin(counts)
    world.wait_begun()
    for kind, point in kills:
        # Wait until offsets that were acknowledged too early are committed.
        world.say(f"{Kill(kind, point, hold_s=HOLD_S).apply(world)}")
        time.sleep(1.0)
    return world.finish()
