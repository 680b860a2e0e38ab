"""Calibration error: how far scores are from the probabilities that they claim to be.

Bins are merged into at most ten groups of nearly equal numbers of rows (as equal as whole bins allow). The
calibration error is the mean over rows of |d_g|, where d_g is the rate of positives in a row's group less their mean
score.

Without correction that figure is too large, increasingly so for fewer rows: a perfectly calibrated model has 0.04 at
500 rows and 0.004 at 50,000, and windows of different size would not be comparable. With σ_g the standard error of d_g,
the measured |d_g| has the mean of a folded normal,

    m(d, σ) = σ √(2/π) exp(−d²/2σ²) + d erf(d / σ√2),

so the value is Σ w_g (2|d_g| − m(d_g, σ_g)), and at least 0: the result of a bias-correcting bootstrap, without its
noise. That removes half of the excess of a perfect model, and all of it for a clear error. The interval includes the
rest: the excess of a group lies between 0 and m(l, σ_g) − l with l = |d_g| − 1.96 σ_g, because it shrinks as |d| grows.

Sources: Naeini, Cooper and Hauskrecht (2015), AAAI 29; bias and its correction: Bröcker (2012), Climate Dynamics
39, 655–667; Kumar, Liang and Ma (2019), arXiv 1909.10155.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.performance.auc import class_rows
from barograph_server.sketches.performance.metric import ENOUGH, MetricEstimate, checked_phi

FloatArray = NDArray[np.float64]

GROUPS = 10


def calibration_error(hist: FloatArray, phi: ArrayLike = 1.0, groups: int = GROUPS) -> MetricEstimate:
    """Return the expected calibration error, corrected for chance.

    Args:
        hist: labelled rows, shape (..., n_bins, 3), bins by ascending score.
        phi: overdispersion, broadcast against the windows' shape.
        groups: largest number of groups; results for different numbers are not comparable.

    Returns:
        NaN if there are no rows; enough from 20 of each class, n/φ.
    """
    phis = checked_phi(phi)
    merged = merge_groups(hist, hist[..., 0], groups)
    rows, total, positives = merged[..., 0], merged[..., 1], merged[..., 2]
    all_rows = rows.sum(axis=-1)
    divisor = np.where(rows > 0.0, rows, 1.0)
    weight = rows / np.where(all_rows > 0.0, all_rows, np.nan)[..., None]
    distance = np.abs(positives - total) / divisor
    # Shrunk towards the score by two rows, so that a group without positives does not have a standard error of 0.
    rate = (positives + 2.0 * np.clip(total / divisor, 0.0, 1.0)) / (rows + 2.0)
    error = np.sqrt(rate * (1.0 - rate) * phis[..., None] / divisor)
    value = (weight * (2.0 * distance - _folded(distance, error))).sum(axis=-1)
    nearest = np.maximum(distance - Z * error, 0.0)
    excess = (weight * (_folded(nearest, error) - nearest)).sum(axis=-1)
    half = Z * np.sqrt(((weight * error) ** 2).sum(axis=-1))
    plain = (weight * distance).sum(axis=-1)
    value = np.maximum(value, 0.0)
    return MetricEstimate(
        value,
        np.minimum(np.maximum(plain - excess - half, 0.0), value),
        np.maximum(np.minimum(plain + half, 1.0), plain),
        class_rows(hist).min(axis=-1) / phis >= ENOUGH,
    )


def merge_groups(hist: FloatArray, rows: FloatArray, groups: int = GROUPS) -> FloatArray:
    """Merge bins into groups of nearly equal numbers of rows, shape (..., groups, members).

    A bin belongs to the group that contains its middle row.

    Args:
        hist: shape (..., n_bins, members).
        rows: counts by which groups are equal, shape (..., n_bins); usually the first member of `hist`.
    """
    chosen = group_of(rows, groups)
    return np.stack([(hist * (chosen == group)[..., None]).sum(axis=-2) for group in range(groups)], axis=-2)


def group_of(rows: FloatArray, groups: int = GROUPS) -> NDArray[np.intp]:
    """Return the group of each bin, shape of `rows`: the one that contains its middle row."""
    total = rows.sum(axis=-1, keepdims=True)
    middle = (np.cumsum(rows, axis=-1) - rows / 2.0) / np.where(total > 0.0, total, 1.0)
    return np.minimum(middle * groups, groups - 1).astype(np.intp)


def _folded(distance: FloatArray, error: FloatArray) -> FloatArray:
    """Return the mean of |x| for a normal x with this mean and standard deviation."""
    divisor = np.where(error > 0.0, error, 1.0)
    ratio = distance / divisor
    folded = error * np.sqrt(2.0 / np.pi) * np.exp(-(ratio**2) / 2.0) + distance * erf(ratio / np.sqrt(2.0))
    return np.where(error > 0.0, folded, distance)
