import math
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import ShadowTest
from scipy.stats import spearmanr

from barograph_server.sketches.rollout import criteria
from barograph_server.sketches.rollout import exceedances as buckets
from barograph_server.sketches.rollout.criteria import decision, differences
from barograph_server.sketches.rollout.day_interval import day_interval
from barograph_server.sketches.rollout.decision import AucDays, CriterionDays, Outcome
from barograph_server.sketches.rollout.exceedances import BUCKETS, bucket_histogram, edge, frozen_limit
from barograph_server.sketches.rollout.mirror import mirrored, mirrored_prices
from barograph_server.sketches.rollout.rank_correlation import binned_rank_correlation
from barograph_server.sketches.rollout.shadow_days import COUNTED, HISTOGRAMS, SLO_TIMED, ShadowDays

T = 60
ONE = np.ones(T)
TEST = ShadowTest(candidate="4", of="3", margins={"accuracy": 0.01}, days=28)


def shadow_days(name: str = "all", **changes: Any) -> ShadowDays:
    settings: dict[str, Any] = {"ended": ONE > 0, "mature": ONE > 0, "missing": {}, **changes}
    sums = dict.fromkeys((*COUNTED, SLO_TIMED), 0 * ONE) | settings.pop("sums", {})
    return ShadowDays(name, tuple(f"2026-05-{day:02}" for day in range(T)), sums=sums, **settings)


def test_agreement_without_a_copy_counts_all_disagreements() -> None:
    days = shadow_days(sums={"compared": 1_000 * ONE, "agreed": 980 * ONE})
    sums, pairs = differences("agreement", days, TEST)
    assert (set(sums), set(pairs)) == ({-20.0}, {1_000.0})
    noisy = 980 + np.random.default_rng(1).normal(0, 3, T)
    for margin, outcome in ((0.03, Outcome.promote), (0.01, Outcome.hold)):
        shadow = msgspec.structs.replace(TEST, margins={"agreement": margin})
        days = shadow_days(sums={"compared": 1_000 * ONE, "agreed": noisy})
        assert decision(shadow, [days]).outcome == outcome


def test_a_share_of_a_defect_holds_only_beyond_its_margin() -> None:
    """The interval [-0.03, -0.01] is below 0 and reaches the margin 0.025: that is not yet known."""
    noisy = 20 + np.random.default_rng(2).normal(0, 12, T)
    days = shadow_days(sums={"requests": 1_000 * ONE}, missing={"timeout": noisy})
    shadow = msgspec.structs.replace(TEST, margins={"missing": 0.022})
    result = decision(shadow, [days])
    (verdict,) = result.criteria
    assert verdict.low < -0.022 < verdict.high < 0.0
    assert (result.outcome, verdict.is_harmed) == (Outcome.insufficient, False)


def test_agreement_with_a_copy_is_beyond_the_noise_on_the_same_requests() -> None:
    shadow = msgspec.structs.replace(TEST, copy="3b")
    counts = {"compared": 1_000 * ONE, "agreed": 0 * ONE, "copy_compared": 900 * ONE}
    counts |= {"copy_candidate_agreed": 850 * ONE, "copy_agreed": 870 * ONE}
    sums, pairs = differences("agreement", shadow_days(sums=counts), shadow)
    assert (set(sums), set(pairs)) == ({-20.0}, {900.0})
    deterministic = shadow_days(sums=counts | {"copy_agreed": 900 * ONE})
    assert set(differences("agreement", deterministic, shadow)[0]) == {-50.0}


def test_limits_of_quantiles_are_frozen_after_28_days() -> None:
    primary, candidate = np.zeros((2, T, BUCKETS))
    primary[:, 200], primary[:, 210], primary[:, 220] = 94, 5, 1
    candidate[:, 200], candidate[:, 215] = 85, 15
    primary[40:, 200], primary[40:, 230] = 0, 94
    histograms = {"latencies_primary": primary, "latencies_candidate": candidate}
    days = shadow_days(sums={"timed": 100 * ONE}, histograms=histograms)
    # Of the first days 6 % lie above bucket 200, and 1 % above bucket 210.
    for name, of_primary in (("latency_p95", 6), ("latency_p99", 1)):
        sums, pairs = differences(name, days, TEST)
        assert set(pairs) == {100.0}
        assert set(sums[:40]) == {of_primary - 15}
        assert set(sums[40:]) == {94 + of_primary - 15}
    assert not differences("latency_p50", shadow_days(), TEST)[1].any()


