"""Agreement of reviewers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.sketches.judges.agreement import MISSING, agreement

TEXTBOOK = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, -1, -1, -1],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, -1, 3],
        [-1, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, -1],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, -1],
    ]
)
"""Krippendorff's example: four reviewers, twelve items, five categories."""


def random_codes(seed: int, reviewers: int, items: int, accuracy: float, missing: float = 0.1) -> np.ndarray:
    """Return labels that are the true category with probability `accuracy`, and otherwise one of three at random."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=items)
    codes = np.where(rng.random((reviewers, items)) < accuracy, truth, rng.integers(3, size=(reviewers, items)))
    return np.where(rng.random(codes.shape) < missing, MISSING, codes)


def test_the_textbook_example() -> None:
    result = agreement(TEXTBOOK)
    assert result.alpha == pytest.approx(113 / 152, abs=1e-12)
    assert round(result.alpha, 3) == 0.743
    assert result.items == 11
    assert np.isnan([result.low, result.high]).all()
    # The least agreement comes first.
    assert result.disagreements.tolist() == [5, 1, 7]


def test_perfect_systematic_and_undefined_agreement() -> None:
    perfect = agreement([[0, 1, 1, 2], [0, 1, 1, 2]])
    assert (perfect.alpha, perfect.disagreements.tolist()) == (1.0, [])
    assert agreement([[0, 1, 0, 1], [1, 0, 1, 0]]).alpha < 0.0
    # Without two categories or pairs it is undefined.
    for codes in ([[0, 0], [0, 0]], [[0, -1], [-1, 1]], np.full((2, 3), -1), np.zeros((0, 4), int)):
        assert np.isnan(agreement(codes).alpha)
    for wrong in ([0, 1, 1], [[0.0, 1.0]], [[0, -2]], [["a", "b"]]):
        with pytest.raises(ValueError, match="codes must"):
            agreement(wrong)


@given(st.integers(0, 10_000), st.floats(0.3, 0.95))
@settings(max_examples=25)
def test_alpha_equals_that_of_the_coincidence_matrix(seed: int, accuracy: float) -> None:
    codes = random_codes(seed, 4, 30, accuracy)
    matrix = np.zeros((3, 3))
    for item in codes.T:
        labels = item[item >= 0]
        for i, one in enumerate(labels):
            for j, other in enumerate(labels):
                if i != j:
                    matrix[one, other] += 1 / (len(labels) - 1)
    total, margins = matrix.sum(), matrix.sum(axis=1)
    expected = (total**2 - (margins**2).sum()) / (total - 1)
    assert agreement(codes).alpha == pytest.approx(1 - (total - np.trace(matrix)) / expected, abs=1e-9)


def test_the_interval_is_that_of_items_left_out_one_by_one() -> None:
    codes = random_codes(1, 3, 60, 0.6)
    result = agreement(codes)
    paired = np.flatnonzero((codes >= 0).sum(axis=0) >= 2)
    without = np.array([agreement(np.delete(codes, item, axis=1)).alpha for item in paired])
    error = np.sqrt((len(paired) - 1) * without.var())
    assert result.high - result.alpha == pytest.approx(2.0 * error, rel=0.02)
    assert result.alpha - result.low == pytest.approx(result.high - result.alpha, abs=1e-12)


@pytest.mark.long
def test_the_interval_covers_alpha() -> None:
    """Three reviewers, 100 items: of 200 intervals at least 180 contain the alpha of 100,000 items."""
    alpha = agreement(random_codes(0, 3, 100_000, 0.7)).alpha
    results = [agreement(random_codes(seed, 3, 100, 0.7)) for seed in range(1, 201)]
    assert sum(each.low <= alpha <= each.high for each in results) >= 180
