"""Confidence sequence of a mean difference, from the sums of local days: it holds at every look after the burn-in.

With the differences D and the pairs n of t days, z = D − δ̂·n and κ of `variance_factor`:

    δ̂ = ΣD/Σn,   half-width = √(κ Σz²/t) · M(t) · t/Σn
    M(t) = √(2(tρ² + 1) ln(√(tρ² + 1)/α) / (t²ρ²)),   ρ² = (−2 ln α + ln(−2 ln α) + 1)/60

ρ² makes the sequence narrowest at about 60 days. It is asymptotic: sums of days must be near normal, which needs blocks
of about 200 pairs, and a first look after 28 days. It widens for correlation between days (κ), and there is none if the
days are too alike to know κ. It does not see harm that occurs on rare days of which none has been observed
(`sketches.rollout.planned_auc`).

Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021), arXiv 2103.06476; κ and the limits are by simulation
(docs/statistics.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# With the autocorrelations rₖ of t days, the variance of their mean is about 1 + 2 Σ rₖ times that of independent
# days. Few days estimate rₖ poorly (28 days: standard deviation 0.19), so both factors add standard errors, 1/√t.
# Estimates are also too small, by about (1 + 3 r₁)/t for r₁, and by more for sums of lags. If rₖ = r₁ᵏ, 1 + 2 Σ rₖ is
# (1 + r₁)/(1 − r₁), for which one lag is enough.
#
# t days are worth t/κ independent ones. Below `LEAST_INDEPENDENT_DAYS` no κ is enough: the correlation itself is then
# estimated from a few swings (`tests/reference/shadow_errors`).
#
# Source: Marriott and Pope (1954), Biometrika 41, 390–402.
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


FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

BURN_IN_DAYS = 28
"""Days before the first look."""
TUNED_DAYS = 60
"""Days at which the sequence is narrowest."""
LEAST_PAIRS = 50
"""Least median of the pairs of a day."""


@dataclass(frozen=True, slots=True)
class DayInterval:
    """Mean differences with their confidence sequences at one look; every array has the shape of the series."""

    value: FloatArray
    """Mean difference per pair."""
    half: FloatArray
    """Half-width of the interval; 0 if all days have the same difference per pair, which is not `enough`."""
    kappa: FloatArray
    """Factor of the variance for correlation between days."""
    enough: BoolArray
    """Whether the interval may be used: 28 days, differences that vary, days of 50 pairs (median), not too alike."""
    too_alike: BoolArray
    """Whether it may not only because the days are worth fewer than six independent ones."""

    @property
    def low(self) -> FloatArray:
        """Lower end; −∞ if there is not enough data."""
        return np.where(self.enough, self.value - self.half, -np.inf)

    @property
    def high(self) -> FloatArray:
        """Upper end; ∞ if there is not enough data."""
        return np.where(self.enough, self.value + self.half, np.inf)


def day_interval(differences: ArrayLike, pairs: ArrayLike, alpha: float = 0.05) -> DayInterval:
    """Return the confidence sequence at the last day of each series.

    Args:
        differences: sums of the differences of each local day, (..., t), t ≥ 2.
        pairs: pairs of each day, above 0, broadcast against `differences`.
        alpha: probability that the true mean is ever outside, for independent days.

    Raises:
        ValueError: there are less than two days, a day has no pairs, or α is not between 0 and 1.
    """
    sums, counts = checked_days(differences, pairs)
    days, total = sums.shape[-1], counts.sum(axis=-1)
    value = sums.sum(axis=-1) / total
    z = sums - value[..., None] * counts
    # Differences of rounded sums are not exactly 0.
    z = np.where(np.abs(z) > 1e-12 * (np.abs(sums) + np.abs(value[..., None]) * counts), z, 0.0)
    square = np.sum(z * z, axis=-1)
    kappa = variance_factor(z)
    half = np.sqrt(kappa * square / days) * mean_radius(days, alpha) * days / total
    enough = (days >= BURN_IN_DAYS) & (square > 0.0) & (np.median(counts, axis=-1) >= LEAST_PAIRS)
    too_alike = enough & (days < LEAST_INDEPENDENT_DAYS * kappa)
    return DayInterval(value, half, kappa, np.asarray(enough & ~too_alike, np.bool_), np.asarray(too_alike, np.bool_))


def mean_radius(days: ArrayLike, alpha: float = 0.05, tuned: float = TUNED_DAYS) -> FloatArray:
    """Return M(t), the half-width of the sequence in standard deviations of one block.

    Args:
        days: t, the number of blocks; above 0.
        alpha: probability that the true mean is ever outside.
        tuned: the t at which the sequence is narrowest.

    Raises:
        ValueError: if α is not between 0 and 1.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"α must lie between 0 and 1, not at {alpha}")
    t = np.asarray(days, np.float64)
    rho2 = (-2.0 * np.log(alpha) + np.log(-2.0 * np.log(alpha)) + 1.0) / tuned
    scale = t * rho2 + 1.0
    return np.asarray(np.sqrt(2.0 * scale * (0.5 * np.log(scale) - np.log(alpha)) / (t * t * rho2)), np.float64)


def checked_days(differences: ArrayLike, pairs: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return both as arrays of one shape (..., t).

    Raises:
        ValueError: there are less than two days, or a day has no pairs.
    """
    sums, counts = np.broadcast_arrays(np.asarray(differences, np.float64), np.asarray(pairs, np.float64))
    if sums.ndim < 1 or sums.shape[-1] < 2:
        raise ValueError(f"sums of at least two days are needed, not an array of shape {sums.shape}")
    if not (np.all(np.isfinite(sums)) and np.all(np.isfinite(counts)) and np.all(counts > 0.0)):
        raise ValueError("sums of days must be finite, and each day needs pairs: leave out days without pairs")
    return sums, counts
