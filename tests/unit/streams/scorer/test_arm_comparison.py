"""Looks at the ends of hours."""

from __future__ import annotations

import numpy as np
from barograph.contract import Arms, Rollback

from barograph_server.streams.scorer.arm_comparison import compare_hours
from barograph_server.warehouse.rollouts.arm_comparisons import COLUMNS
from barograph_server.warehouse.rollouts.arm_hours import ArmHours

ARMS = Arms(shares={"answer@7": 0.5, "answer@8": 0.5})
ROLLBACK = Rollback(prompt="answer", margins={"errors": 0.01, "refusals": 0.01, "cost": 0.2}, events=10)
ENDS = [3600, 7200, 14_400, 18_000]


def test_only_ends_after_the_newest_look_of_a_criterion_are_compared() -> None:
    sums = {name: np.arange(1.0, 9.0).reshape(4, 2, 1) for name in COLUMNS}
    hours = ArmHours(np.array(ENDS), {**sums, "predictions": np.full((4, 2, 1), 50.0)}, np.full((4, 2), 50))
    looks = compare_hours("m", ARMS, ROLLBACK, "answer@8", hours, {})
    assert [(each.criterion, each.at.timestamp()) for each in looks] == [
        (name, end) for name in ROLLBACK.margins for end in ENDS
    ]
    later = compare_hours("m", ARMS, ROLLBACK, "answer@8", hours, {"errors": 7200, "refusals": 18_000})
    assert repr(later) == repr([*looks[2:4], *looks[8:]])
