"""Errors of numbers before labels arrive: the mean absolute error, by direct loss estimation (DLE).

On labelled reference windows the mean and the variance of |e|, e = prediction − label, are learned for groups of
predictions of similar size. With n_g predictions of a window in group g, its expected mae is Σ n_g mean_g / Σ n_g: it
follows traffic to predictions with other errors (covariate shift). It cannot detect errors that grow at the same
predictions (concept drift), nor shifts of features that leave predictions as they are.

A prediction outside the range of the reference has no known error. A window with more than a few of them has no
estimate.

Source: the method is NannyML's, which learns a regression of the loss on all features; here the prediction is the only
feature, and the regression is the mean of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.performance.calibration import group_of
from sketches.performance.metric import ENOUGH, MetricEstimate, Z, checked_phi, last_axis

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

GROUPS = 100
"""Largest number of groups: each then has a hundredth of the labelled rows."""
MAX_OUTSIDE = 0.05
"""Largest share of a window's predictions outside the range of the reference."""
RELATIVE_TOLERANCE = 0.1
"""Largest acceptable error of an estimate, as a share of the value; the view `estimate_trust` has it too."""


@dataclass(frozen=True, slots=True)
class LossMap:
    """Mean absolute error by group of predictions. Groups are ranges of bins, ascending."""

    last_bin: IntArray
    """Largest bin of each group, shape (G,)."""
    first_bin: int
    """Smallest bin of the first group."""
    mean: FloatArray
    """Mean of |e|, shape (G,)."""
    variance: FloatArray
    """Variance of |e| between rows, shape (G,)."""
    rows: FloatArray
    """Labelled rows, shape (G,)."""


def learn_loss(bins: ArrayLike, sums: ArrayLike) -> LossMap:
    """Learn the map from labelled reference windows.

    Args:
        bins: numbers of the bins of predictions, ascending, shape (n_bins,).
        sums: labelled rows, Σ|e| and Σe² in each bin, shape (n_bins, 3).

    Raises:
        ValueError: if there are fewer than 20 labelled rows, or shapes do not fit.
    """
    totals = last_axis(sums, 3, "sums of losses")
    used = totals[:, 0] > 0.0
    numbers, totals = np.asarray(bins, np.int64)[used], totals[used]
    count = float(totals[:, 0].sum())
    if count < ENOUGH:
        raise ValueError(f"a loss needs at least {ENOUGH:.0f} labelled rows, not {count:.0f}")
    # Groups of 20 rows or more, as equal as whole bins allow. Some are empty if a bin has more rows than a group.
    group = group_of(totals[:, 0], min(GROUPS, int(count // ENOUGH)))
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    rows, absolute, squares = np.add.reduceat(totals, starts).T
    mean = absolute / rows
    variance = np.maximum(squares - absolute * mean, 0.0) / np.maximum(rows - 1.0, 1.0)
    return LossMap(numbers[np.append(starts[1:], numbers.size) - 1], int(numbers[0]), mean, variance, rows)


def estimated_mae(bins: ArrayLike, counts: ArrayLike, losses: LossMap, *, phi: ArrayLike = 1.0) -> MetricEstimate:
    """Estimate the mean absolute error of windows from their predictions.

    Args:
        bins: numbers of the bins of predictions, shape (n_bins,).
        counts: all predictions, labelled or not, in each bin, shape (..., n_bins).
        losses: learned on bins of the same numbers.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        The metric of the windows' shape: the value that labels of these predictions would give. The interval contains
        the spread of errors within groups and the uncertainty of the groups' means. NaN without predictions, and if
        more than a twentieth of them are outside the range of the reference. Enough from 20 predictions, n/φ.

    Raises:
        ValueError: if shapes do not fit or φ is under 1.
    """
    numbers = np.asarray(bins, np.int64)
    all_rows = last_axis(counts, numbers.size, "counts of predictions")
    phis = checked_phi(phi)
    total = all_rows.sum(axis=-1)
    outside = all_rows[..., (numbers < losses.first_bin) | (numbers > losses.last_bin[-1])].sum(axis=-1)
    group = np.minimum(np.searchsorted(losses.last_bin, numbers), losses.last_bin.size - 1)
    share = all_rows @ (group[:, None] == np.arange(losses.mean.size)) / np.where(total > 0.0, total, np.nan)[..., None]
    value = np.where(outside <= MAX_OUTSIDE * total, share @ losses.mean, np.nan)
    spread = share @ losses.variance * phis / np.where(total > 0.0, total, np.nan)
    half = Z * np.sqrt(spread + share**2 @ (losses.variance / losses.rows))
    return MetricEstimate(
        value, np.maximum(value - half, 0.0), value + half, (total / phis >= ENOUGH) & ~np.isnan(value)
    )
