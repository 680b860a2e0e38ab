"""Counts on another baseline's bins, read from a sketch, so that two versions with their own bins are comparable.

A sketch's shares have random errors from compaction. In a PSI they act like the noise of a sample of n_eff values,
regardless of the number of values and of merged sketches. By simulation (normal and log-normal values, 2,000 to 10⁶ of
them, 15 to 60 merged sketches, 2 to 40 bins), n_eff is at least 143,000/(B + 1) for KLL with k = 200, so 13,000 at
B = 10, and 30,000/(B + 1) for REQ with k = 12, which is exact in the tail and coarse elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.sketch.envelope import SketchType
from sketches.sketch.numeric import NumericSketch

_N_EFF = {SketchType.KLL_FLOATS: 143_000.0, SketchType.KLL_DOUBLES: 143_000.0, SketchType.REQ_FLOATS: 30_000.0}


@dataclass(frozen=True, slots=True)
class Rebinned:
    """Counts of a sketch's values on bins."""

    counts: NDArray[np.int64]
    """Shape (B,); their sum is the sketch's n, exactly."""
    noise: float
    """1/n_eff, the sketch's share of the variance; 0 while the sketch still retains every value."""


def rebin(sketch: NumericSketch, edges: ArrayLike) -> Rebinned:
    """Count a sketch's values between edges.

    Args:
        sketch: sketch of the values.
        edges: shape (B − 1,), ascending: bin i holds edges[i − 1] ≤ x < edges[i]; the outer bins are open.
    """
    inner = np.asarray(edges, np.float64)
    if sketch.is_empty:
        return Rebinned(np.zeros(len(inner) + 1, np.int64), 0.0)
    below = sketch.cdf(inner, below=True)
    # Rounding the running sum instead of each count preserves the sum.
    cumulative = np.rint(np.concatenate(([0.0], np.maximum.accumulate(below), [1.0])) * sketch.n).astype(np.int64)
    noise = 0.0 if sketch.rank_error == 0.0 else (len(inner) + 2) / _N_EFF[sketch.sketch_type]
    return Rebinned(np.diff(cumulative), noise)
