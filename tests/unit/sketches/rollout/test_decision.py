import math
from collections.abc import Sequence

import numpy as np
import pytest
from barograph.contract import Contract, ShadowTest
from barograph.contract.file import dump_contract

from barograph_server.rollouts.decision_text import state_text
from barograph_server.sketches.rollout import day_interval as intervals
from barograph_server.sketches.rollout.after_promotion import is_after_promotion
from barograph_server.sketches.rollout.day_evidence import day_evidence
from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.decision import Criterion, CriterionDays, Outcome, SliceDays, decide
from barograph_server.sketches.rollout.e_bh import e_bh, log_mean_e
from barograph_server.sketches.rollout.missing_pairs import MissingPairs, bounded_sums
from barograph_server.sketches.rollout.planned_auc import days_left, least_days, rare_harm_days, unseen_loss
from barograph_server.sketches.rollout.split_traffic import arm_differences, unit_variances

DIFFERENCES = np.array([5, 4, 6, 7, 2, -1, -3, 1, 2, 6, 8, 5, 1, 0, -2, 1, 3, 6, 5, 2, -1, 0, 3, 7, 6, 4, 1, 2.0])
PAIRS = np.array([100, 90, 110, 95, 105, 100, 80, 120, 100, 90, 100, 110, 95, 105] * 2, np.float64)
PAIRS[15:] = [85, 115, 100, 90, 110, 100, 95, 105, 100, 90, 110, 100, 100]
"""28 days of a candidate that wins 2.9 points of its pairs, from 80 to 120 pairs a day."""

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
        assert (decision.outcome, decision.criteria[0].least_days) == (Outcome.insufficient, 59)
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


def test_golden_days_and_the_loss_that_stays_possible() -> None:
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
    days = least_days(0.005)
    assert unseen_loss(days) < 0.005 <= unseen_loss(days - 1)
    assert unseen_loss(0) == 0.1
    # Days left follow the half width.
    assert days_left(40, 0.0, 0.02, 0.01) == pytest.approx(120.0)
    assert days_left(40, 0.01, 0.01, 0.01) == 0.0
    assert days_left(40, -0.01, 0.02, 0.01) == math.inf


def test_golden_evidence() -> None:
    bets = [5, -1, 6, 2, 4, -3, 5, 3, 2, 6]
    for kappa, golden in (
        (1.0, (1.05468513907, 1.72215125594, -1.9269821125)),
        (1.6, (0.233338535505, 0.870206106809, -1.97894510689)),
    ):
        evidence = day_evidence([4, -2, 3, 1, *bets], 100, burn_in=4, kappa=kappa)
        assert evidence.different.shape == (10,)
        last = (evidence.different[-1], evidence.better[-1], evidence.worse[-1])
        assert last == pytest.approx(golden, abs=1e-9)
    days = [4, -2, 3, 1, 0, -3, 2, *(3 * bets)]
    for kappa, log_e in ((1.0, 5.54442125886), (1.5, 3.14812321601)):
        assert day_evidence(days, 100, burn_in=7, kappa=kappa).different[-1] == pytest.approx(log_e, abs=1e-9)
    with pytest.raises(ValueError, match="burn-in"):
        day_evidence(bets, 100, burn_in=10)


def test_golden_interval() -> None:
    interval = day_interval(DIFFERENCES, PAIRS)
    assert float(interval.value) == pytest.approx(0.0285714285714, abs=1e-9)
    assert float(interval.kappa) == pytest.approx(14.8218449368, abs=1e-9)
    assert float(interval.half) == pytest.approx(0.0650464661387, abs=1e-9)
    assert float(day_interval(DIFFERENCES, PAIRS, alpha=0.025).half) == pytest.approx(0.0701668678336, abs=1e-9)
    # 28 days with κ = 14.8 are worth two: too few for an interval, unless their correlation is smaller.
    assert (bool(interval.enough), bool(interval.too_alike), float(interval.low)) == (False, True, -np.inf)
    mixed = np.ravel(np.stack((DIFFERENCES[:14], -DIFFERENCES[14:]), axis=1))
    assert float(intervals.variance_factor(mixed - mixed.mean())) == pytest.approx(1.57165381478, abs=1e-9)
    assert bool(day_interval(mixed, 100.0).enough)
    z = DIFFERENCES - float(interval.value) * PAIRS
    assert intervals.autocorrelations(z, 1)[0] == pytest.approx(0.586099585062, abs=1e-9)
    assert (z**2).sum() == pytest.approx(236.08163265306, abs=1e-9)
    readings = np.array([3, 5, 2, -1, -2, 1, 4, 6, 3, 0, -3, -1, 2, 4, 5, 1, -2, -4, -1, 2, 3, 6, 4, 1, 0, -2, 1, 3.0])
    series = readings - readings.mean()
    assert intervals.autocorrelations(series, 1)[0] == pytest.approx(0.553496712493, abs=1e-9)
    assert float(intervals.first_lag_factor(series)) == pytest.approx(11.3074237337, abs=1e-9)
    radii = {30: 0.560487231888, 60: 0.391874444749, 153: 0.249866035813}
    assert {n: float(intervals.mean_radius(n, 0.05)) for n in radii} == pytest.approx(radii, abs=1e-9)
    assert float(intervals.mean_radius(153, 0.01)) == pytest.approx(0.292590863866, abs=1e-9)


