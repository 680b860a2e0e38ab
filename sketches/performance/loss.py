"""Errors of numbers before labels arrive: mae and rmse, by direct loss estimation (DLE).

On labelled reference windows the mean and the variance of |e| and of e², e = prediction − label, are learned for groups
of predictions of similar size. With n_g predictions of a window in group g, its expected mae is Σ n_g mean_g / Σ n_g,
and its expected rmse the square root of the same mean of e²: they follow traffic to predictions with other errors
(covariate shift). They cannot detect errors that grow at the same predictions (concept drift), nor shifts of features
that leave predictions as they are.

A prediction outside the range of the reference has no known error. A window with more than a few of them has no
estimate.

Source: the method is NannyML's, which learns a regression of the loss on all features; here the prediction is the only
feature, and the regression is the mean of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.performance.calibration import group_of
from barograph_server.sketches.performance.metric import ENOUGH, MetricEstimate, checked_phi, last_axis, root

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SUMS = ("n", "Σ|e|", "Σe²", "Σe⁴")
"""Members of the last axis of `sums`, of labelled rows."""
GROUPS = 100
"""Largest number of groups: each then has a hundredth of the labelled rows."""
MAX_OUTSIDE = 0.05
"""Largest share of a window's predictions outside the range of the reference."""
RELATIVE_TOLERANCE = 0.1
"""Largest acceptable error of an estimate, as a share of the value; the view `estimate_trust` has it too."""


@dataclass(frozen=True, slots=True)
class LossMap:
    """Means of |e| and e² by group of predictions. Groups are ranges of bins, ascending."""

    last_bin: IntArray
    """Largest bin of each group, shape (G,)."""
    first_bin: int
    """Smallest bin of the first group."""
    mean: FloatArray
    """Mean of |e|, shape (G,)."""
    variance: FloatArray
    """Variance of |e| between rows, shape (G,)."""
    mean_of_squares: FloatArray
    """Mean of e², shape (G,)."""
    variance_of_squares: FloatArray
    """Variance of e² between rows, shape (G,)."""
    rows: FloatArray
    """Labelled rows, shape (G,)."""


def learn_loss(bins: ArrayLike, sums: ArrayLike) -> LossMap:
    """Learn the map from labelled reference windows.

    Args:
        bins: numbers of the bins of predictions, ascending, shape (n_bins,).
        sums: labelled rows, Σ|e|, Σe² and Σe⁴ in each bin, shape (n_bins, 4).

    Raises:
        ValueError: if there are fewer than 20 labelled rows, or shapes do not fit.
    """
    totals = last_axis(sums, len(SUMS), f"sums of losses ({', '.join(SUMS)})")
    used = totals[:, 0] > 0.0
    numbers, totals = np.asarray(bins, np.int64)[used], totals[used]
    count = float(totals[:, 0].sum())
    if count < ENOUGH:
        raise ValueError(f"a loss needs at least {ENOUGH:.0f} labelled rows, not {count:.0f}")
    # Groups of 20 rows or more, as equal as whole bins allow. Some are empty if a bin has more rows than a group.
    group = group_of(totals[:, 0], min(GROUPS, int(count // ENOUGH)))
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    rows, absolute, squares, fourths = np.add.reduceat(totals, starts).T
    last = numbers[np.append(starts[1:], numbers.size) - 1]
    of_size, of_square = _moments(rows, absolute, squares), _moments(rows, squares, fourths)
    return LossMap(last, int(numbers[0]), *of_size, *of_square, rows)


def _moments(rows: FloatArray, total: FloatArray, squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance from n, Σx and Σx²."""
    mean = total / rows
    return mean, np.maximum(squares - total * mean, 0.0) / np.maximum(rows - 1.0, 1.0)


def loss_metrics(
    bins: ArrayLike, counts: ArrayLike, losses: LossMap, *, phi: ArrayLike = 1.0
) -> dict[str, MetricEstimate]:
    """Estimate the errors of windows from their predictions.

    Args:
        bins: numbers of the bins of predictions, shape (n_bins,).
        counts: all predictions, labelled or not, in each bin, shape (..., n_bins).
        losses: learned on bins of the same numbers.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        `mae` and `rmse` of the windows' shape: the values that labels of these predictions would give. The intervals
        contain the spread of errors within groups and the uncertainty of the groups' means; that of rmse is symmetric
        in its logarithm. NaN without predictions, and if more than a twentieth of them are outside the range of the
        reference. Enough from 20 predictions, n/φ.

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

    def expected(mean: FloatArray, variance: FloatArray) -> MetricEstimate:
        value = np.where(outside <= MAX_OUTSIDE * total, share @ mean, np.nan)
        spread = share @ variance * phis / np.where(total > 0.0, total, np.nan)
        half = Z * np.sqrt(spread + share**2 @ (variance / losses.rows))
        enough = (total / phis >= ENOUGH) & ~np.isnan(value)
        return MetricEstimate(value, np.maximum(value - half, 0.0), value + half, enough)

    return {
        "mae": expected(losses.mean, losses.variance),
        "rmse": root(expected(losses.mean_of_squares, losses.variance_of_squares)),
    }
