"""Differences of AUC with days as clusters."""

from __future__ import annotations

import numpy as np
import pytest

from sketches.shadow.clustered_auc import auc_difference
from tests.support.performance import score_histogram

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
