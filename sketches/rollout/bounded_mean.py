"""Confidence sequence of the mean of independent values in [0, 1]: empirical Bernstein with predictable weights.

It holds exactly at every look and for any distribution, but only for independent values: use it where each value is a
declared unit. On sums of days it is too wide to decide anything, because it allows for the whole range of a day.

A difference d of two values in [0, 1] is mapped to (1 + d)/2. An unbounded loss, such as log loss, must be clipped.

Source: Waudby-Smith and Ramdas (2024), Journal of the Royal Statistical Society B 86, 1–27, arXiv 2010.09686.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_LARGEST_WEIGHT = 0.5


def bounded_mean(values: ArrayLike, alpha: float = 0.05) -> tuple[FloatArray, FloatArray]:
    """Return center and half-width of the interval after each value.

    All intervals hold together with probability 1 − α, so their intersection up to a look is valid too.

    Args:
        values: in [0, 1], in the order of their arrival, (..., n).
        alpha: probability that the mean is ever outside.

    Returns:
        Two arrays of shape (..., n).

    Raises:
        ValueError: a value is outside [0, 1], or α is not between 0 and 1.
    """
    x = np.asarray(values, np.float64)
    if not (x.ndim >= 1 and np.all((x >= 0.0) & (x <= 1.0))):
        raise ValueError("values must lie between 0 and 1")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"α must lie between 0 and 1, not at {alpha}")
    t = np.arange(1, x.shape[-1] + 1)
    mean = (0.5 + np.cumsum(x, axis=-1)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2, axis=-1)) / (t + 1)
    # Weights and centers of a value use only the values before it.
    mean_before = _shifted(mean, 0.5)
    variance_before = _shifted(variance, 0.25)
    weight = np.minimum(np.sqrt(2.0 * np.log(2.0 / alpha) / (variance_before * t * np.log1p(t))), _LARGEST_WEIGHT)
    squares = (x - mean_before) ** 2 * (-np.log1p(-weight) - weight)
    total = np.cumsum(weight, axis=-1)
    center = np.cumsum(weight * x, axis=-1) / total
    half = (np.log(2.0 / alpha) + np.cumsum(squares, axis=-1)) / total
    return center, half


def _shifted(series: FloatArray, first: float) -> FloatArray:
    """Return the series one place later, (..., n), beginning with `first`."""
    start = np.full((*series.shape[:-1], 1), first)
    return np.concatenate((start, series[..., :-1]), axis=-1)
