"""Comparison of quantiles by counts above frozen limits.

The limits are the primary's quantiles of the burn-in, from its sketch, and stay frozen. Then each side counts the
values above each limit, per pane. Counts are exact and add up, and an error of the sketch only changes which quantile
is compared. The difference, exceedances of the primary minus those of the candidate, is a difference of shares for
`sketches.shadow.day_interval`: positive if the candidate is faster or cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.sketch.numeric import NumericSketch

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RANKS = (0.5, 0.95, 0.99)


def frozen_limits(burn_in: NumericSketch, ranks: Sequence[float] = RANKS) -> FloatArray:
    """Return the limits: quantiles of the primary's values of the burn-in, (r,).

    Raises:
        ValueError: the sketch is empty, or a rank is not between 0 and 1.
    """
    if burn_in.is_empty:
        raise ValueError("the primary has no values in the burn-in, so no limits can be frozen")
    requested = np.asarray(ranks, np.float64)
    if not np.all((requested > 0.0) & (requested < 1.0)):
        raise ValueError(f"ranks of quantiles lie between 0 and 1, not at {list(ranks)}")
    return np.asarray(burn_in.quantiles(requested), np.float64)


def exceedances(values: ArrayLike, limits: FloatArray) -> IntArray:
    """Return how many values are above each limit, (r,); NaN counts as above none."""
    array = np.asarray(values, np.float64).ravel()
    return np.asarray((array[:, None] > limits).sum(axis=0), np.int64)
