"""Criteria of a candidate from daily sums."""

from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import ShadowTest

from barograph_server.sketches.rollout.criteria import criterion_days, daily_costs, decision, differences
from barograph_server.sketches.rollout.decision import AucDays, CriterionDays, Outcome
from barograph_server.sketches.rollout.exceedances import BUCKETS
from barograph_server.sketches.rollout.shadow_days import COUNTED, SLO_TIMED, ShadowDays

T = 60
ONE = np.ones(T)
TEST = ShadowTest(candidate="4", of="3", margins={"accuracy": 0.01}, days=28)


def shadow_days(name: str = "all", **changes: Any) -> ShadowDays:
    settings: dict[str, Any] = {"ended": ONE > 0, "mature": ONE > 0, "missing": {}, **changes}
    sums = dict.fromkeys((*COUNTED, SLO_TIMED), 0 * ONE) | settings.pop("sums", {})
    return ShadowDays(name, tuple(f"2026-05-{day:02}" for day in range(T)), sums=sums, **settings)


def criterion(name: str, margin: float, days: ShadowDays, shadow: ShadowTest = TEST) -> CriterionDays:
    result = criterion_days(name, margin, shadow, days)
    assert isinstance(result, CriterionDays)
    return result


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
    days = shadow_days(
        sums={"timed": 100 * ONE}, histograms={"latencies_primary": primary, "latencies_candidate": candidate}
    )
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
    primary, candidate, pairs = daily_costs(shadow, days)
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
    result = criterion_days("auc", 0.01, TEST, days)
    assert isinstance(result, AucDays)
    assert result.primary.shape == result.candidate.shape == (50, 6, 3)
    assert result.planned_days == 140
    assert decision(msgspec.structs.replace(TEST, margins={"auc": 0.01}), [shadow_days()]).criteria[0].days == 0


def test_the_contract_sets_the_least_days() -> None:
    assert criterion("accuracy", 0.2, shadow_days(), msgspec.structs.replace(TEST, days=90)).criterion.days == 90
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
    assert {(each.name, each.criterion) for each in result.harmed_slices} == {
        ("country=de", "brier"),
        ("country=fr", "brier"),
    }


@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_harm_of_errors_is_found_in_any_unit(unit: float) -> None:
    rng = np.random.default_rng(8)
    counts = {"scored": 500 * ONE, "error_primary": unit * (5_000 + rng.normal(0, 20, T))}
    counts["error_candidate"] = unit * (5_100 + rng.normal(0, 20, T))
    shadow = msgspec.structs.replace(TEST, margins={"mae": 5 * unit}, worst_day=10 * unit)
    result = decision(shadow, [shadow_days(sums=counts), shadow_days("country=de", sums=counts)])
    assert [each.criterion for each in result.harmed_slices] == ["mae"]
