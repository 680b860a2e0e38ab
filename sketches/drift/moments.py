"""Shifts of a window's mean and standard deviation, with intervals, from the exact sums of panes.

    mean     x̄ = μ + S₁/n,  S₁ = Σ(x − μ),  S₂ = Σ(x − μ)²,  μ the baseline's mean
    shift    (x̄ − μ)/σ,  ± t · √(s²φ/n + σ²/m)/σ
    ratio    s/σ,  · exp(± 1.96 · √(e(κ, n/φ) + e(κ₀, m)))

with s² = (S₂ − S₁²/n)/(n − 1), Student's t at Welch's degrees of freedom, φ the overdispersion and e the variance of
the logarithm of a standard deviation, e(κ, n) = (κ − (n − 3)/n)/(4(n − 1)), where κ is the kurtosis: 3 for a normal
distribution; a formula without κ would be wrong for any other. κ is computed from quantiles, as the larger of the
window's and the baseline's, because small samples seldom show a tail. It ignores the outermost thousandth of the
values, so if the fourth moment comes from there, the interval of the ratio can be too narrow.

Simulation for n from 50 to 5,000: the interval of the shift covers 94 to 96 % of true values, 89 % for very skewed
values (lognormal, σ 1) at n = 50; that of the ratio 95 to 97 %, up to 100 % for heavy tails.

Sources: Welch (1947), Biometrika 34, 28–35; Bonett (2006), Computational Statistics & Data Analysis 50, 775–782.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

FloatArray = NDArray[np.float64]

_NORMAL_95 = 1.959963984540054
_TAIL = 0.975


@dataclass(frozen=True, slots=True)
class Spread:
    """Moments of a baseline; scalars or arrays."""

    mean: float | FloatArray
    std: float | FloatArray
    m: float | FloatArray
    """Number of training values."""
    kurtosis: float | FloatArray


@dataclass(frozen=True, slots=True)
class MomentShifts:
    """Shifts of R windows, each of shape (R,), with 95 % intervals.

    NaN marks unknown results: the mean without values or with sums out of range, everything else also if training held
    a single value, the interval and the ratio under two values, intervals if n/φ is at most 1.
    """

    mean: FloatArray
    shift: FloatArray
    """In standard deviations of the baseline."""
    shift_low: FloatArray
    shift_high: FloatArray
    ratio: FloatArray
    """Standard deviation of the window by that of the baseline."""
    ratio_low: FloatArray
    ratio_high: FloatArray


def kurtosis(steps: FloatArray) -> FloatArray:
    """Return the kurtosis of distributions given by quantiles at even steps of rank, shape (R, S) → (R,).

    At least 1 (a constant has 1); 3 for a normal distribution; NaN if a quantile is NaN.
    """
    low, high = steps.min(axis=-1, keepdims=True), steps.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.where(high > low, high - low, 1.0)
        # Within [0, 1], so that no power overflows.
        x = steps / scale - low / scale
    x = x - x.mean(axis=-1, keepdims=True)
    squares = x * x
    square, fourth = squares.mean(axis=-1), (squares * squares).mean(axis=-1)
    return np.where(square == 0, 1.0, np.maximum(fourth / np.where(square == 0, 1.0, square) ** 2, 1.0))


def moment_shifts(
    n: ArrayLike,
    shift_sum: ArrayLike,
    shift_square_sum: ArrayLike,
    kurtosis: ArrayLike,
    base: Spread,
    phi: ArrayLike = 1.0,
) -> MomentShifts:
    """Compare moments of R windows with their baseline.

    Args:
        n: number of values of each window, (R,).
        shift_sum: Σ(x − μ), (R,).
        shift_square_sum: Σ(x − μ)², (R,).
        kurtosis: of each window, (R,); if it or the baseline's is NaN, the other replaces it.
        base: scalars or (R,).
        phi: overdispersion, at least 1, a scalar or (R,): it divides n in the intervals.
    """
    size, first, second, kappa = (np.asarray(a, np.float64) for a in (n, shift_sum, shift_square_sum, kurtosis))
    mu, sigma, m, base_kappa = (np.asarray(a, np.float64) for a in (base.mean, base.std, base.m, base.kurtosis))
    phis = np.asarray(phi, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        known = np.where(size > 0, size, np.nan)
        scale = np.where(sigma > 0, sigma, np.nan)
        moved = first / known
        mean = mu + moved
        variance = np.where(size > 1, np.maximum(second - first * moved, 0.0) / (size - 1), np.nan)
        effective = np.where(size / phis > 1, size / phis, np.nan)
        shift = moved / scale
        of_window, of_base = variance / scale**2 / effective, 1.0 / m
        degrees = (of_window + of_base) ** 2 / (
            of_window**2 / (effective - 1) + of_base**2 / np.where(m > 1, m - 1, np.nan)
        )
        half = stdtrit(degrees, _TAIL) * np.sqrt(of_window + of_base)
        ratio = np.sqrt(variance) / scale
        of_window = _log_variance(np.fmax(kappa, base_kappa), effective)
        of_base = _log_variance(np.where(np.isnan(base_kappa), kappa, base_kappa), m)
        factor = np.exp(_NORMAL_95 * np.sqrt(of_window + of_base))
        shifts = (mean, shift, shift - half, shift + half, ratio, ratio / factor, ratio * factor)
    return MomentShifts(*(np.where(np.isfinite(a), a, np.nan) for a in shifts))


def _log_variance(kappa: FloatArray, n: FloatArray) -> FloatArray:
    """Return the variance of the logarithm of a standard deviation of n values."""
    return (kappa - (n - 3) / n) / (4 * (n - 1))
