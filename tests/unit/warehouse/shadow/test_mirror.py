"""With the sides exchanged, the criteria judge the new primary."""

from __future__ import annotations

import numpy as np
import pytest

from warehouse.shadow.criteria import differences
from warehouse.shadow.days import COUNTED, ShadowDays
from warehouse.shadow.mirror import mirrored


def made_days() -> ShadowDays:
    rng = np.random.default_rng(5)
    sums = {name: rng.integers(50, 100, 3).astype(float) for name in COUNTED} | {"requests": np.full(3, 200.0)}
    missing = {"primary-failed": np.array([1.0, 0.0, 2.0]), "timeout": np.array([4.0, 5.0, 6.0])}
    return ShadowDays("all", ("a", "b", "c"), np.ones(3, bool), np.ones(3, bool), sums, missing)


@pytest.mark.parametrize("name", ["accuracy", "brier", "log_loss", "mae", "latency"])
def test_differences_change_their_sign(name: str) -> None:
    days = made_days()
    sums, pairs = differences(name, days)
    other_sums, other_pairs = differences(name, mirrored(days))
    assert np.any(sums != 0.0)
    np.testing.assert_array_equal(other_sums, -sums)
    np.testing.assert_array_equal(other_pairs, pairs)


def test_only_failures_of_the_new_primary_count_against_it() -> None:
    sums, requests = differences("missing", mirrored(made_days()))
    assert sums.tolist() == [-1.0, 0.0, -2.0]
    assert requests.tolist() == [196.0, 195.0, 194.0]


def test_a_shadow_without_an_answer_is_no_loss_of_the_new_primary() -> None:
    other = mirrored(made_days())
    assert not other.sums["missing_labelled"].any()
    assert not other.sums["missing_right"].any()