def test_cost_is_relative_to_the_primary_in_the_burn_in() -> None:
    shadow = msgspec.structs.replace(TEST, prices={"in": 0.001, "out": 0.002}, candidate_prices={"in": 0.002})
    growth = np.where(np.arange(T) < 28, 1.0, 3.0)
    days = shadow_days(
        sums={"costed": 100 * ONE},
        spent_primary={"in": 1_000 * growth, "out": 500 * growth},
        spent_candidate={"in": 800 * growth, "out": 7.0 * growth},
    )
    primary, candidate, pairs = criteria.daily_costs(shadow, days)
    assert (primary[0], candidate[0], pairs[0]) == pytest.approx((2.0, 1.6, 100.0))
    sums, _ = differences("cost", days, shadow)
    # 20 % cheaper per pair, in units of the cost of the first 28 days.
    assert sums[:28] / 100 == pytest.approx(np.full(28, 0.2))
    assert sums[28:] / 100 == pytest.approx(np.full(T - 28, 0.6))


def test_prices_that_were_not_counted_yet_give_no_pairs() -> None:
    shadow = msgspec.structs.replace(TEST, prices={"in": 0.001, "new": 1.0})
    days = shadow_days(sums={"costed": 100 * ONE}, spent_primary={"in": ONE}, spent_candidate={"in": ONE})
    assert not differences("cost", days, shadow)[1].any()
    free = msgspec.structs.replace(TEST, prices={"in": 0.001})
    days = shadow_days(sums={"costed": 100 * ONE}, spent_primary={"in": 0 * ONE}, spent_candidate={"in": ONE})
    assert not differences("cost", days, free)[1].any()


def test_auc_uses_mature_days_and_the_same_bins() -> None:
    primary, candidate = np.ones((T, 4, 3)), np.ones((T, 6, 3))
    days = shadow_days(mature=np.arange(T) < 50, histograms={"scores_primary": primary, "scores_candidate": candidate})
    result = criteria.criterion_days("auc", 0.01, TEST, days)
    assert isinstance(result, AucDays)
    assert result.primary.shape == result.candidate.shape == (50, 6, 3)
    assert result.planned_days == 140
    assert decision(msgspec.structs.replace(TEST, margins={"auc": 0.01}), [shadow_days()]).criteria[0].days == 0


def test_the_contract_sets_the_least_days() -> None:
    result = criteria.criterion_days("accuracy", 0.2, msgspec.structs.replace(TEST, days=90), shadow_days())
    assert isinstance(result, CriterionDays)
    assert result.criterion.days == 90
    days = shadow_days(sums={"labelled": 1_000 * ONE, "candidate_right": 10 * ONE + np.arange(T) % 2})
    shadow = msgspec.structs.replace(TEST, margins={"accuracy": 0.2}, days=61)
    assert decision(shadow, [days]).outcome == Outcome.insufficient
    assert decision(msgspec.structs.replace(shadow, days=60), [days]).outcome == Outcome.promote


def test_every_metric_with_a_margin_is_compared_in_every_slice() -> None:
    rng = np.random.default_rng(7)
    counts = {"labelled": 500 * ONE, "scored": 500 * ONE, "brier_candidate": 60 + rng.normal(0, 1, T)}
    counts |= {"brier_primary": 50 + rng.normal(0, 1, T), "candidate_right": rng.poisson(9, T) * ONE}
    counts |= {"primary_right": rng.poisson(9, T) * ONE}
    slices = [shadow_days(name, sums=counts) for name in ("all", "country=de", "country=fr")]
    shadow = msgspec.structs.replace(TEST, margins={"accuracy": 0.2, "brier": 0.5, "missing": 0.1})
    result = decision(shadow, slices)
    assert result.judged_slices == 4
    harmed = {(each.name, each.criterion) for each in result.harmed_slices}
    assert harmed == {("country=de", "brier"), ("country=fr", "brier")}


@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_harm_of_errors_is_found_in_any_unit(unit: float) -> None:
    rng = np.random.default_rng(8)
    counts = {"scored": 500 * ONE, "error_primary": unit * (5_000 + rng.normal(0, 20, T))}
    counts["error_candidate"] = unit * (5_100 + rng.normal(0, 20, T))
    shadow = msgspec.structs.replace(TEST, margins={"mae": 5 * unit}, worst_day=10 * unit)
    result = decision(shadow, [shadow_days(sums=counts), shadow_days("country=de", sums=counts)])
    assert [each.criterion for each in result.harmed_slices] == ["mae"]


