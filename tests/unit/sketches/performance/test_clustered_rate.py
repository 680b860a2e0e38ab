"""The mean score of repeated items: values computed by hand, and coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from barograph_server.sketches.performance.clustered_rate import clustered_rate

GOLDEN_COVERAGE = [95, 95, 95, 92]
"""Of 100 intervals for each of `CASES`."""


def test_the_interval_is_wilsons_of_the_effective_answers() -> None:
    # By hand: p = 2/3, Σ(s − 2p)² = 10/3, variance 6/5 · (10/3) / 144 = 1/36, φ = (1/36) · 12 / (2/9) = 1.5: 8 answers.
    # The golden values are Wilson's formula written out with these numbers.
    estimate = clustered_rate([2, 1, 0, 2, 2, 1], [2] * 6)
    golden = (2 / 3, 0.3387120641610234, 0.8864854142110165)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(golden, abs=1e-9)
    # Epochs that repeat the first answer add nothing.
    once, thrice = clustered_rate([1, 0, 1, 1] * 15, [1] * 60), clustered_rate([3, 0, 3, 3] * 15, [3] * 60)
    np.testing.assert_allclose((thrice.low, thrice.high), (once.low, once.high), rtol=0, atol=1e-12)


def test_without_a_difference_between_items_each_counts_once() -> None:
    estimate = clustered_rate([3] * 10, [3] * 10)
    assert estimate.low == pytest.approx(0.7224672001371109, abs=1e-9)
    assert estimate.high == 1.0
    assert clustered_rate([2], [4]).low == pytest.approx(0.05462075552885204, abs=1e-9)
    assert np.isnan(clustered_rate([], []).value)


def test_scores_outside_0_to_1_are_errors() -> None:
    wrong: tuple[tuple[Any, Any], ...] = (([1, 2], [1, 1]), ([1], [0]), ([1, 1], [1]), ([float("nan")], [1]))
    for sums, counts in wrong:
        with pytest.raises(ValueError, match=r"items need one shape|between 0 and 1"):
            clustered_rate(sums, counts)


def covering(runs: int, items: int, epochs: int, p: float) -> int:
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(runs):
        sums = rng.binomial(epochs, rng.beta(2 * p, 2 * (1 - p), items))
        estimate = clustered_rate(sums, np.full(items, epochs))
        inside += bool(estimate.low <= p <= estimate.high)
    return inside


CASES = ((50, 1, 0.5), (50, 4, 0.5), (50, 4, 0.9), (100, 4, 0.9))
"""Items, epochs, mean."""


def test_golden_coverage() -> None:
    assert [covering(100, *case) for case in CASES] == GOLDEN_COVERAGE


@pytest.mark.long
def test_intervals_cover_the_mean_of_new_items() -> None:
    for case in CASES:
        assert covering(1000, *case) >= 915, case
