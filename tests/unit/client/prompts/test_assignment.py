"""Assignment: sticky, by shares, independent of order, and only the necessary units move."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from barograph.prompts.assignment import check_shares, choose_arm

N = 20_000
UNITS = [f"user-{i}" for i in range(N)]


def arms(shares: dict[str, float], experiment: str = "answer") -> list[str]:
    return [choose_arm(experiment, unit, shares) for unit in UNITS]


def test_assignments_are_the_same_on_all_machines_and_in_all_releases() -> None:
    shares = {"7": 0.5, "8": 0.3, "candidate": 0.2}
    assert "".join(arm[0] for arm in arms(shares)[:40]) == "778877c8cc8878c77777887cc7778887c7888878"
    assert arms(dict(reversed(shares.items()))) == arms(shares), "the order of arms does not matter"


def test_shares_are_met_within_binomial_bounds() -> None:
    two = ({"7": 0.9, "8": 0.1}, {"7": 0.5, "8": 0.5}, {"7": 0.999, "8": 0.001})
    for shares in (*two, {"a": 0.2, "b": 0.3, "c": 0.5, "d": 0.0}):
        counts = Counter(arms(shares))
        for arm, share in shares.items():
            # Units and hash are fixed, so the test gives the same result at each run.
            assert abs(counts[arm] - N * share) <= 4 * math.sqrt(N * share * (1 - share)), (shares, arm)
    shares = {"7": 0.5, "8": 0.5}
    same = sum(a == b for a, b in zip(arms(shares), arms(shares, "summary"), strict=True))
    assert abs(same - N / 2) <= 4 * math.sqrt(N / 4), "prompts are assigned independently"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"7": 0.9, "8": 0.1}, {"7": 0.8, "8": 0.2}),
        ({"7": 0.9, "8": 0.1}, {"7": 1.0}),
        ({"7": 1.0}, {"7": 0.95, "8": 0.05}),
        ({"7": 0.6, "8": 0.2, "9": 0.2}, {"7": 0.45, "8": 0.15, "9": 0.4}),
        ({"7": 0.75, "8": 0.25}, {"7": 0.6, "8": 0.2, "9": 0.2}),
    ],
)
def test_only_the_necessary_units_move(before: dict[str, float], after: dict[str, float]) -> None:
    """One share changes and the others keep their proportions."""
    grown = {arm for arm, share in after.items() if share > before.get(arm, 0) + 1e-9}
    necessary = sum(after[arm] - before.get(arm, 0) for arm in grown)
    moves = [(old, new) for old, new in zip(arms(before), arms(after), strict=True) if old != new]
    assert {new for _, new in moves} == grown
    assert abs(len(moves) - N * necessary) <= 4 * math.sqrt(N * necessary * (1 - necessary))


def test_shares_that_are_none_are_rejected() -> None:
    rejected: list[tuple[dict[str, Any], str]] = [
        ({}, "sum to 0"),
        ({"7": 0.5}, "sum to 0.5"),
        ({"7": 0.9, "8": 0.2}, "sum to 1.1"),
        ({"7": -0.5, "8": 1.0}, "share of '7' is -0.5"),
        ({"7": float("nan")}, "share of '7' is nan"),
        ({"7": "1"}, "share of '7' is '1'"),
    ]
    for shares, message in rejected:
        with pytest.raises(ValueError, match=message):
            check_shares(shares)
