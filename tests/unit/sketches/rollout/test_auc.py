"""Differences of AUC with days as clusters, and the bounds of declared looks."""

import math

import numpy as np
import pytest

from barograph_server.sketches.rollout.decision import AucDays, Criterion, Outcome, decide
from barograph_server.sketches.rollout.planned_auc import (
    auc_difference,
    look_bounds,
    planned_auc,
    planned_days,
    unseen_loss,
)
from tests.support.performance import score_histogram

BOUNDS = [4.87688494879, 3.35701192157, 2.68028006454, 2.28981676771, 2.03103204331]


def days(t: int, shift: float = 0.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return histograms of both sides; the candidate's scores of positives are moved by `shift` bins more."""
    rng = np.random.default_rng(seed)
    sides = np.zeros((2, t, 60, 3))
    for day in range(t):
        for positive in (0, 1):
            primary = rng.normal(25.0 + 6.0 * positive, 5.0, 300)
            candidate = primary + rng.normal(shift * positive, 2.0, 300)
            for side, values in enumerate((primary, candidate)):
                np.add.at(sides[side, day], np.clip(values, 0, 59).astype(int), [1.0, 0.0, float(positive)])
    return sides[0], sides[1]


def test_looks_are_planned_and_not_before_the_burn_in() -> None:
    for days_planned, looks in (
        (140, [28, 56, 84, 112, 140]),
        (60, [36, 48, 60]),
        (28, [28]),
        (151, [31, 61, 91, 121, 151]),
    ):
        assert planned_days(days_planned) == looks
    # Equal ranks leave the loss of days that have not occurred.
    primary, _ = days(60)
    newest = planned_auc(primary, primary, 140, worst_day=0.05)
    assert (newest.days, newest.half) == (56, unseen_loss(56, 0.05))
    primary[..., 2] = 0.0
    assert planned_auc(primary, primary, 140).half == math.inf


def test_a_look_has_the_golden_bound_and_stays_until_the_next_one() -> None:
    primary, candidate = days(140)
    before = planned_auc(*days(27), 140)
    assert (before.days, before.next_days, before.half) == (0, 28, math.inf)
    assert math.isnan(before.value)
    for number, t in enumerate((28, 56, 84, 112, 140)):
        result = auc_difference(primary[:t], candidate[:t])
        error = math.sqrt(float(result.variance * result.kappa))
        for now in (t, min(t + 27, 140)):
            newest = planned_auc(primary[:now], candidate[:now], 140)
            assert (newest.days, newest.next_days) == (t, None if t == 140 else t + 28)
            assert newest.value == float(result.difference)
            assert newest.half / error == pytest.approx(BOUNDS[number], abs=1e-9)


def decided(t: int, shift: float, margin: float = 0.02, least: int = 28) -> tuple[Outcome, AucDays]:
    data = AucDays(Criterion("auc", margin, 0.1, least), *days(t, shift), 140)
    return decide([data]).outcome, data


def test_decisions_change_only_at_looks() -> None:
    assert [decided(t, 1.0)[0] for t in (27, 28, 55, 56)] == [Outcome.insufficient, *3 * [Outcome.promote]]
    assert [decided(t, 1.0, least=40)[0] for t in (28, 55, 56)] == [*2 * [Outcome.insufficient], Outcome.promote]
    assert decided(112, -3.0)[0] == Outcome.hold


def test_days_that_are_too_alike_wait_for_a_later_look() -> None:
    primary, candidate = (np.repeat(each[:8], 7, axis=0) for each in days(140))
    (verdict,) = decide([AucDays(Criterion("auc", 0.02), primary, candidate, 280)]).criteria
    assert (verdict.too_alike, verdict.is_met, verdict.look_days) == (True, False, 56)
    assert verdict.low == -math.inf
    assert 56 + verdict.days_left >= 6 * verdict.kappa


def test_the_verdict_names_the_next_look() -> None:
    (verdict,) = decide([decided(60, 0.0, margin=0.0005)[1]]).criteria
    assert (verdict.days, verdict.look_days, verdict.next_look) == (60, 56, 84)
    assert not verdict.is_met
    # 0.0005 of 0.1 needs more than 140 days.
    assert verdict.least_days == 598
    assert verdict.days_left == math.inf
    (verdict,) = decide([decided(20, 0.0, margin=0.02, least=30)[1]]).criteria
    assert (verdict.least_days, verdict.days_left) == (56, 36)
    assert (verdict.low, verdict.high) == (-math.inf, math.inf)
    # Days without labelled rows are no days.
    primary, candidate = days(30)
    primary[[3, 5]] = candidate[[3, 5]] = 0.0
    (verdict,) = decide([AucDays(Criterion("auc", 0.05), primary, candidate, 140)]).criteria
    assert (verdict.days, verdict.look_days) == (28, 28)


def test_golden_bounds() -> None:
    for bounds in (BOUNDS, [3.71030287326, 2.51142748127, 1.99304747761], [1.959963984540054]):
        looks = np.arange(1, len(bounds) + 1) / len(bounds)
        np.testing.assert_allclose(look_bounds(looks), bounds, rtol=0, atol=1e-9)
    for shares, alpha in (([], 0.05), ([0.0, 1.0], 0.05), ([1.0], 0.0)):
        with pytest.raises(ValueError):
            look_bounds(shares, alpha)


def test_uneven_looks_keep_the_error_rate() -> None:
    shares = np.array([0.3, 0.35, 1.0])
    steps = np.random.default_rng(5).standard_normal((200_000, 3)) * np.sqrt(np.diff(shares, prepend=0.0))
    z = steps.cumsum(axis=1) / np.sqrt(shares)
    crossed = (np.abs(z) > look_bounds(shares)).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=0.002)


