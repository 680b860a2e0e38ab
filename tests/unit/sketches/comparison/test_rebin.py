"""Counts read from sketches: exact in their sum, and within the stated error."""

from __future__ import annotations

import numpy as np
import pytest
from barograph.contract import SketchKind
from numpy.typing import NDArray

from sketches.comparison.rebin import rebin, split_counts
from sketches.sketch.numeric import NumericSketch, numeric_sketch


def merged(values: NDArray[np.float64], kind: SketchKind, parts: int = 15) -> NumericSketch:
    whole = numeric_sketch(False, kind)
    for subset in np.array_split(values, parts):
        sketch = numeric_sketch(False, kind)
        sketch.update(subset)
        whole.merge(sketch)
    return whole


def exact(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def test_few_values_are_counted_exactly() -> None:
    few = merged(np.array([0.0, 1.0, 1.0, 2.0, 3.0, 5.0]), "kll")
    for sketch, counts in ((few, [1, 3, 2, 0]), (numeric_sketch(False, "kll"), [0, 0, 0, 0])):
        rebinned = rebin(sketch, [1.0, 2.5, 9.0])
        assert rebinned.counts.tolist() == counts
        assert rebinned.noise == 0.0
    assert split_counts(few, [1.5], [3, 3], [1.0, 2.5, 9.0]).tolist() == [1, 3, 2, 0]
    # Rows without values in the sketch are not lost.
    assert split_counts(merged(np.array([5.0, 6.0]), "kll"), [0.0], [7, 2], [-1.0, 5.5]).tolist() == [7, 1, 1]


@pytest.mark.parametrize(
    ("kind", "bins"),
    [
        ("kll", 10),
        ("req", 10),
        *(pytest.param(kind, bins, marks=pytest.mark.long) for kind in ("kll", "req") for bins in (4, 20)),
    ],
)
def test_noise_is_within_the_stated_bound(kind: SketchKind, bins: int) -> None:
    """The PSI of a sketch's counts against the exact ones of the same values, times n_eff, is at most df on average."""
    rng = np.random.default_rng(bins)
    edges = np.quantile(rng.normal(size=100_000), np.arange(1, bins) / bins)
    t = []
    for _ in range(60):
        values = rng.normal(size=20_000)
        rebinned = rebin(merged(values, kind), edges)
        assert rebinned.counts.sum() == 20_000
        truth = exact(values.astype(np.float32).astype(np.float64), edges)
        share, other = rebinned.counts / 20_000, truth / 20_000
        t.append(((share - other) ** 2 / other).sum() / rebinned.noise)
    assert np.mean(t) <= (bins - 1) * 1.1


def test_split_counts_keep_their_sum_and_the_old_edges() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(size=50_000)
    old, new = np.array([-1.0, 0.0, 2.0]), np.array([-1.5, 0.0, 0.5])
    counts = split_counts(merged(values, "kll"), old, exact(values, old), new)
    truth = exact(values, new)
    assert counts.sum() == truth.sum()
    assert counts[:2].sum() == truth[:2].sum()
    assert np.abs(counts - truth).max() <= 0.0165 * 50_000
