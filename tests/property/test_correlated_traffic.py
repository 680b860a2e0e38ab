"""Verdicts on correlated traffic keep their promises: a short form of the tables of docs/statistics.md."""

import numpy as np
import pytest

from barograph_server.sketches.baseline.levels import Level
from barograph_server.warehouse.signals.verdicts import UNLIKE_P
from tests.reference import correlated_traffic

STREAMS = 50
STEADY = [kind for kind in correlated_traffic.KINDS if kind.name != "campaigns"]
SLOW = next(kind for kind in correlated_traffic.KINDS if kind.name.startswith("slow level"))


@pytest.mark.parametrize("kind", STEADY, ids=lambda kind: kind.name)
def test_quiet_days_are_hardly_ever_major_and_intervals_cover(kind: correlated_traffic.Kind) -> None:
    for shift in (0.0, 0.5):
        verdicts, true = correlated_traffic.days(kind, shift, STREAMS)
        is_covered = correlated_traffic.covered(verdicts, true).mean(axis=0)
        error = float(is_covered.std()) / np.sqrt(STREAMS)
        assert is_covered.mean() >= 0.9 - 4 * error, shift
        if shift == 0.0:
            assert (verdicts.level == Level.major).mean() <= 0.015
        elif kind.name == "independent":
            assert (verdicts.level == Level.major).mean() > 0.99


def test_eight_training_weeks_state_their_false_rate_and_the_upper_limit_is_safe() -> None:
    estimate, stated = correlated_traffic.weeks(SLOW, 8, "estimate", 4 * STREAMS)
    upper, _ = correlated_traffic.weeks(SLOW, 8, "upper", 4 * STREAMS)
    assert 0.005 < estimate.mean() < 0.05
    assert estimate.mean() < stated.mean() < 0.15
    assert upper.mean() <= 0.01


@pytest.mark.parametrize("kind", STEADY, ids=lambda kind: kind.name)
@pytest.mark.parametrize("length", correlated_traffic.WINDOWS)
def test_mean_ranks_of_quiet_windows_are_as_rarely_extreme_as_p_says(
    kind: correlated_traffic.Kind, length: int
) -> None:
    p, _ = correlated_traffic.p_of_windows(kind, length, 0.0, STREAMS)
    is_small = (p < 0.05).mean(axis=0)
    assert is_small.mean() <= 0.05 + 4 * float(is_small.std()) / np.sqrt(STREAMS)
    assert (p < UNLIKE_P).mean() <= 0.005


def test_mean_ranks_tell_drift_of_a_level_that_psi_cannot_decide() -> None:
    kind = next(kind for kind in correlated_traffic.KINDS if kind.name.startswith("level, ρ .8"))
    assert (correlated_traffic.p_of_windows(kind, 7 * correlated_traffic.DAY, 0.5, STREAMS)[0] < UNLIKE_P).mean() > 0.8


@pytest.mark.parametrize("name", [name for name in correlated_traffic.RATES if "bursts" not in name])
def test_a_varying_null_rate_pages_less_than_once_a_month(name: str) -> None:
    assert correlated_traffic.false_pages(name, 1, 3 * STREAMS).mean() <= 1.0


def test_bursts_that_training_had_page_rarely() -> None:
    """In ten hours of a month the rate is 25 %."""
    (name,) = (name for name in correlated_traffic.RATES if "bursts" in name)
    assert correlated_traffic.false_pages(name, 1, STREAMS).mean() <= 2.5
