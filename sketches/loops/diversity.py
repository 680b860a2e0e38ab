"""Diversity of outputs over weeks: entropy and Gini coefficient of exposure, with their linear trends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import linregress, t

MIN_WEEKS = 4
"""Fewest whole weeks of a trend."""


@dataclass(frozen=True, slots=True)
class WeeklyTrend:
    """Slope of a least-squares line per week, with its 95 % interval; NaN with fewer than `MIN_WEEKS` whole weeks."""

    slope: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Diversity:
    """Diversity of each week; NaN in a week without exposures."""

    entropy: tuple[float, ...]
    """Shannon entropy in bits."""
    gini: tuple[float, ...]
    """Gini coefficient over all items of the period: 0 if they are exposed equally often, near 1 if one is."""
    entropy_trend: WeeklyTrend
    gini_trend: WeeklyTrend


def diversity(counts: ArrayLike) -> Diversity:
    """Compute the diversity of exposures, shape (weeks, items), and trends without the first and last week."""
    rows = np.asarray(counts, np.float64)
    items, total = rows.shape[1], rows.sum(axis=1)
    share = np.sort(rows / np.where(total > 0.0, total, np.nan)[:, None], axis=1)
    entropy = 0.0 - (share * np.log2(np.where(share > 0.0, share, 1.0))).sum(axis=1)
    gini = share @ (2.0 * np.arange(1, items + 1) - items - 1.0) / items
    return Diversity(tuple(entropy.tolist()), tuple(gini.tolist()), *(_trend(each[1:-1]) for each in (entropy, gini)))


def _trend(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> WeeklyTrend:
    weeks = np.flatnonzero(np.isfinite(values))
    if len(weeks) < MIN_WEEKS:
        return WeeklyTrend(np.nan, np.nan, np.nan)
    line = linregress(weeks, values[weeks])
    half = float(t.ppf(0.975, len(weeks) - 2) * line.stderr)
    return WeeklyTrend(float(line.slope), float(line.slope) - half, float(line.slope) + half)
