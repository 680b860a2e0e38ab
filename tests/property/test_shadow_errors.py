"""The comparison of a candidate with its primary keeps its error rates on days, and what it detects.

`python -m tests.reference.shadow_errors` and `python -m tests.reference.shadow_limits` print what is measured.
"""

import numpy as np
import pytest

from barograph_server.examples.flights.contract import SHADOW
from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS
from barograph_server.sketches.rollout.decision import Criterion, CriterionDays, Outcome, SliceDays, decide
from barograph_server.sketches.rollout.planned_auc import least_days
from tests.reference import shadow_decisions, shadow_errors, shadow_limits
from tests.reference.false_alarms import at_most

AT_MOST = at_most(shadow_errors.ALPHA, shadow_errors.RUNS)


def share(rule: str, draws: str) -> float:
    alarms = shadow_errors.false_differences(rule, draws)
    assert alarms is not None
    return float(alarms.mean())


@pytest.mark.long
def test_means_of_days_are_rarely_found_different() -> None:
    assert shadow_limits.false_means("normal", 28).mean() <= AT_MOST
    assert shadow_limits.false_means("skewed, 200 pairs a day", 28).mean() <= at_most(
        shadow_errors.ALPHA + 0.02, shadow_errors.RUNS
    )


@pytest.mark.long
def test_a_candidate_at_its_margin_is_rarely_promoted_after_the_least_days() -> None:
    for (worst_day, margin), alpha in zip(
        shadow_limits.RARE, (shadow_errors.ALPHA, shadow_errors.ALPHA + 0.03, shadow_errors.ALPHA + 0.03), strict=True
    ):
        promoted = shadow_limits.promoted_with_rare_harm(worst_day, margin, least_days(margin, worst_day))
        assert promoted.mean() <= at_most(alpha, shadow_errors.RUNS)
    assert shadow_limits.promoted_with_rare_harm(*shadow_limits.RARE[0], 28).mean() > 0.4, "before the least days"


def test_golden_variance_of_independent_rows() -> None:
    a, b = np.array([[0.1, 0.4, 0.35, 0.8, 0.7, 0.2, 0.9, 0.6], [0.3, 0.2, 0.6, 0.7, 0.4, 0.5, 0.8, 0.1]])
    label = np.array([0, 0, 1, 1, 1, 0, 1, 0], np.bool_)
    assert shadow_errors.delong_variance(a, b, label) == pytest.approx(0.0390625, abs=1e-9)


INDEPENDENT_SIMULATION = {
    "McNemar's test, every hour": (0.53, 1.0, 1.0, 1.0, None, None),
    "McNemar's test, once at the end": (None, 0.77, 0.83, 0.84, None, None),
    "e-value of wins and losses, every hour": (0.02, 1.0, 1.0, 1.0, None, None),
    "e-process of days, κ = 1": (None, 0.012, 0.074, 0.15, 0.086, 0.057),
    "e-process of days": (None, 0.006, 0.0215, 0.031, 0.0065, 0.0085),
    "e-process of blocks of 2 days, κ = 1": (None, 0.006, 0.022, 0.037, 0.026, 0.012),
    "confidence sequence of days, κ = 1, from day 10": (None, 0.07, 0.14, 0.27, 0.20, 0.16),
    shadow_errors.DECIDES: (None, 0.01, 0.0155, 0.0285, 0.019, 0.013),
}
"""Shares that another program measured in as many runs with other random numbers, in the order of `DRAWS`."""


@pytest.mark.long
@pytest.mark.parametrize("rule", INDEPENDENT_SIMULATION)
def test_shares_equal_those_of_an_independent_simulation(rule: str) -> None:
    for draws, expected in zip(shadow_errors.DRAWS, INDEPENDENT_SIMULATION[rule], strict=True):
        if expected is not None:
            middle = (share(rule, draws) + expected) / 2
            error = (2 * middle * (1 - middle) / shadow_errors.RUNS) ** 0.5
            assert share(rule, draws) == pytest.approx(expected, abs=4 * error + 0.005), draws


