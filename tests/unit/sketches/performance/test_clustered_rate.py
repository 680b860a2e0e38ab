"""The mean score of repeated items: values computed by hand, and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.performance.clustered_rate import clustered_rate


def test_the_interval_is_wilsons_of_the_effective_answers() -> None:
    # By hand: p = 2/3, Σ(s − 2p)² = 10/3, variance 6/5 · (10/3) / 144 = 1/36, φ = (1/36) · 12 / (2/9) = 1.5: 8 answers.
    # The golden values are Wilson's formula written out with these numbers.
    estimate = clustered_rate([2, 1, 0, 2, 2, 1], [2] * 6)
    assert estimate.value == pytest.approx(2 / 3, abs=1e-12)
    assert estimate.low == pytest.approx(0.3387120641610234, abs=1e-9)
    assert estimate.high == pytest.approx(0.8864854142110165, abs=1e-9)


def test_epochs_that_repeat_the_first_answer_add_nothing() -> None:
    once = clustered_rate([1, 0, 1, 1] * 15, [1] * 60)
    thrice = clustered_rate([3, 0, 3, 3] * 15, [3] * 60)
    assert thrice.low == pytest.approx(once.low, abs=1e-12)
    assert thrice.high == pytest.approx(once.high, abs=1e-12)


def test_without_a_difference_between_items_each_counts_once() -> None:
    estimate = clustered_rate([3] * 10, [3] * 10)
    assert estimate.low == pytest.approx(0.7224672001371109, abs=1e-9)
    assert estimate.high == 1.0
    assert clustered_rate([2], [4]).low == pytest.approx(0.05462075552885204, abs=1e-9)
    assert np.isnan(clustered_rate([], []).value)


@pytest.mark.parametrize(
    ("sums", "counts"),
    [([1, 2], [1, 1]), ([1], [0]), ([1, 1], [1]), ([-1], [1]), ([[1]], [[1]]), ([float("nan")], [1])],
)
def test_scores_outside_0_to_1_are_errors(sums: list[float], counts: list[float]) -> None:
    with pytest.raises(ValueError, match=r"items need one shape|between 0 and 1"):
        clustered_rate(sums, counts)


@pytest.mark.parametrize(("items", "epochs", "p"), [(50, 1, 0.5), (50, 4, 0.5), (50, 4, 0.9), (100, 4, 0.9)])
def test_intervals_cover_the_mean_of_new_items(items: int, epochs: int, p: float) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(1000):
        sums = rng.binomial(epochs, rng.beta(2 * p, 2 * (1 - p), items))
        estimate = clustered_rate(sums, np.full(items, epochs))
        covered += bool(estimate.low <= p <= estimate.high)
    assert covered >= 915
