"""Factors κ by which autocorrelated days widen the variance of a mean.

With the autocorrelations rₖ of t days, the variance of their mean is about 1 + 2 Σ rₖ times that of independent days.
Few days estimate rₖ poorly (28 days: standard deviation 0.19), so both factors add standard errors, 1/√t. Estimates are
also too small, by about (1 + 3 r₁)/t for r₁, and by more for sums of lags. If rₖ = r₁ᵏ, 1 + 2 Σ rₖ is
(1 + r₁)/(1 − r₁), for which one lag is enough.

t days are worth t/κ independent ones. Below `LEAST_INDEPENDENT_DAYS` no κ is enough: the correlation itself is then
estimated from a few swings (`tests/reference/shadow_errors`).

Source: Marriott and Pope (1954), Biometrika 41, 390–402.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MOST_LAGS = 7
"""Lags, in days, whose correlations are summed."""
MAX_FIRST_LAG = 0.95
"""Largest r₁ that κ assumes."""
LEAST_INDEPENDENT_DAYS = 6.0
"""Least t/κ of an interval, by simulation: days that are more alike decide nothing."""


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
    """Return κ of series of t days, shape (...).

    It is the larger of `first_lag_factor` and 1 + 2 (max(0, the largest partial sum of r₁ … r₇) + 1/√t).
    """
    days = z.shape[-1]
    sums = np.cumsum(autocorrelations(z, min(MOST_LAGS, days - 1)), axis=-1)
    by_lags = 1.0 + 2.0 * (np.max(sums, axis=-1, initial=0.0) + days**-0.5)
    return np.asarray(np.maximum(by_lags, first_lag_factor(z)), np.float64)


def first_lag_factor(z: FloatArray, errors: float = 1.0) -> FloatArray:
    """Return κ = (1 + r)/(1 − r) of series of t days, shape (...), r = r₁ + (1 + 3 r₁)/t + errors/√t, from 0 to 0.95.

    Args:
        errors: standard errors of r₁ that are added.
    """
    days = z.shape[-1]
    first = autocorrelations(z, 1)[..., 0]
    r = np.clip(first + (1.0 + 3.0 * first) / days + errors * days**-0.5, 0.0, MAX_FIRST_LAG)
    return np.asarray((1.0 + r) / (1.0 - r), np.float64)