def test_without_enough_data_the_interval_is_open_and_without_pairs_there_is_none() -> None:
    few = (DIFFERENCES[:27], PAIRS[:27])
    for differences, pairs in (few, (DIFFERENCES, PAIRS / 3), (np.zeros(28), PAIRS), (0.1 * PAIRS, PAIRS)):
        interval = day_interval(differences, pairs)
        assert not bool(interval.enough | interval.too_alike)
        assert (float(interval.low), float(interval.high)) == (-np.inf, np.inf)
    # Two days are the least.
    assert np.isfinite(day_interval([1.0, 2.0], [100, 100]).half)
    with pytest.raises(ValueError, match="two days"):
        day_interval([1.0], [100])
    for none in (0, -1, np.nan):
        with pytest.raises(ValueError, match="leave out days without pairs"):
            day_interval([1.0, 2.0], [100, none])
    with pytest.raises(ValueError, match="α"):
        day_interval([1.0, 2.0], [5, 5], alpha=0.0)


def test_golden_rejections() -> None:
    log_e = np.log([900, 400, 130, 61, 20, 8, 3, 1, 0.5, 0.1])
    for alpha, rejections in ((0.1, 5), (0.05, 4)):
        np.testing.assert_array_equal(e_bh(log_e, alpha), np.arange(10) < rejections)
    # Families are separate; e-values may be huge, zero, or none.
    assert e_bh(np.stack([log_e, np.zeros(10)])).sum(axis=1).tolist() == [5, 0]
    np.testing.assert_array_equal(e_bh([5_000.0, -np.inf]), [True, False])
    assert float(log_mean_e([5_000.0, -np.inf])) == pytest.approx(5_000.0 - np.log(2.0))
    assert e_bh([]).shape == (0,)
    assert float(log_mean_e([])) == 0.0
    with pytest.raises(ValueError, match="NaN"):
        e_bh([1.0, np.nan])
    with pytest.raises(ValueError, match="α"):
        e_bh([1.0], 0.0)


def test_golden_differences() -> None:
    events = np.array([[100.0, 100.0], [5.0, 0.0], [20.0, 60.0]])
    sums = np.array([[80.0, 90.0], [3.0, 0.0], [10.0, 40.0]])
    differences, weights = arm_differences(sums, events)
    np.testing.assert_allclose(weights, [50.0, 0.0, 15.0], rtol=1e-12)
    np.testing.assert_allclose(differences, [5.0, 0.0, 2.5], rtol=1e-12)
    swapped, same = arm_differences(sums[:, ::-1], events[:, ::-1])
    np.testing.assert_array_equal(swapped, -differences)
    np.testing.assert_array_equal(same, weights)
    # Both arms have the same mean on each day, but most events of b are of the better day: no difference.
    counts = np.array([[900.0, 100.0], [100.0, 900.0]])
    differences, _ = arm_differences(counts * [[0.5], [0.9]], counts)
    np.testing.assert_allclose(differences, 0.0, atol=1e-12)


def test_golden_variance_of_units() -> None:
    # One day, three buckets: R = S_k − n_k S/n of each arm.
    sums, counts = np.array([[[6.0, 2.0, 4.0], [5.0, 5.0, 11.0]]]), np.array([[[10.0, 4.0, 6.0], [8.0, 12.0, 20.0]]])
    residuals = [(6 - 10 * 0.6), (2 - 4 * 0.6), (4 - 6 * 0.6), (5 - 8 * 0.525), (5 - 12 * 0.525), (11 - 20 * 0.525)]
    variance, degrees = unit_variances(sums, counts)
    weights = np.repeat([20.0, 40.0], 3) ** -2
    assert variance.tolist() == [pytest.approx(1.5 * float(np.square(residuals) @ weights))]
    assert degrees.tolist() == [pytest.approx(48.4989632059)]
    # Two equal days weigh the effects of a bucket together: they do not average out.
    both, freedom = unit_variances(np.repeat(sums, 2, 0), np.repeat(counts, 2, 0))
    assert both[1] == pytest.approx(both[0])
    assert freedom[1] == pytest.approx(freedom[0])
    # It is unknown without two buckets, or without a day of both arms.
    one = np.zeros((3, 2, 64))
    one[:, :, 5] = 10.0
    assert unit_variances(one, one)[0].tolist() == [math.inf] * 3
    one[:, 1] = 0.0
    assert unit_variances(one, one)[0].tolist() == [math.inf] * 3


