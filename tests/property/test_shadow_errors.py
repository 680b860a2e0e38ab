"""The comparison of a candidate with its primary keeps its error rates on days, and what it detects.

`python -m tests.reference.shadow_errors` and `python -m tests.reference.shadow_limits` print what is measured.
"""

from __future__ import annotations

import numpy as np
import pytest

from sketches.shadow.least_days import least_days
from tests.reference.false_alarms import at_most
from tests.reference.shadow_errors import (
    ALPHA,
    AUC_RUNS,
    DECIDES,
    DRAWS,
    RUNS,
    auc_crossings,
    auc_standard_errors,
    delong_variance,
    false_differences,
)
from tests.reference.shadow_limits import (
    CENTERED,
    RARE,
    SLICE_ALPHA,
    SLICE_RUNS,
    days_to_decide,
    false_means,
    promoted_at_margin,
    promoted_with_rare_harm,
    slice_discoveries,
)


def share(rule: str, draws: str) -> float:
    alarms = false_differences(rule, draws)
    assert alarms is not None
    return float(alarms.mean())


def test_independent_days_are_rarely_found_different() -> None:
    assert false_means("normal", 28).mean() <= at_most(ALPHA, RUNS)


def test_a_candidate_at_its_margin_is_rarely_promoted_after_the_least_days() -> None:
    worst_day, margin = RARE[0]
    promoted = promoted_with_rare_harm(worst_day, margin, least_days(margin, worst_day))
    assert promoted.mean() <= at_most(ALPHA, RUNS)


@pytest.mark.long
def test_rare_harm_is_promoted_before_the_least_days_only() -> None:
    for worst_day, margin in RARE[1:]:
        promoted = promoted_with_rare_harm(worst_day, margin, least_days(margin, worst_day))
        assert promoted.mean() <= at_most(ALPHA + 0.03, RUNS)
    assert promoted_with_rare_harm(*RARE[0], 28).mean() > 0.4


@pytest.mark.long
def test_few_days_or_few_skewed_pairs_exceed_the_error_rate() -> None:
    assert false_means("normal", 2).mean() > 0.15
    assert false_means("skewed, one pair a day", 28).mean() > 0.15
    assert false_means("skewed, 200 pairs a day", 28).mean() <= at_most(ALPHA + 0.02, RUNS)


def test_golden_variance_of_independent_rows() -> None:
    a, b = np.array([[0.1, 0.4, 0.35, 0.8, 0.7, 0.2, 0.9, 0.6], [0.3, 0.2, 0.6, 0.7, 0.4, 0.5, 0.8, 0.1]])
    label = np.array([0, 0, 1, 1, 1, 0, 1, 0], np.bool_)
    assert delong_variance(a, b, label) == pytest.approx(0.0390625, abs=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize("rule", [DECIDES, "e-process of days", "e-process of blocks of 7 days, κ = 1"])
def test_rules_of_days_keep_their_error_rate(rule: str, draws: str) -> None:
    assert share(rule, draws) <= at_most(ALPHA, RUNS)


@pytest.mark.long
def test_rules_of_events_and_hours_find_differences_where_only_days_differ() -> None:
    for rule in ("McNemar's test, every hour", "e-value of wins and losses, every hour"):
        assert share(rule, "days swapped") > 0.95
    for rule in ("McNemar's test, once at the end", "e-process of hours"):
        assert share(rule, "days swapped") > 0.7
    assert share("e-value of wins and losses, every hour", "events swapped") <= at_most(ALPHA, RUNS)


@pytest.mark.long
def test_without_kappa_correlated_days_exceed_the_error_rate() -> None:
    rule = "confidence sequence of days, κ = 1, from day 10"
    for draws in ("3 days", *CENTERED):
        assert share(rule, draws) > 0.1


@pytest.mark.long
def test_auc_keeps_its_error_rate_at_declared_looks() -> None:
    for block in (1, 2):
        assert auc_crossings(block, with_kappa=True).mean() <= at_most(ALPHA, AUC_RUNS)
    difference, of_rows, of_days = auc_standard_errors()
    assert 0.0 < of_rows < of_days / 5
    assert difference > 2 * of_days


@pytest.mark.long
def test_a_real_difference_is_found() -> None:
    days = days_to_decide(CENTERED[0], 1.0)
    assert np.isfinite(days).mean() > 0.95
    assert np.median(days) < 45
    assert 0.5 < np.isfinite(days_to_decide(CENTERED[0], 0.5)).mean() < 0.75


@pytest.mark.long
def test_real_days_at_the_margin_are_rarely_promoted() -> None:
    for draws, margin in zip(CENTERED, (0.02, 0.008), strict=True):
        assert promoted_at_margin(draws, margin, 28).mean() <= at_most(ALPHA, RUNS)


@pytest.mark.long
def test_harmed_slices_are_found_and_others_rarely_named() -> None:
    discovered = []
    for harm in (0.0, 0.02, 0.1):
        false_share, of_harmed, alarm = slice_discoveries(harm)
        assert false_share.mean() <= at_most(SLICE_ALPHA, SLICE_RUNS)
        discovered.append(of_harmed.mean())
        if not harm:
            assert alarm.mean() <= at_most(SLICE_ALPHA, SLICE_RUNS)
    assert discovered[0] == 0.0
    assert discovered[2] > 0.4 > discovered[1]
