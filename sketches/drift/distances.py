"""Distances of a window from its baseline beside PSI: Kolmogorov–Smirnov, Wasserstein, Jensen–Shannon.

What they decide is stated in docs/statistics.md.

A window is described by its sketch's quantiles at the middles of `STEPS` equal steps of rank, 0.001, 0.003, … 0.999; a
baseline by its table of exact quantiles at ranks 0, 0.001, … 1. Each represents its distribution function within a
stated error of rank:

    window    ε = the sketch's rank error + 0.001
    baseline  ε = 0.0005 + 1/m + the rank error of quantiles that were read from a sketch

- KS: D̂ = sup |F̂ − Ĝ| is within the sum ε of both errors of the true statistic D. The decision adds ε to the critical
  value, so that the sketch's error never counts as drift (otherwise 70–100 % of windows of 10⁶ rows are false alarms):

      reject when D̂ > √(−½ ln(α/2)) · √(φ/n_h) + ε,  n_h = nm/(n + m)

  Source: arXiv 2312.09380; the critical value: Smirnov's asymptotic one.
- Wasserstein: W₁ = ∫|F − G|, both clipped to the baseline's 0.1–99.9 % quantiles so that one outlier does not decide,
  divided by the baseline's interquartile range; if that is 0, by the 0.1–99.9 % span; if that is 0 too, NaN. Before
  the division its error is at most ε + 0.001 times the span.
- Jensen–Shannon: the square root of the divergence to base 2, from exact counts on the bins of PSI: 0 if shares are
  equal, 1 if no bin holds both. For small shifts its square times ln 2 is nearly PSI/8.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from barograph_server.sketches.baseline.baseline import QUANTILE_RANKS

FloatArray = NDArray[np.float64]

_TABLE = QUANTILE_RANKS - 1
"""Number of rank steps of a baseline's table."""
STEPS = _TABLE // 2
STEP_ERROR = 0.5 / STEPS
STEP_RANKS: FloatArray = (np.arange(STEPS) + 0.5) / STEPS
"""Ranks at which a window's sketch is queried, shape (STEPS,)."""
ALPHA = 0.05
"""Significance of the KS decision: the largest share of windows without drift that it rejects."""
_LOW, _HIGH = 1, _TABLE - 1
_QUARTILES = _TABLE // 4, 3 * _TABLE // 4


