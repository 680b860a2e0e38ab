"""Errors of numbers before labels arrive: mae and rmse, by direct loss estimation (DLE).

Predictions are counted in bins of their expected error, which follows from their features
(`sketches.baseline.loss_trees`); without trees, in bins of their value. On labelled reference windows the means of |e|
and e², e = prediction − label, are learned for groups of neighboring bins. With n_g predictions of a window in group g,
its expected mae is Σ n_g mean_g / Σ n_g, and its expected rmse the square root of the same mean of e²: they follow
traffic to features with other errors (covariate shift). They cannot detect errors that grow for the same features
(concept drift).

There is no interval: on tables that drift, the error of an estimate comes mostly from concept drift, of which no window
without labels tells the size (`docs/statistics.md`).

A prediction outside the bins of the reference has no known error. A window with more than a few of them has no
estimate, and neither has one with so few predictions that their mean is random.

Source: the method is NannyML's, which also trains a regression of the loss; here its result is only the order of
predictions, and the means are learned from the reference.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.performance.calibration import group_of
from barograph_server.sketches.performance.metric import ENOUGH, MetricEstimate, checked_phi, last_axis

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SUMS = ("n", "Σ|e|", "Σe²")
"""Members of the last axis of `sums`, of labelled rows."""
GROUPS = 100
"""Largest number of groups: each then has a hundredth of the labelled rows."""
MAX_OUTSIDE = 0.05
"""Largest share of a window's predictions outside the bins of the reference."""
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
    mean_of_squares: FloatArray
    """Mean of e², shape (G,)."""


def learn_loss(bins: ArrayLike, sums: ArrayLike) -> LossMap:
    """Learn the map from labelled reference windows.

    Args:
        bins: numbers of the bins of predictions, ascending, shape (n_bins,).
        sums: labelled rows, Σ|e| and Σe² in each bin, shape (n_bins, 3).

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
    rows, absolute, squares = np.add.reduceat(totals, starts).T
    last = numbers[np.append(starts[1:], numbers.size) - 1]
    return LossMap(last, int(numbers[0]), absolute / rows, squares / rows)


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
        `mae` and `rmse` of the windows' shape, without intervals. NaN if more than a twentieth of the predictions are
        outside the bins of the reference, below 20 predictions, n/φ, and if by their choice alone the mean may be off
        by more than a tenth.

    Raises:
        ValueError: if shapes do not fit or φ is under 1.
    """
    numbers = np.asarray(bins, np.int64)
    all_rows = last_axis(counts, numbers.size, "counts of predictions")
    total = all_rows.sum(axis=-1)
    n = np.where(total > 0.0, total, np.nan)
    outside = all_rows[..., (numbers < losses.first_bin) | (numbers > losses.last_bin[-1])].sum(axis=-1)
    group = np.minimum(np.searchsorted(losses.last_bin, numbers), losses.last_bin.size - 1)
    share = all_rows @ (group[:, None] == np.arange(losses.mean.size)) / n[..., None]
    mae = share @ losses.mean
    chance = Z * np.sqrt(np.maximum(share @ losses.mean**2 - mae**2, 0.0) * checked_phi(phi) / n)
    enough = (n / phi >= ENOUGH) & (outside <= MAX_OUTSIDE * n) & (chance <= RELATIVE_TOLERANCE * mae)
    none = np.full(total.shape, np.nan)
    return {
        name: MetricEstimate(np.where(enough, value, np.nan), none, none, enough)
        for name, value in {"mae": mae, "rmse": np.sqrt(share @ losses.mean_of_squares)}.items()
    }