A = np.array([0.1, 0.4, 0.35, 0.8, 0.7, 0.2, 0.9, 0.6])
B = np.array([0.3, 0.2, 0.6, 0.7, 0.4, 0.5, 0.8, 0.1])
LABELS = np.array([0, 0, 1, 1, 1, 0, 1, 0], np.bool_)
EDGES = np.linspace(0.05, 0.95, 19)
FOUR_AND_FOUR = [np.arange(4), np.arange(4, 8)]


def histograms(scores: np.ndarray, days: list[np.ndarray]) -> np.ndarray:
    return np.stack([score_histogram(scores[day], EDGES, LABELS[day]) for day in days])


def test_golden_variance_of_two_days() -> None:
    a, b = histograms(A, FOUR_AND_FOUR), histograms(B, FOUR_AND_FOUR)
    result = auc_difference(a, b)
    assert float(result.primary) == pytest.approx(0.875, abs=1e-9)
    assert float(result.candidate) == pytest.approx(0.9375, abs=1e-9)
    assert float(result.variance) == pytest.approx(0.0625, abs=1e-9)
    # Comparisons are separate.
    both = np.stack([a, b])
    assert auc_difference(both, both[::-1]).difference.tolist() == pytest.approx([0.0625, -0.0625], abs=1e-12)
    # Equal models have no variance, and without a class there is no AUC.
    same = auc_difference(a, a)
    assert float(same.difference) == 0.0
    assert np.isnan(same.z)
    a[..., 2] = 0.0
    assert np.isnan(auc_difference(a, a).difference)


def test_different_rows_are_rejected() -> None:
    with pytest.raises(ValueError, match="same labelled rows"):
        auc_difference(histograms(A, FOUR_AND_FOUR), histograms(A, [np.arange(3), np.arange(3, 8)]))
    with pytest.raises(ValueError, match="histograms"):
        auc_difference(histograms(A, FOUR_AND_FOUR[:1]), histograms(B, FOUR_AND_FOUR[:1]))
