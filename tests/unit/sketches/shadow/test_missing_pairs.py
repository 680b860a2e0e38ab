"""Bounds with missing answers, and the floor of a primary that is not deterministic."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.shadow.missing_pairs import MissingPairs, bounded_sums
from sketches.shadow.noise_floor import disagreement_beyond_copy


def test_golden_bounds() -> None:
    observed = 520 - 430
    bounds = bounded_sums(observed, 9_700, MissingPairs(candidate=300, primary_quality=240))
    assert observed / 9_700 == pytest.approx(0.00927835051546, abs=1e-9)
    assert float(bounds.pairs) == 10_000
    assert float(bounds.low / bounds.pairs) == pytest.approx(-0.015, abs=1e-9)
    assert float(bounds.high / bounds.pairs) == pytest.approx(0.015, abs=1e-9)


def test_bounds_are_reached_by_the_worst_and_the_best_answers() -> None:
    rng = np.random.default_rng(1)
    primary, candidate = rng.integers(0, 2, (2, 40))
    no_candidate, no_primary, neither = slice(0, 10), slice(10, 17), slice(17, 20)
    missing = MissingPairs(10, primary[no_candidate].sum(), 7, candidate[no_primary].sum(), 3)
    bounds = bounded_sums((candidate - primary)[20:].sum(), 20, missing)
    for answer, end in ((0, bounds.low), (1, bounds.high)):
        completed_candidate, completed_primary = candidate.copy(), primary.copy()
        completed_candidate[no_candidate] = completed_candidate[neither] = answer
        completed_primary[no_primary] = completed_primary[neither] = 1 - answer
        assert float(end) == (completed_candidate - completed_primary).sum()


@pytest.mark.parametrize("missing", [MissingPairs(-1, 0), MissingPairs(2, 3), MissingPairs(0, 0, 1, 1.5)])
def test_impossible_counts_are_rejected(missing: MissingPairs) -> None:
    with pytest.raises(ValueError):
        bounded_sums(0, 10, missing)


def test_a_deterministic_primary_has_no_floor() -> None:
    assert disagreement_beyond_copy([3, 4], [0, 0]) is None
    floor = disagreement_beyond_copy([3, 4], [1, 6])
    assert floor is not None
    assert floor.tolist() == [-2.0, 2.0]
