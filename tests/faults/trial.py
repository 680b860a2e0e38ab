"""Trials of the harness itself: it must fail if a safeguard of the product is disabled, and pass otherwise."""

from __future__ import annotations

import time

from tests.faults.faults import Kill
from tests.faults.oracle import Verdict
from tests.faults.sabotage import SABOTAGES
from tests.faults.trial_run import World

COUNTS = {"sketcher": 1, "recorder": 1, "monitor": 1}
HOLD_S = 1.5
"""Time at a kill point before the kill, in seconds. The monitor commits acknowledged offsets every second."""
KILLS = sorted({sabotage.killed for sabotage in SABOTAGES.values()})
"""Kinds of processors and their kill points, at which the control trial kills them."""


def run_trial(world: World) -> Verdict:
    kills, counts = KILLS, COUNTS
    if world.sabotage:
        kind, _ = SABOTAGES[world.sabotage].killed
        kills = [SABOTAGES[world.sabotage].killed]
        # Only the processors that the safeguard concerns: differences of others would pass as detection.
        counts = {"recorder": 1} if kind == "recorder" else {"sketcher": 1, "monitor": 1}
    world.begin(counts)
    world.wait_begun()
    for kind, point in kills:
        # Wait until offsets that were acknowledged too early are committed.
        world.say(f"{Kill(kind, point, hold_s=HOLD_S).apply(world)}")
        time.sleep(1.0)
    return world.finish()