UNKNOWABLE = {"runs of 4 days", "runs of 8 days", "autoregressive, 0.92, half noise"}
"""Series whose lags say too little about the next ones: the documents name them."""
TOO_ALIKE = {"autoregressive, 0.8", "autoregressive, 0.92"}
"""Series without an interval in most runs, which alone keeps decisions right."""


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in shadow_errors.SERIES if name not in UNKNOWABLE])
def test_days_that_resemble_each_other_rarely_decide_falsely(name: str) -> None:
    errors = shadow_errors.series_errors(name)
    assert errors.promotes.mean() <= AT_MOST
    assert errors.holds.mean() <= AT_MOST
    if name in TOO_ALIKE:
        assert errors.unknown[:, 60 - BURN_IN_DAYS].mean() > 0.7
    else:
        assert errors.excluded.mean() <= AT_MOST
    if name == "independent":
        assert errors.unknown.mean() < 0.01


@pytest.mark.long
def test_auc_keeps_its_error_rate_at_declared_looks() -> None:
    for block in (1, 2):
        assert shadow_errors.auc_crossings(block, with_kappa=True).mean() <= at_most(
            shadow_errors.ALPHA, shadow_errors.AUC_RUNS
        )
    difference, of_rows, of_days = shadow_errors.auc_standard_errors()
    assert 0.0 < of_rows < of_days / 5
    assert difference > 2 * of_days


@pytest.mark.long
def test_real_days_at_the_margin_are_rarely_promoted() -> None:
    for draws, margin in zip(shadow_limits.CENTERED, (0.02, 0.008), strict=True):
        assert shadow_limits.promoted_at_margin(draws, margin, 28).mean() <= AT_MOST


@pytest.mark.long
def test_harmed_slices_are_found_and_others_rarely_named() -> None:
    discovered = []
    for harm in (0.0, 0.02, 0.1):
        false_share, of_harmed, alarm = shadow_limits.slice_discoveries(harm)
        assert false_share.mean() <= at_most(shadow_limits.SLICE_ALPHA, shadow_limits.SLICE_RUNS)
        discovered.append(of_harmed.mean())
        if not harm:
            assert alarm.mean() <= at_most(shadow_limits.SLICE_ALPHA, shadow_limits.SLICE_RUNS)
    assert discovered[0] == 0.0
    assert discovered[2] > 0.4 > discovered[1]


def test_simulated_decisions_are_those_of_the_product() -> None:
    sign = shadow_decisions.day_signs(2, 4)
    simulated = [
        shadow_decisions.swapped(sign).moved(*move)
        for move in ((0.0, 0.0), (-0.01, 0.0), (-0.05, -0.02), (0.04, 0.015))
    ]
    outcomes = set()
    for candidates in simulated:
        paths = shadow_decisions.decision_paths(candidates)
        for run in range(len(sign)):
            for day in (28, 29, 40, 61, 97, 153):
                sums = candidates.sums | {"missing": np.zeros_like(candidates.pairs)}
                pairs = candidates.pairs[run, :day]
                criteria = [
                    CriterionDays(Criterion(name, margin, SHADOW.worst_day), sums[name][run, :day], pairs)
                    for name, margin in SHADOW.margins.items()
                ]
                slices = [
                    SliceDays(str(number), "accuracy", own_sums[:day], own_pairs[:day])
                    for number, (own_sums, own_pairs) in enumerate(
                        zip(candidates.slice_sums[run], candidates.slice_pairs[run], strict=True)
                    )
                ]
                outcome = decide(criteria, slices).outcome
                outcomes.add(outcome)
                at = run, day - BURN_IN_DAYS
                assert paths.promotes[at] == (outcome is Outcome.promote), (run, day)
                assert paths.holds[at] == (outcome is Outcome.hold), (run, day)
    assert outcomes == set(Outcome)


@pytest.mark.long
@pytest.mark.parametrize("draws", shadow_decisions.NO_DIFFERENCE)
def test_equal_candidates_are_rarely_held_and_those_at_a_margin_rarely_promoted(draws: str) -> None:
    assert shadow_decisions.paths_of(draws, "equal").holds.any(axis=1).mean() <= shadow_errors.ALPHA
    for move in shadow_decisions.MOVES:
        if move != "equal":
            assert shadow_decisions.paths_of(draws, move).promotes.any(axis=1).mean() <= shadow_errors.ALPHA, move
    assert shadow_decisions.paths_of(draws, "twice the margins").holds.any(axis=1).mean() > 0.95
    naive = shadow_decisions.hourly_mcnemar(draws)
    assert naive is None or naive.mean() > 0.95
