"""Decisions about a candidate: promote, hold, insufficient; and days before a margin can be shown."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from barograph_server.rollouts.decision_text import state_text
from barograph_server.sketches.rollout.day_evidence import day_evidence
from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.decision import Criterion, CriterionDays, Outcome, SliceDays, decide
from barograph_server.sketches.rollout.missing_pairs import MissingPairs
from barograph_server.sketches.rollout.planned_auc import days_left, least_days, rare_harm_days, unseen_loss
from tests.support.shadow import DIFFERENCES, PAIRS

ACCURACY = Criterion("accuracy", 0.02)


def noisy(days: int, mean: float, seed: int = 1, sd: float = 5.0, pairs: int = 1_000) -> CriterionDays:
    sums = np.random.default_rng(seed).normal(mean * pairs, sd, days)
    return CriterionDays(ACCURACY, sums, np.full(days, float(pairs)))


def harmed_slices(loss: float) -> Sequence[SliceDays]:
    days = [noisy(120, 0.0, seed) for seed in range(9)]
    slices = [SliceDays(f"carrier={i}", "accuracy", each.differences, each.pairs) for i, each in enumerate(days)]
    after = np.where(np.arange(120) >= 28, -loss * 1_000, 0.0)
    return [*slices, SliceDays("carrier=AA", "accuracy", days[0].differences + after, days[0].pairs)]


def test_an_equal_candidate_is_promoted_once_the_margin_is_shown() -> None:
    decision = decide([noisy(60, 0.0)])
    assert decision.outcome == Outcome.promote
    (verdict,) = decision.criteria
    interval = day_interval(noisy(60, 0.0).differences, 1_000.0)
    assert verdict.value == float(interval.value)
    assert (verdict.low, verdict.high) == (float(interval.low), float(interval.high))
    assert verdict.low > -0.02
    assert verdict.is_met
    assert decision.days_left == 0.0


def test_days_left_count_from_the_first_day_and_follow_the_half_width() -> None:
    rare = CriterionDays(Criterion("accuracy", 0.005), np.array([1.0]), np.array([500.0]))
    for days in (rare, CriterionDays(rare.criterion, np.zeros(0), np.zeros(0))):
        decision = decide([days])
        assert decision.outcome == Outcome.insufficient
        assert decision.criteria[0].least_days == 59
        assert decision.days_left == 59 - len(days.differences)
    decision = decide([CriterionDays(ACCURACY, noisy(40, 0.0, sd=60.0).differences, np.full(40, 1_000.0))])
    assert decision.outcome == Outcome.insufficient
    (verdict,) = decision.criteria
    half = verdict.value - verdict.low
    assert decision.days_left == pytest.approx(40 * (half / (verdict.value + 0.02)) ** 2 - 40)
    for criteria, message in (
        ([], "at least one criterion"),
        ([CriterionDays(ACCURACY, np.zeros(3), np.ones(4))], "one value per day"),
        ([CriterionDays(ACCURACY, np.zeros(3), -np.ones(3))], "a count of pairs is negative"),
        ([CriterionDays(Criterion("accuracy", 0.0), np.zeros(3), np.ones(3))], "above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            decide(criteria)


def test_days_that_are_too_alike_decide_nothing_by_their_mean() -> None:
    """After a quiet month, runs of ten equal days: 78 days are worth less than six, whatever their mean."""
    runs = np.repeat(np.random.default_rng(3).normal(0.0, 50.0, 5), 10)
    for mean in (200.0, -200.0):
        sums = np.concatenate((noisy(28, 0.0).differences, runs + mean))
        decision = decide([CriterionDays(ACCURACY, sums, np.full(78, 1_000.0))])
        (verdict,) = decision.criteria
        assert verdict.too_alike
        assert (verdict.low, verdict.high, verdict.is_met) == (-math.inf, math.inf, False)
        assert decision.days_left == pytest.approx(6.0 * verdict.kappa - 78)
        # Evidence needs no interval: a loss far beyond the margin since then holds.
        assert decision.outcome == (Outcome.insufficient if mean > 0.0 else Outcome.hold)
        reason = f"days too alike: 78 are worth {78 / verdict.kappa:.1f}"
        assert state_text(verdict) == (reason if mean > 0.0 else "worse")


def test_no_promotion_before_the_least_days() -> None:
    criterion = Criterion("accuracy", 0.005, worst_day=0.25)
    series = noisy(200, 0.003, sd=1.0)
    outcomes = {
        days: decide([CriterionDays(criterion, series.differences[:days], series.pairs[:days])]).outcome
        for days in (27, 28, 148, 149, 200)
    }
    assert [each.value for each in outcomes.values()] == ["insufficient"] * 3 + ["promote"] * 2


def test_a_worse_candidate_is_held_even_if_others_meet() -> None:
    decision = decide([noisy(60, 0.01), noisy(60, -0.05, seed=2)])
    assert decision.outcome == Outcome.hold
    assert [verdict.is_harmed for verdict in decision.criteria] == [False, True]
    assert decision.days_left == math.inf


def test_a_loss_within_the_margin_does_not_hold() -> None:
    within = decide([noisy(120, -0.005)])
    assert within.criteria[0].high < 0.0
    assert within.outcome == Outcome.promote
    # Nor while another criterion is unknown …
    unknown = CriterionDays(Criterion("missing", 0.1), np.zeros(0), np.zeros(0))
    decision = decide([noisy(60, -0.01, sd=1.0), unknown])
    assert -0.02 < decision.criteria[0].low < decision.criteria[0].high < 0
    assert decision.outcome == Outcome.insufficient
    assert decide([noisy(60, -0.03, sd=1.0), unknown]).outcome == Outcome.hold
    # … nor if the e-process has found it.
    sums = np.concatenate((np.resize([9.0, -5.0, 8.0, 0.0], 28), np.resize([-10.0, -11.0, -9.0], 12)))
    (verdict,) = decide([CriterionDays(ACCURACY, sums, np.full(40, 1_000.0))]).criteria
    assert float(day_evidence(sums, 1_000.0).worse[-1]) > math.log(20)
    assert verdict.high > 0.0
    assert not verdict.is_harmed


def test_evidence_beyond_the_margin_holds_before_the_interval_is_below_zero() -> None:
    """After good days the mean is still positive: only the days after the burn-in speak against the margin."""
    sums = np.concatenate((np.resize([300.0, 320.0, 280.0, 310.0], 28), np.full(26, -300.0)))
    days = CriterionDays(ACCURACY, sums, np.full(54, 1_000.0))
    assert decide([days]).criteria[0].high > 0.0
    assert decide([days]).outcome == Outcome.hold


def test_the_error_rate_of_harm_is_divided_by_the_number_of_criteria() -> None:
    days = noisy(60, 0.0)
    interval = day_interval(days.differences, days.pairs)
    shift = float(interval.value + 1.02 * interval.half)
    small = Criterion("accuracy", 0.0005)
    worse = CriterionDays(small, days.differences - shift * 1_000, days.pairs)
    assert decide([worse]).criteria[0].is_harmed
    assert not decide([worse, *(noisy(60, 0.01, seed) for seed in range(2, 21))]).criteria[0].is_harmed


def test_missing_answers_count_at_their_worst() -> None:
    days = noisy(60, 0.001)
    missing = MissingPairs(candidate=np.full(60, 50.0), primary_quality=np.full(60, 40.0))
    decision = decide([CriterionDays(ACCURACY, days.differences, days.pairs, missing)])
    (verdict,) = decision.criteria
    assert verdict.low > -0.02
    assert verdict.least_low < verdict.least_value < -0.02 < verdict.value < verdict.most_value
    assert (decision.outcome, decision.days_left) == (Outcome.insufficient, math.inf)
    # Days with only missing answers count in the bounds.
    pairs = np.where(np.arange(60) == 7, 0.0, days.pairs)
    sums = np.where(pairs > 0, days.differences, 0.0)
    missing = MissingPairs(np.where(pairs > 0, 0.0, 1_000.0), np.zeros(60))
    (verdict,) = decide([CriterionDays(ACCURACY, sums, pairs, missing)]).criteria
    assert verdict.days == 59
    assert verdict.least_value == pytest.approx(sums.sum() / 60_000)
    assert verdict.most_value == pytest.approx((sums.sum() + 1_000) / 60_000)


def test_a_criterion_without_any_difference_is_met_once_rare_days_are_excluded() -> None:
    failures = Criterion("failures", 0.005)
    for days, outcome in ((58, Outcome.insufficient), (59, Outcome.promote)):
        decision = decide([CriterionDays(failures, np.zeros(days), np.full(days, 100.0))])
        assert decision.outcome == outcome
        assert decision.criteria[0].low == -decision.criteria[0].high < 0.0
        assert decision.days_left == 59 - days
    # Equal differences other than zero, and days of few pairs, decide nothing.
    equal = decide([CriterionDays(ACCURACY, np.full(60, 10.0), np.full(60, 100.0))])
    assert equal.outcome == Outcome.insufficient
    assert math.isnan(equal.days_left)
    few = decide([CriterionDays(ACCURACY, noisy(60, -0.05).differences, np.full(60, 40.0))])
    assert few.outcome == Outcome.insufficient


def test_a_harmed_slice_holds_a_candidate_whose_criteria_are_met() -> None:
    decision = decide([noisy(120, 0.0)], harmed_slices(0.02))
    assert decision.criteria[0].is_met
    assert decision.outcome == Outcome.hold
    assert decision.some_slice_harmed
    assert decision.judged_slices == 10
    (harmed,) = (each for each in decision.slices if each.is_harmed)
    assert (harmed.name, harmed.days) == ("carrier=AA", 120)
    assert harmed.low < harmed.value < harmed.high < 0.0
    assert [(each.name, each.log_evidence) for each in decision.harmed_slices] == [(harmed.name, harmed.log_evidence)]
    logs = np.array([each.log_evidence for each in decision.slices])
    assert decision.log_mean_evidence == pytest.approx(float(np.log(np.mean(np.exp(logs)))))
    # Slices without harm do not hold, and small or young ones are not judged.
    unharmed = decide([noisy(120, 0.0)], harmed_slices(0.0))
    assert (unharmed.outcome, unharmed.some_slice_harmed) == (Outcome.promote, False)
    small = SliceDays("carrier=OO", "accuracy", np.full(60, -20.0), np.full(60, 40.0))
    young = SliceDays("carrier=HA", "accuracy", DIFFERENCES - 50, PAIRS)
    decision = decide([noisy(60, 0.0)], [small, young])
    assert (decision.judged_slices, decision.outcome) == (0, Outcome.promote)


def test_the_assignment_of_units_widens_the_interval() -> None:
    days = noisy(60, 0.0)
    (pairs,) = decide([days]).criteria
    arms = CriterionDays(ACCURACY, days.differences, days.pairs, unit_variance=0.004**2)
    (verdict,) = decide([arms]).criteria
    assert verdict.value == pairs.value
    half = math.hypot(pairs.high - pairs.value, 2.241402727604947 * 0.004)
    assert (verdict.low, verdict.high) == pytest.approx((pairs.value - half, pairs.value + half))
    # Few degrees of freedom widen it further: the quantile of Student's t.
    few = CriterionDays(ACCURACY, days.differences, days.pairs, unit_variance=0.004**2, unit_freedom=9.0)
    half = math.hypot(pairs.high - pairs.value, 2.685011 * 0.004)
    assert decide([few]).criteria[0].high == pytest.approx(pairs.value + half, rel=1e-6)
    unknown = CriterionDays(ACCURACY, days.differences, days.pairs, unit_variance=math.inf)
    assert decide([unknown]).outcome == Outcome.insufficient
    assert decide([unknown]).days_left == math.inf


def test_golden_days() -> None:
    for margin, days in ((0.005, 148.283704083), (0.02, 35.9279739462)):
        assert rare_harm_days(margin, 0.25) == pytest.approx(days, abs=1e-9)
        assert least_days(margin, 0.25) == math.ceil(days)
    assert rare_harm_days(0.01) == pytest.approx(28.4, abs=0.05)
    assert rare_harm_days(0.005) == pytest.approx(58.4, abs=0.05)
    # The burn-in is the least.
    assert least_days(0.05) == 28
    assert rare_harm_days(0.1, 0.1) == 0.0
    assert least_days(0.2, 0.1) == 28
    for margin, worst_day, alpha in ((0.0, 0.1, 0.05), (0.01, 0.0, 0.05), (0.01, 0.1, 1.0)):
        with pytest.raises(ValueError):
            rare_harm_days(margin, worst_day, alpha)


def test_the_loss_that_stays_possible_is_the_inverse() -> None:
    days = least_days(0.005)
    assert unseen_loss(days) < 0.005 <= unseen_loss(days - 1)
    assert unseen_loss(0) == 0.1
    # Days left follow the half width.
    assert days_left(40, 0.0, 0.02, 0.01) == pytest.approx(120.0)
    assert days_left(40, 0.01, 0.01, 0.01) == 0.0
    assert days_left(40, -0.01, 0.02, 0.01) == math.inf
