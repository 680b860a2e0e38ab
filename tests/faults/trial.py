"""Trials of the harness itself: with a guard of the product taken away it must fail, and with all of them not."""

from __future__ import annotations

import time

from tests.faults.faults import Kill
from tests.faults.oracle import Verdict
from tests.faults.sabotage import SABOTAGES
from tests.faults.trial_run import World

COUNTS = {"sketcher": 1, "recorder": 1, "monitor": 1}
HOLD_S = 1.5
"""The monitor commits what is acknowledged every second."""
KILLS = sorted({sabotage.killed for sabotage in SABOTAGES.values()})
"""Where processors are killed in every trial."""


def run_trial(world: World) -> Verdict:
    """A short replay in which processors are killed at the places at which the guards count."""
    kills, counts = KILLS, COUNTS
    if world.sabotage:
        kind, _ = SABOTAGES[world.sabotage].killed
        kills = [SABOTAGES[world.sabotage].killed]
        # Only those that have to do with it: whatever else were missing would be noticed too.
        counts = {"recorder": 1} if kind == "recorder" else {"sketcher": 1, "monitor": 1}
    world.begin(counts)
    world.wait_begun()
    for kind, position in kills:
        # Held for long enough that what was acknowledged too early is committed.
        world.say(f"{Kill(kind, position, hold_s=HOLD_S).apply(world)}")
        time.sleep(1.0)
    return world.finish()