class QuantileTable:
    """A baseline's table of quantiles, compiled for comparison.

    Args:
        quantiles: at ranks 0, 0.001, … 1, ascending, shape (QUANTILE_RANKS,), rounded as the sketch rounds values.
        m: number of training values behind them.
        error: rank error of the quantiles beside that of the table; 0 for exact quantiles.

    Attributes:
        steps: quantiles at `STEP_RANKS`, shape (STEPS,).
        low: the 0.1 % quantile.
        high: the 99.9 % quantile.
        scale: divisor of W₁; NaN if training held a single value.
        error: error of a rank, as a share.
    """

    def __init__(self, quantiles: ArrayLike, m: int, error: float = 0.0) -> None:
        table = np.asarray(quantiles, dtype=np.float64)
        if table.shape != (QUANTILE_RANKS,):
            raise ValueError(f"a baseline has {QUANTILE_RANKS} quantiles, not {table.shape}")
        if m < 1:
            raise ValueError("quantiles need at least one value")
        self.m = m
        self.error = 0.5 / _TABLE + 1.0 / m + error
        self.steps: FloatArray = table[1::2]
        self.low, self.high = float(table[_LOW]), float(table[_HIGH])
        with np.errstate(over="ignore"):
            spans = [float(table[_QUARTILES[1]] - table[_QUARTILES[0]]), self.high - self.low]
        self.scale = next((span for span in spans if span > 0), float("nan"))
        # Between two neighboring points the share of values ≤ x lies within one step of rank; the middle is used.
        last = np.flatnonzero(np.append(table[1:] > table[:-1], True))
        self._points = table[last]
        self._share = np.concatenate(([0.0], np.minimum((last + 0.5) / _TABLE, 1.0)))
        self._share[-1] = 1.0

    def shares(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the shares of training values < and ≤ each value, any shape."""
        until = np.searchsorted(self._points, values, side="right")
        before = until - (self._points[np.maximum(until, 1) - 1] == values)
        return self._share[before], self._share[until]


def ks_statistics(table: QuantileTable, steps: FloatArray) -> FloatArray:
    """Return D̂ of R windows of one field, over both sides of every jump.

    Args:
        steps: the windows' quantiles at `STEP_RANKS`, shape (R, STEPS).

    Returns:
        Shape (R,), in [0, 1]; within `table.error` + `STEP_ERROR` + the sketch's rank error of the true statistic.
    """
    ranks = np.arange(STEPS + 1) / STEPS
    # F̂ is largest against Ĝ at a jump of F̂, and smallest just before one. Of equal steps the last, or first, counts.
    before, until = table.shares(steps)
    over = (ranks[1:] - until).max(axis=1)
    short = (before - ranks[:-1]).max(axis=1)
    statistic: FloatArray = np.maximum(np.maximum(over, short), 0.0)
    return statistic


def ks_threshold(n: ArrayLike, m: ArrayLike, error: ArrayLike = 0.0, phi: ArrayLike = 1.0) -> FloatArray:
    """Return the value that D̂ must exceed for the distributions to count as different at `ALPHA`.

    Args:
        n: number of values of the window; 0 gives an infinite threshold.
        m: number of values of the baseline.
        error: error of D̂, of window and baseline together.
        phi: overdispersion, at least 1: it divides n_h.
    """
    sizes, base = np.asarray(n, dtype=np.float64), np.asarray(m, dtype=np.float64)
    with np.errstate(divide="ignore"):
        inverse = np.asarray(phi, dtype=np.float64) * (1.0 / sizes + 1.0 / base)
    threshold: FloatArray = np.sqrt(-0.5 * np.log(ALPHA / 2) * inverse) + np.asarray(error)
    return threshold


def wasserstein(table: QuantileTable, steps: FloatArray) -> FloatArray:
    """Return W₁ of R windows of one field, in units of the baseline's spread (see the module).

    Args:
        steps: the windows' quantiles at `STEP_RANKS`, shape (R, STEPS).

    Returns:
        Shape (R,); NaN if training held a single value.
    """
    low, high = table.low, table.high
    with np.errstate(over="ignore"):
        apart = np.abs(np.clip(steps, low, high) - np.clip(table.steps, low, high))
    distance: FloatArray = (apart / STEPS).sum(axis=1) / table.scale
    return distance


def jensen_shannon(base: ArrayLike, window: ArrayLike, starts: ArrayLike) -> FloatArray:
    """Return the Jensen–Shannon distance of W windows over G groups of bins laid end to end.

    Args:
        base: baseline counts or expected shares, (n_bins,) or (W, n_bins).
        window: window counts, (W, n_bins), or (n_bins,) for W = 1.
        starts: first bin of each group, ascending from 0, (G,).

    Returns:
        Shape (W, G), in [0, 1]; NaN if window or baseline is empty.
    """
    first = np.asarray(starts, dtype=np.int64)
    c, b = (np.atleast_2d(np.asarray(counts, dtype=np.float64)) for counts in (window, base))
    if b.shape[1] != c.shape[1] or len(b) not in (1, len(c)):
        raise ValueError(f"window counts of shape {c.shape} do not fit a baseline of shape {b.shape}")
    sizes = np.diff(first, append=c.shape[1])
    q, p = _shares(c, first, sizes), _shares(b, first, sizes)
    middle = (p + q) / 2
    safe = np.where(middle > 0, middle, 1.0)
    nats = np.add.reduceat(xlogy(p, p / safe) + xlogy(q, q / safe), first, axis=1) / 2
    # Rounding may give slightly less than 0 or more than ln 2. NaN stays.
    distance: FloatArray = np.sqrt(np.clip(nats / np.log(2.0), 0.0, 1.0))
    return distance


def _shares(counts: FloatArray, starts: NDArray[np.int64], sizes: NDArray[Any]) -> FloatArray:
    """Return each bin's share of its group; NaN if the group is empty."""
    total = np.add.reduceat(counts, starts, axis=1)
    shares: FloatArray = counts / np.repeat(np.where(total > 0, total, np.nan), sizes, axis=1)
    return shares
