"""Rates: intervals, the rule of levels, overdispersion, and rates without events."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from barograph_server.sketches.baseline.levels import REASON_NAMES, Level
from barograph_server.sketches.drift.rates import newcombe, rate_verdicts, wilson

ROWS = 100_000
"""Of the baselines."""


def level(k: float, n: float, base_k: float = 0, base_n: float = ROWS, **options: Any) -> Level:
    return Level(rate_verdicts(k, n, base_k, base_n, **options).level.item())


def test_wilson_agrees_with_scipy() -> None:
    rng = np.random.default_rng(40)
    n = rng.integers(1, 5_000, 60)
    k = rng.binomial(n, rng.uniform(0.0, 1.0, 60))
    k[:10], k[10:20] = 0, n[10:20]
    for confidence in (0.95, 0.99):
        low, high = wilson(k, n, confidence)
        for i in range(60):
            interval = binomtest(int(k[i]), int(n[i])).proportion_ci(confidence, method="wilson")
            assert (low[i], high[i]) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_intervals_stay_within_range_and_are_open_without_data() -> None:
    assert [end.item() for end in wilson(0, 0)] == [0.0, 1.0]
    lowest, _ = wilson(0, 20)
    _, highest = wilson(20, 20)
    assert (lowest.item(), highest.item()) == (0.0, 1.0)
    for arguments in ((0, 0, 5, 10), (5, 10, 0, 0), (0, 0, 0, 0)):
        assert [part.item() for part in newcombe(*arguments)] == [0.0, -1.0, 1.0]
    delta, low, high = newcombe(10, 10, 0, 10)
    assert (delta.item(), high.item()) == (1.0, 1.0)
    assert 0.0 < low.item() < 1.0
    # Newcombe's interval is antisymmetric.
    one, two = newcombe(56, 70, 48, 80), newcombe(48, 80, 56, 70)
    assert [part.item() for part in one] == pytest.approx([-two[0].item(), -two[2].item(), -two[1].item()])


def test_level_of_a_rate() -> None:
    for k, n, expected in (
        (0, 1_000, Level.stable),
        (1, 1_000, Level.stable),  # p = 0.01, and no more than one null in 1,000
        (9, 1_000, Level.stable),
        (11, 1_000, Level.minor),
        (50, 1_000, Level.minor),  # five points are not more than five points
        (51, 1_000, Level.major),
        (1_000, 1_000, Level.major),
        (0, 380, Level.insufficient),
        (0, 381, Level.stable),
        (20, 380, Level.insufficient),  # 5.3 %, down to 3.4 %
        (20, 200, Level.major),  # 10 %, down to 6.5 %
        (3, 10, Level.major),
        (1, 10, Level.insufficient),
    ):
        assert level(k, n) == expected, (k, n)
    # Thresholds are the user's. Wilson's upper end of 0 of n passes under 0.1 % at n = 3,838.
    assert level(20, 1_000, thresholds=(0.03, 0.05)) == Level.stable
    assert level(20, 1_000, thresholds=(0.005, 0.015)) == Level.major
    assert level(0, 3_837, thresholds=(0.001, 0.05)) == Level.insufficient
    assert level(0, 3_838, thresholds=(0.001, 0.05)) == Level.stable
    # A Zipf field always brings a few new values: 300 of 100,000 rows were the only ones of theirs.
    assert level(8, 1_000, base_k=300) == Level.stable
    assert level(60, 1_000, base_k=300) == Level.major
    fell = rate_verdicts(0, 1_000, 50_000, ROWS)
    assert (fell.delta.item(), fell.level.item()) == (-0.5, Level.stable)
    assert fell.p_value.item() < 1e-100


def test_a_rise_that_may_be_chance_is_not_enough() -> None:
    """3.0 % against 1.5 % of a baseline of 200: over the minor threshold, but the interval reaches below 0."""
    verdict = rate_verdicts(30, 1_000, 3, 200)
    assert verdict.delta.item() == pytest.approx(0.015)
    assert verdict.low.item() < 0.0
    assert verdict.level.item() == Level.stable
    verdict = rate_verdicts(93, 1_000, 6, 150)
    assert verdict.delta.item() > 0.05
    assert 0.0 < verdict.low.item() < 0.01, "major needs more than one point for sure"
    assert verdict.level.item() == Level.minor


def test_an_insufficient_verdict_has_a_reason() -> None:
    for k, n, base_n, phi, completeness, reason in (
        (0, 1_000, ROWS, 1.0, 1.0, ""),
        (50, 100, ROWS, 1.0, 1.0, ""),  # too few events for the thresholds, yet major
        (0, 0, ROWS, 1.0, 1.0, "no events"),
        (0, 100, ROWS, 1.0, 1.0, "too few events"),
        (0, 100, ROWS, 1.0, 0.9, "too few events"),
        (0, 100, ROWS, 1.0, 0.2, "lost events"),
        (0, 1_000, ROWS, 3.0, 1.0, "correlated events"),
        (0, 1_000, 0, 1.0, 1.0, "few training rows"),
    ):
        verdicts = rate_verdicts(k, n, 0, base_n, phi=phi, completeness=completeness)
        assert REASON_NAMES[verdicts.reason.item()] == reason
        assert (verdicts.level.item() == Level.insufficient) == bool(reason), reason


def test_overdispersion_divides_counts_and_not_rates() -> None:
    plain, phi = rate_verdicts(40, 1_000, 500, ROWS), rate_verdicts(40, 1_000, 500, ROWS, phi=2.0)
    same = rate_verdicts(20, 500, 500, ROWS)
    assert phi.rate == plain.rate == 0.04
    for name in ("delta", "low", "high", "p_value", "level", "enough"):
        assert getattr(phi, name) == getattr(same, name)
    assert phi.low < plain.low
    assert rate_verdicts(40, 1_000, 500, ROWS, phi=3.0).level.item() == Level.insufficient
    # That of the baseline reduces its rows.
    paid = rate_verdicts(40, 1_000, 300, 10_000, base_phi=3.0)
    same = rate_verdicts(40, 1_000, 100, 10_000 / 3)
    assert paid.baseline_rate == 0.03
    for name in ("low", "high", "p_value", "level"):
        assert getattr(paid, name) == pytest.approx(getattr(same, name))
    assert paid.low < rate_verdicts(40, 1_000, 300, 10_000).low
    # Divided counts are rounded for Fisher's test alone.
    scaled = rate_verdicts(50, 1_000, 10, ROWS, phi=1.7)
    assert scaled.p_value == rate_verdicts(29, 588, 10, ROWS).p_value
    assert scaled.low == newcombe(50 / 1.7, 1_000 / 1.7, 10, ROWS)[1]


def test_rates_without_events() -> None:
    verdicts = rate_verdicts([0, 5, 0], [0, 10, 0], [5, 0, 0], [10, 0, 0])
    assert verdicts.rate.tolist() == [0.0, 0.5, 0.0]
    assert verdicts.baseline_rate.tolist() == [0.5, 0.0, 0.0]
    assert verdicts.delta.tolist() == [0.0, 0.0, 0.0]
    assert verdicts.low.tolist() == [-1.0, -1.0, -1.0]
    assert verdicts.high.tolist() == [1.0, 1.0, 1.0]
    assert verdicts.p_value.tolist() == [1.0, 1.0, 1.0]
    assert verdicts.level.tolist() == [Level.insufficient] * 3
    assert verdicts.enough.tolist() == [False] * 3


def test_invalid_arguments_are_rejected() -> None:
    wrong: tuple[tuple[tuple[float, float, float, float], dict[str, Any], str], ...] = (
        ((-1, 10, 0, 10), {}, "window count"),
        ((1, 10, 11, 10), {}, "baseline count"),
        ((1, 10, 0, 10), {"phi": 0.9}, "at least 1"),
        ((1, 10, 0, 10), {"thresholds": (0.0, 0.05)}, "above 0"),
        ((1, 10, 0, 10), {"thresholds": (0.05, 0.05)}, "below its major threshold"),
    )
    for counts, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            rate_verdicts(*counts, **options)
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson(1, 2, 95)
