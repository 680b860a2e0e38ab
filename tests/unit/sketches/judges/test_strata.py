"""Rates of faults from verdicts and random gold."""

import numpy as np
import pytest

from barograph_server.sketches.drift.rates import wilson
from barograph_server.sketches.judges.fault_rate import RATE_REASON_NAMES, RateReason
from barograph_server.sketches.judges.strata import strata_rate, weighted_rate

GOLDEN = (5000, 900, 40, 30, 160, 4)
GOLDEN_WEIGHTED = (39, 3)
"""Of 40 intervals, those of the weighted and of the pooled rate that cover it."""


def test_golden_rate_and_that_of_gold_alone() -> None:
    result = strata_rate(*GOLDEN)
    golden = (0.1555, 0.124456982417, 0.192708640039)
    assert (result.rate.value, result.rate.low, result.rate.high) == pytest.approx(golden, abs=1e-9)
    assert int(result.rate.reason) == RateReason.none
    # Gold alone has the interval of Wilson.
    assert float(result.gold_only.value) == pytest.approx(34 / 200)
    np.testing.assert_allclose((result.gold_only.low, result.gold_only.high), wilson(34, 200))
    assert float(result.width_saved) == pytest.approx(1 - (0.192708640039 - 0.124456982417) / np.ptp(wilson(34, 200)))
    assert not result.judge_adds_nothing
    many = strata_rate(*np.array([GOLDEN, (5000, 900, 0, 0, 160, 4)]).T).rate
    assert many.value.tolist() == pytest.approx([0.1555, np.nan], nan_ok=True)
    assert [RATE_REASON_NAMES[number] for number in many.reason] == ["", "no gold"]


def test_a_judge_that_guesses_or_flags_nothing_adds_nothing() -> None:
    """A judge with 83 % sensitivity and 29 % specificity at 18 % faults: it flags 73 %, with an interval as wide."""
    result = strata_rate(20_000, 14_600, 73, 15, 27, 3)
    assert float(result.rate.value) == pytest.approx(0.18, abs=1e-3)
    assert result.judge_adds_nothing
    result = strata_rate(5000, 0, 0, 0, 200, 4)
    np.testing.assert_allclose((result.rate.low, result.rate.high), wilson(4, 200))
    assert int(result.rate.reason) == RateReason.none
    assert result.judge_adds_nothing


def test_a_rate_is_insufficient_for_a_reason() -> None:
    for values, reason in (
        ((5000, 900, 0, 0, 160, 4), "no gold"),
        ((5000, 900, 40, 30, 0, 0), "no gold"),
        ((0, 0, 0, 0, 0, 0), "no gold"),
        ((5000, 900, 9, 7, 40, 1), "little gold"),
        ((5000, 900, 10, 7, 40, 1), ""),
    ):
        rate = strata_rate(*values).rate
        assert RATE_REASON_NAMES[int(rate.reason)] == reason, values
        assert np.isnan(rate.value) == np.isnan(rate.low) == np.isnan(rate.high) == (reason == "no gold")


def test_gold_that_was_drawn_by_verdict_has_no_rate_of_its_own() -> None:
    """Half of gold is flagged, where 18 % of the answers are: the faulty share of gold is not that of the answers."""
    result = strata_rate(5000, 900, 100, 75, 100, 2)
    assert float(result.rate.value) == pytest.approx(0.18 * 0.75 + 0.82 * 0.02)
    assert int(result.rate.reason) == RateReason.none
    assert RATE_REASON_NAMES[int(result.gold_only.reason)] == "uneven gold"
    assert np.isnan([result.gold_only.value, result.width_saved]).all()
    assert not result.judge_adds_nothing


def test_counts_that_contradict_one_another_are_rejected() -> None:
    for values, text in (
        ((100, 101, 1, 1, 1, 1), "flagged answers than judged"),
        ((100, 20, 21, 1, 1, 1), "flagged answers in gold than flagged"),
        ((100, 20, 5, 6, 1, 1), "faulty answers than answers in flagged gold"),
        ((-1, 0, 0, 0, 0, 0), "judged must be whole numbers"),
        ((100, float("nan"), 5, 5, 5, 2), "flagged must be whole numbers"),
    ):
        with pytest.raises(ValueError, match=text):
            strata_rate(*values)


def test_the_weighted_rate_of_parts() -> None:
    """That of one part is its rate; parts without labels make it insufficient only if they have answers."""
    part = strata_rate(*([each] for each in GOLDEN)).rate
    total = weighted_rate(part, [7.0], 200)
    assert (total.value, total.low, total.high) == pytest.approx((part.value[0], part.low[0], part.high[0]))
    assert int(total.reason) == RateReason.none
    parts = strata_rate([100, 50], [20, 10], [10, 0], [5, 0], [40, 0], [2, 0]).rate
    assert int(weighted_rate(parts, [1.0, 1.0], 50).reason) == RateReason.no_gold
    assert np.isnan(weighted_rate(parts, [1.0, 1.0], 50).value)
    assert int(weighted_rate(parts, [1.0, 0.0], 50).reason) == RateReason.none
    assert int(weighted_rate(parts, [1.0, 0.0], 49).reason) == RateReason.little_gold
    for weights in ([0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="weights"):
            weighted_rate(parts, weights, 50)


def weighted_coverage(runs: int) -> tuple[int, int]:
    """How many intervals cover if traffic is chosen with different probabilities: of the weighted, the pooled rate."""
    rng = np.random.default_rng(7)
    traffic, faulty, shares = np.array([20_000, 40_000]), np.array([0.3, 0.05]), np.array([0.5, 0.05])
    truth = float(np.sum(traffic * faulty) / traffic.sum())
    covered = unweighted = 0
    for _ in range(runs):
        judged = rng.binomial(traffic, shares)
        is_faulty = rng.binomial(judged, faulty)
        flagged = rng.binomial(is_faulty, 0.8) + rng.binomial(judged - is_faulty, 0.1)
        # Labels of 120 answers in each part, by verdict as a random part has them.
        right = np.array([0.8, 0.8]) * faulty / (0.8 * faulty + 0.1 * (1 - faulty))
        missed = 0.2 * faulty / (0.2 * faulty + 0.9 * (1 - faulty))
        gold1 = np.minimum(rng.binomial(120, flagged / judged), flagged)
        gold0 = 120 - gold1
        counts = (judged, flagged, gold1, rng.binomial(gold1, right), gold0, rng.binomial(gold0, missed))
        rate = weighted_rate(strata_rate(*counts).rate, judged / shares, 240)
        covered += bool(rate.low <= truth <= rate.high)
        pooled = strata_rate(*(each.sum() for each in counts)).rate
        unweighted += bool(pooled.low <= truth <= pooled.high)
    return covered, unweighted


def test_golden_weighted_coverage() -> None:
    assert weighted_coverage(40) == GOLDEN_WEIGHTED


@pytest.mark.long
def test_the_weighted_rate_covers_the_rate_of_traffic_that_was_chosen_with_different_probabilities() -> None:
    covered, unweighted = weighted_coverage(400)
    assert covered >= 0.93 * 400
    assert unweighted < 0.5 * 400
