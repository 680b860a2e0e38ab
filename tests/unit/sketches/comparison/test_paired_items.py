"""Two runs of one suite: golden values, decisions, and how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from barograph_server.sketches.comparison.paired_items import (
    PairedDifference,
    SuiteOutcome,
    judge_difference,
    least_items_to_accept,
    paired_difference,
)

GOLDEN_WRONG: list[tuple[int, int]] = [(1, 2), (1, 0)]


def test_the_interval_is_that_of_bonett_and_price() -> None:
    for better, worse, items, low, high in (
        (0, 10, 60, -0.2631737368602, -0.0594069083011),
        (0, 0, 50, -0.0533039932442, 0.0533039932442),
        (5, 12, 100, -0.1513195112201, 0.0140646092593),
    ):
        rest = items - better - worse
        difference = paired_difference([0] * better + [1] * worse + [1] * rest, [1] * better + [0] * worse + [1] * rest)
        assert (difference.items, difference.better, difference.worse) == (items, better, worse)
        assert difference.value == pytest.approx((better - worse) / items, abs=1e-12)
        assert (difference.low, difference.high) == pytest.approx((low, high), abs=1e-9)
    nothing = paired_difference([], [])
    assert (nothing.items, nothing.low, nothing.high) == (0, -1.0, 1.0)
    assert judge_difference(nothing, 0.5, 0) is SuiteOutcome.INSUFFICIENT


def test_the_fewest_items_at_which_an_equal_candidate_is_accepted() -> None:
    for margin, least in ((0.1, 26), (0.05, 54), (0.02, 137), (0.01, 276), (1.0, 1)):
        assert least_items_to_accept(margin) == least
        equal = paired_difference([1.0] * least, [1.0] * least)
        assert judge_difference(equal, margin, 1) is SuiteOutcome.ACCEPT
        if least > 1:
            fewer = paired_difference([1.0] * (least - 1), [1.0] * (least - 1))
            assert judge_difference(fewer, margin, 1) is SuiteOutcome.INSUFFICIENT
    # A tiny margin needs more items than are tried.
    assert least_items_to_accept(1e-9) is None
    assert least_items_to_accept(0.1, most=25) is None


def test_decisions() -> None:
    for low, high, items, outcome in (
        (-0.04, 0.1, 50, SuiteOutcome.ACCEPT),
        (-0.04, -0.01, 50, SuiteOutcome.ACCEPT),
        (-0.04, 0.1, 49, SuiteOutcome.INSUFFICIENT),
        (-0.05, 0.1, 50, SuiteOutcome.INSUFFICIENT),
        (-0.3, -0.01, 50, SuiteOutcome.HOLD),
        (-0.3, -0.01, 49, SuiteOutcome.INSUFFICIENT),
    ):
        assert judge_difference(PairedDifference(items, 1, 1, 0.0, low, high), 0.05, 50) is outcome, (low, items)


def test_wrong_arguments_are_errors() -> None:
    with pytest.raises(ValueError, match="a margin is above 0"):
        least_items_to_accept(0.0)
    with pytest.raises(ValueError, match="one shape"):
        paired_difference([1], [1, 0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired_difference([1], [2])
    with pytest.raises(ValueError, match="above 0"):
        judge_difference(paired_difference([1], [1]), 0.0, 1)


def wrong_decisions(epochs: int, runs: int) -> tuple[int, int]:
    """How often a candidate at the margin is accepted, and an equal one is on hold."""
    rng = np.random.default_rng(3)
    accepted = on_hold = 0
    for _ in range(runs):
        p = rng.beta(1.2, 0.8, 60)
        old = rng.binomial(epochs, p) / epochs
        worse = paired_difference(old, rng.binomial(epochs, p * (1 - 0.1 / 0.6)) / epochs)
        equal = paired_difference(old, rng.binomial(epochs, p) / epochs)
        accepted += judge_difference(worse, 0.1, 50) is SuiteOutcome.ACCEPT
        on_hold += judge_difference(equal, 0.1, 50) is SuiteOutcome.HOLD
    return accepted, on_hold


def test_golden_wrong_decisions() -> None:
    assert [wrong_decisions(epochs, 100) for epochs in (1, 4)] == GOLDEN_WRONG


@pytest.mark.long
@pytest.mark.parametrize("epochs", [1, 4])
def test_a_candidate_at_the_margin_is_rarely_accepted_and_an_equal_one_rarely_on_hold(epochs: int) -> None:
    assert max(wrong_decisions(epochs, 1000)) <= 45
