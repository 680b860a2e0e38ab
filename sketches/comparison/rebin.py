"""Counts on other bins than those that the values were counted on, read from a sketch.

Two versions with their own bins become comparable, and a baseline gets new bins.

A sketch's shares have random errors from compaction. In a PSI they act like the noise of a sample of n_eff values,
regardless of the number of values and of merged sketches. By simulation (normal and log-normal values, 2,000 to 10⁶ of
them, 15 to 60 merged sketches, 2 to 40 bins), n_eff is at least 143,000/(B + 1) for KLL with k = 200, so 13,000 at
B = 10, and 30,000/(B + 1) for REQ with k = 12, which is exact in the tail and coarse elsewhere.

That is the mean over sketches. A baseline keeps the error of a single sketch, which is then part of all its windows.
With 110,000/(B + 1) and 15,000/(B + 1) at most one baseline in fifty has an error that gives large windows p < 0.05.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.sketch.envelope import SketchType
from barograph_server.sketches.sketch.numeric import NumericSketch

_N_EFF = {SketchType.KLL_FLOATS: 143_000.0, SketchType.KLL_DOUBLES: 143_000.0, SketchType.REQ_FLOATS: 30_000.0}
_FROZEN_N_EFF = {SketchType.KLL_FLOATS: 110_000.0, SketchType.KLL_DOUBLES: 110_000.0, SketchType.REQ_FLOATS: 15_000.0}


@dataclass(frozen=True, slots=True)
class Rebinned:
    """Counts of a sketch's values on bins."""

    counts: NDArray[np.int64]
    """Shape (B,); their sum is the sketch's n, exactly."""
    noise: float
    """1/n_eff, the sketch's share of the variance; 0 while the sketch still retains every value."""
    frozen_noise: float
    """1/n_eff for counts that a baseline keeps."""


def rebin(sketch: NumericSketch, edges: ArrayLike) -> Rebinned:
    """Count a sketch's values between edges.

    Args:
        edges: shape (B − 1,), ascending: bin i holds edges[i − 1] ≤ x < edges[i]; the outer bins are open.
    """
    inner = np.asarray(edges, np.float64)
    if sketch.is_empty:
        return Rebinned(np.zeros(len(inner) + 1, np.int64), 0.0, 0.0)
    below = sketch.cdf(inner, below=True)
    # Rounding the running sum instead of each count preserves the sum.
    cumulative = np.rint(np.concatenate(([0.0], np.maximum.accumulate(below), [1.0])) * sketch.n).astype(np.int64)
    noise, frozen_noise = (
        0.0 if sketch.rank_error == 0.0 else (len(inner) + 2) / n_eff[sketch.sketch_type]
        for n_eff in (_N_EFF, _FROZEN_N_EFF)
    )
    return Rebinned(np.diff(cumulative), noise, frozen_noise)


def split_counts(
    sketch: NumericSketch, old_edges: ArrayLike, counts: ArrayLike, new_edges: ArrayLike
) -> NDArray[np.int64]:
    """Convert counts on old bins to new bins: the rows of each old bin are divided as the values of a sketch are.

    The result has the error of the sketch within each old bin, and none at the old edges.

    Args:
        sketch: sketch of the values that were counted.
        old_edges: shape (A − 1,), ascending.
        counts: shape (A,), rows per old bin.
        new_edges: shape (B − 1,), ascending.

    Returns:
        Shape (B,); the sum is that of `counts`.
    """
    old, new = np.asarray(old_edges, np.float64), np.asarray(new_edges, np.float64)
    edges = np.union1d(old, new)
    lower = np.concatenate(([-np.inf], edges))
    of_old, of_new = np.searchsorted(old, lower, side="right"), np.searchsorted(new, lower, side="right")
    pieces = rebin(sketch, edges).counts
    in_old = np.bincount(of_old, pieces, minlength=len(old) + 1)[of_old]
    # Rows of an old bin of which the sketch retains no value go to its first piece.
    first = np.diff(of_old, prepend=-1) > 0
    share = np.where(in_old > 0, pieces / np.maximum(in_old, 1), first)
    cumulative = np.rint(np.cumsum(np.asarray(counts)[of_old] * share)).astype(np.int64)
    starts = np.flatnonzero(np.diff(of_new, prepend=-1))
    return np.add.reduceat(np.diff(cumulative, prepend=0), starts)