SHADOW = ShadowTest(
    candidate="3", of="4", margins={"cost": 0.1}, prices={"in": 2.0}, candidate_prices={"in": 1.0, "out": 3.0}
)


def made_days() -> ShadowDays:
    rng = np.random.default_rng(5)
    sums = {name: rng.integers(50, 100, 3).astype(float) for name in (*COUNTED, SLO_TIMED)}
    sums["requests"] = np.full(3, 200.0)
    missing = {"primary-failed": np.array([1.0, 0.0, 2.0]), "timeout": np.array([4.0, 5.0, 6.0])}
    histograms = {name: rng.random((3, BUCKETS)) for name in HISTOGRAMS}
    spent = [{"in": rng.random(3), "out": rng.random(3)} for _ in range(2)]
    return ShadowDays("all", ("a", "b", "c"), np.ones(3, bool), np.ones(3, bool), sums, missing, histograms, *spent)


@pytest.mark.parametrize("name", [*criteria.SLICED, "latency", "latency_slo"])
def test_differences_change_their_sign(name: str) -> None:
    days = made_days()
    sums, pairs = differences(name, days, SHADOW)
    other_sums, other_pairs = differences(name, mirrored(days), SHADOW)
    assert np.any(sums != 0.0)
    np.testing.assert_array_equal(other_sums, -sums)
    np.testing.assert_array_equal(other_pairs, pairs)


def test_all_sides_change_and_only_failures_of_the_new_primary_count_against_it() -> None:
    days = made_days()
    other = mirrored(days)
    sums, requests = criteria.missing_answers(other)
    assert sums.tolist() == [-1.0, 0.0, -2.0]
    assert requests.tolist() == [196.0, 195.0, 194.0]
    # A shadow without an answer is no loss of the new primary.
    assert not other.sums["missing_labelled"].any()
    assert not other.sums["missing_right"].any()
    for name in HISTOGRAMS:
        opposite = name.replace("primary", "*").replace("candidate", "primary").replace("*", "candidate")
        np.testing.assert_array_equal(other.histograms[name], days.histograms[opposite])
    primary, candidate, pairs = criteria.daily_costs(SHADOW, days)
    other_costs = criteria.daily_costs(mirrored_prices(SHADOW), other)
    np.testing.assert_array_equal(other_costs, (candidate, primary, pairs))
    for shadow in (SHADOW, msgspec.structs.replace(SHADOW, copy="4b")):
        np.testing.assert_array_equal(differences("agreement", other, shadow), differences("agreement", days, shadow))


T_FLOOR = 40
ENDED = np.arange(T_FLOOR) < T_FLOOR - 1
COMPARED = np.where(ENDED, 200.0, 7.0)
OF_CANDIDATE = np.random.default_rng(1).poisson(30, T_FLOOR).astype(float)
OF_COPY = np.random.default_rng(2).poisson(10, T_FLOOR).astype(float)


def floor_days(of_copy: np.ndarray = OF_COPY, *, compared: np.ndarray = COMPARED, t: int = T_FLOOR) -> ShadowDays:
    sums = dict.fromkeys(COUNTED, np.zeros(t)) | {
        "copy_compared": compared[:t],
        "copy_candidate_agreed": (compared - OF_CANDIDATE)[:t],
        "copy_agreed": (compared - of_copy)[:t],
    }
    return ShadowDays("all", tuple(f"day {i}" for i in range(t)), ENDED[:t], ENDED[:t], sums, {})


def test_shares_and_their_difference_are_those_of_the_ended_days() -> None:
    floor = criteria.noise_floor(floor_days())
    assert floor is not None
    n = int(COMPARED[ENDED].sum())
    assert floor.compared == n
    assert (floor.candidate, floor.copy) == (OF_CANDIDATE[ENDED].sum() / n, OF_COPY[ENDED].sum() / n)
    interval = day_interval((OF_CANDIDATE - OF_COPY)[ENDED], COMPARED[ENDED])
    assert (floor.low, floor.high) == pytest.approx((float(interval.low), float(interval.high)))
    assert 0.0 < floor.low < floor.candidate - floor.copy < floor.high