def test_the_variance_of_units_is_that_of_the_assignment() -> None:
    rng = np.random.default_rng(2)
    quality = rng.normal(0.7, 0.2, 4_000)
    means, variances = [], []
    for _ in range(300):
        arm, bucket = rng.integers(2, size=4_000), rng.integers(64, size=4_000)
        cell = arm * 64 + bucket
        counts = np.bincount(cell, minlength=128).reshape(1, 2, 64) * np.ones((30, 1, 1))
        sums = np.bincount(cell, quality, 128).reshape(1, 2, 64) * np.ones((30, 1, 1))
        differences, weights = arm_differences(sums.sum(axis=-1), counts.sum(axis=-1))
        means.append(differences.sum() / weights.sum())
        variances.append(unit_variances(sums, counts)[0][-1])
    assert math.sqrt(np.mean(variances)) == pytest.approx(np.std(means), rel=0.1)


def test_other_shapes_and_negative_counts_are_errors() -> None:
    with pytest.raises(ValueError, match="need one shape"):
        arm_differences(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="need one shape"):
        unit_variances(np.zeros((3, 3, 4)), np.zeros((3, 3, 4)))
    with pytest.raises(ValueError, match="negative"):
        arm_differences(np.zeros((3, 2)), np.full((3, 2), -1.0))


def test_golden_bounds() -> None:
    observed = 520 - 430
    bounds = bounded_sums(observed, 9_700, MissingPairs(candidate=300, primary_quality=240))
    assert observed / 9_700 == pytest.approx(0.00927835051546, abs=1e-9)
    assert float(bounds.pairs) == 10_000
    assert float(bounds.low / bounds.pairs) == pytest.approx(-0.015, abs=1e-9)
    assert float(bounds.high / bounds.pairs) == pytest.approx(0.015, abs=1e-9)


def test_bounds_are_reached_by_the_worst_and_the_best_answers_and_impossible_counts_rejected() -> None:
    primary, candidate = np.random.default_rng(1).integers(0, 2, (2, 40))
    no_candidate, no_primary, neither = slice(0, 10), slice(10, 17), slice(17, 20)
    missing = MissingPairs(10, primary[no_candidate].sum(), 7, candidate[no_primary].sum(), 3)
    bounds = bounded_sums((candidate - primary)[20:].sum(), 20, missing)
    for answer, end in ((0, bounds.low), (1, bounds.high)):
        completed_candidate, completed_primary = candidate.copy(), primary.copy()
        completed_candidate[no_candidate] = completed_candidate[neither] = answer
        completed_primary[no_primary] = completed_primary[neither] = 1 - answer
        assert float(end) == (completed_candidate - completed_primary).sum()
    for impossible in (MissingPairs(-1, 0), MissingPairs(2, 3), MissingPairs(0, 0, 1, 1.5)):
        with pytest.raises(ValueError):
            bounded_sums(0, 10, impossible)


def applied(versions: str) -> str:
    """Make the text of a contract from its versions: `43` names candidate 4 beside 3; empty names no candidate."""
    if versions == "unreadable":
        return "not: [a contract"
    return dump_contract(Contract(model="m", shadow=made_shadow(versions) if versions else None))


def made_shadow(versions: str) -> ShadowTest:
    return ShadowTest(candidate=versions[0], of=versions[1], margins={"missing": 0.1})


def test_history_of_contracts_decides() -> None:
    for name, history, expected in (
        ("first", ["43"], False),
        ("promoted", ["43", "34"], True),
        ("contracts without a candidate between", ["43", "", "unreadable", "34"], True),
        ("rolled back", ["43", "34", "43"], False),
        ("promoted again", ["43", "34", "43", "34"], True),
        ("another pair between", ["43", "54", "34"], False),
        ("another candidate", ["43", "53"], False),
        ("applied again", ["43", "34", "34"], True),
    ):
        for known in (history, [*history, "65"]):
            assert is_after_promotion(made_shadow(history[-1]), map(applied, known)) is expected, (name, known)
