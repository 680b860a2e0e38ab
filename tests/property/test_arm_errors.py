"""The comparison of two arms of an A/B test keeps its error rates, also if units stay in their arm.

`python -m tests.reference.arm_errors` prints what is measured.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from sketches.shadow.day_interval import BURN_IN_DAYS
from sketches.shadow.split_traffic import unit_variance
from tests.reference.arm_errors import (
    BUCKETS,
    DRAWS,
    QUALITIES,
    RUNS,
    UNIT_Z,
    days_to_decide,
    false_differences,
    false_promotions,
    half_width,
    holds,
    paired,
    rule_of,
    variance_path,
)
from tests.reference.false_alarms import at_most
from tests.reference.shadow_errors import ALPHA


def test_the_variance_after_each_day_is_that_of_the_days_so_far() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(5.0, (40, 2, BUCKETS)).astype(np.float64)
    counts[3, 1] = 0.0
    sums = rng.binomial(counts.astype(np.int64), 0.7).astype(np.float64)
    path = variance_path(sums, counts)
    assert path[5:].tolist() == pytest.approx([unit_variance(sums[: t + 1], counts[: t + 1]) for t in range(5, 40)])
    assert pytest.approx(ndtri(1.0 - ALPHA / 4.0)) == UNIT_Z


@pytest.mark.long
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("name", DRAWS)
def test_arms_of_one_model_are_rarely_found_different(name: str, quality: str) -> None:
    assert RUNS >= 500
    assert false_differences(rule_of(name), name, quality).mean() <= at_most(ALPHA, RUNS)
    assert false_promotions(name, quality).mean() <= at_most(ALPHA, RUNS)


@pytest.mark.long
@pytest.mark.parametrize("name", ["predictions", "units"])
def test_the_decision_rarely_holds_an_arm_of_the_same_model(name: str) -> None:
    looks = range(BURN_IN_DAYS, 154, 10)
    assert holds(name, looks).mean() <= at_most(ALPHA, RUNS)


@pytest.mark.long
def test_without_units_the_luck_of_one_assignment_looks_like_a_difference() -> None:
    assert false_differences("days", "units", "accuracy").mean() > 0.4
    assert false_differences("independent events", "predictions", "accuracy").mean() > 0.15


@pytest.mark.long
def test_a_real_difference_is_found_and_pairs_know_it_better() -> None:
    days = days_to_decide("units", "accuracy")
    assert np.isfinite(days).mean() > 0.9
    half, day = paired("accuracy")
    assert day <= np.median(days)
    assert half < half_width("predictions", "accuracy") < half_width("units", "accuracy")