def test_a_deterministic_primary_has_no_floor_and_few_days_have_no_interval() -> None:
    deterministic = criteria.noise_floor(floor_days(np.zeros(T_FLOOR)))
    assert deterministic is not None
    assert deterministic.copy == 0.0
    few = [criteria.noise_floor(floor_days(t=days)) for days in (1, 9)]
    for each in (deterministic, *few):
        assert each is not None
        assert (each.low, each.high) == (-math.inf, math.inf)
    assert criteria.noise_floor(floor_days(compared=np.zeros(T_FLOOR))) is None


def histogram(values: np.ndarray) -> np.ndarray:
    return bucket_histogram(np.floor(8 * np.log2(values)), np.ones(len(values)))


def test_exceedances_are_exact_at_every_edge_and_add_up() -> None:
    values = np.random.default_rng(3).lognormal(3.0, 1.0, 2_000)
    counts = buckets.exceedances(histogram(values), np.arange(BUCKETS))
    for index in range(120, 260):
        assert counts[index] == np.count_nonzero(values >= edge(index))
    assert buckets.exceedances(histogram(values), BUCKETS) == 0.0
    days = np.stack([histogram(np.array([1.0, 2.0, 4.0])), histogram(np.array([2.0, 3.0]))])
    limit = -buckets.FIRST_BUCKET + 8
    assert edge(limit) == 2.0
    assert buckets.exceedances(days, limit).tolist() == [2.0, 2.0]
    assert buckets.exceedances(days.sum(axis=0), limit) == 4.0


def test_the_limit_has_the_share_nearest_to_the_quantile() -> None:
    values = np.random.default_rng(4).lognormal(3.0, 1.0, 10_000)
    for rank in (0.5, 0.95, 0.99):
        limit = frozen_limit(histogram(values), rank)
        distances = [abs(np.mean(values >= edge(index)) - (1 - rank)) for index in (limit - 1, limit, limit + 1)]
        assert distances[1] == min(distances)
        assert edge(limit) == pytest.approx(np.quantile(values, rank), rel=2 ** (1 / 8) - 1)
    # That of constant latencies is above them.
    constant = histogram(np.full(100, 5.0))
    limit = frozen_limit(constant, 0.5)
    assert buckets.exceedances(constant, np.array([limit, limit - 1])).tolist() == [0.0, 100.0]


def test_quantiles_have_the_stated_relative_error() -> None:
    values = np.random.default_rng(5).lognormal(2.0, 2.0, 20_000)
    ranks = np.array([0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])
    exact = np.quantile(values, ranks, method="inverted_cdf")
    errors = np.abs(buckets.bucket_quantiles(histogram(values), ranks) / exact - 1.0)
    assert np.max(errors) <= 2 ** (1 / 16) - 1 + 1e-12
    both = buckets.bucket_quantiles(np.stack([histogram(values), np.zeros(BUCKETS)]), [0.5])
    assert both.shape == (2, 1)
    assert math.isnan(both[1, 0])
    with pytest.raises(ValueError, match="no values"):
        frozen_limit(np.zeros(BUCKETS), 0.5)
    with pytest.raises(ValueError, match="ranks"):
        frozen_limit(np.ones(BUCKETS), 1.0)
    with pytest.raises(ValueError, match="buckets must lie"):
        bucket_histogram([400], [1])


def cells(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pairs, counts = np.unique(np.stack([left, right]), axis=1, return_counts=True)
    return pairs[0], pairs[1], counts


def test_the_correlation_is_spearmans_of_the_bins() -> None:
    rng = np.random.default_rng(1)
    left = rng.integers(-5, 5, 500)
    right = left + rng.integers(-3, 4, 500)
    expected = spearmanr(left, right).statistic
    assert binned_rank_correlation(*cells(left, right)) == pytest.approx(expected, abs=1e-12)
    assert binned_rank_correlation(*cells(left, -left)) == pytest.approx(-1.0)
    assert math.isnan(binned_rank_correlation([1], [2], [10]))
    assert math.isnan(binned_rank_correlation([], [], []))


def test_the_error_of_bins_is_within_the_stated_limit() -> None:
    for step, spread, limit in ((0.5, 1.0, 0.025), (0.5, 2.0, 0.01), (np.log(2) / 8, 0.35, 0.01)):
        for noise in (0.1, 0.3, 1.0, 3.0):
            rng = np.random.default_rng(2)
            left = rng.normal(-2.0, spread, 20_000)
            right = left + rng.normal(0.0, noise * spread, 20_000)
            binned = (np.floor(each / step) for each in (left, right))
            error = binned_rank_correlation(*cells(*binned)) - spearmanr(left, right).statistic
            assert -limit <= error <= 0.005, (step, spread, noise)
