"""Factors κ by which autocorrelated days widen the variance of a mean.

With the autocorrelations rₖ of t days, the variance of their mean is about 1 + 2 Σ rₖ times that of independent days.
Few days estimate rₖ poorly (28 days: standard deviation 0.19), so both factors add one standard error, 1/√t.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MOST_LAGS = 7
"""Lags, in days, whose correlations are summed."""


def autocorrelations(z: FloatArray, lags: int) -> FloatArray:
    """Return the autocorrelations of centered series at the lags from 1 on.

    Args:
        z: values minus their mean, (..., days).
        lags: number of lags; less than the number of days.

    Returns:
        Shape (..., lags); 0 for a series of zeros.
    """
    square = np.sum(z * z, axis=-1)
    days = z.shape[-1]
    products = [np.sum(z[..., lag:] * z[..., : days - lag], axis=-1) for lag in range(1, lags + 1)]
    series = np.stack(products, axis=-1) if products else np.zeros((*square.shape, 0))
    return np.asarray(series / np.where(square > 0.0, square, 1.0)[..., None], np.float64)


def variance_factor(z: FloatArray) -> FloatArray:
    """Return κ = 1 + 2 (max(0, the largest partial sum of r₁ … r₇) + 1/√t) of series of t days, shape (...)."""
    days = z.shape[-1]
    sums = np.cumsum(autocorrelations(z, min(MOST_LAGS, days - 1)), axis=-1)
    return np.asarray(1.0 + 2.0 * (np.max(sums, axis=-1, initial=0.0) + days**-0.5), np.float64)


def first_lag_factor(z: FloatArray) -> FloatArray:
    """Return κ = 1 + 2 max(0, r₁ + 1/√t) of series of t days, shape (...)."""
    days = z.shape[-1]
    return np.asarray(1.0 + 2.0 * np.maximum(0.0, autocorrelations(z, 1)[..., 0] + days**-0.5), np.float64)
