"""Performance of models that predict numbers, with e = prediction − label.

| metric | value | interval |
|---|---|---|
| bias | Σe / n | Student |
| mae | Σ|e| / n | Student |
| rmse | √(Σe² / n) | Student's of Σe² / n, from Σe⁴, on the scale of its logarithm |
| error_p50, error_p90, error_p99 | quantiles of |e| | order statistics: the quantiles at p ± 1.96 √(p (1 − p) / n) |
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.performance.metric import ENOUGH, MetricEstimate, checked_phi, last_axis, mean, root

FloatArray = NDArray[np.float64]

SUMS = ("n", "Σe", "Σ|e|", "Σe²", "Σe⁴")
"""Members of the last axis of `sums`, for e = prediction − label."""
ERROR_QUANTILES = {"error_p50": 0.5, "error_p90": 0.9, "error_p99": 0.99}
ERROR_RANKS: FloatArray = np.concatenate((np.arange(48) / 50.0, np.arange(960, 1_001) / 1_000.0))
"""Ranks at which quantiles of |e| are queried; between them they are interpolated."""


def number_metrics(
    sums: ArrayLike, quantiles: ArrayLike | None = None, *, rank_error: float = 0.0, phi: ArrayLike = 1.0
) -> dict[str, MetricEstimate]:
    """Return all metrics of the kind `number`, by name, and quantiles of |e|.

    Args:
        sums: n, Σe, Σ|e|, Σe², Σe⁴ of labelled rows, shape (..., 5).
        quantiles: quantiles of |e| at `ERROR_RANKS`, from a sketch or from all errors, shape (..., len(ERROR_RANKS));
            None gives no quantiles. NaN for a window without rows.
        rank_error: one-sided rank error of the sketch; 0 for exact quantiles.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        `mae`, `rmse`, `bias`, and with quantiles `error_p50`, `error_p90`, `error_p99`, of the windows' shape. NaN
        without rows; enough from 20 rows, n/φ, and for a quantile if its interval ends within the rows: otherwise (p99
        of fewer than 381 rows) its `high` is NaN.

    Raises:
        ValueError: if shapes do not fit or φ is under 1.
    """
    totals = last_axis(sums, len(SUMS), f"sums of errors ({', '.join(SUMS)})")
    phis = checked_phi(phi)
    rows, signed, absolute, squares, fourths = (totals[..., i] for i in range(len(SUMS)))
    metrics = {
        "mae": mean(np.stack((rows, absolute, squares), axis=-1), phis, least=0.0),
        "rmse": root(mean(np.stack((rows, squares, fourths), axis=-1), phis)),
        "bias": mean(np.stack((rows, signed, squares), axis=-1), phis),
    }
    if quantiles is not None:
        metrics.update(
            _quantiles(last_axis(quantiles, ERROR_RANKS.size, "quantiles of errors"), rows, rank_error, phis)
        )
    return metrics


def _quantiles(grid: FloatArray, rows: FloatArray, rank_error: float, phis: FloatArray) -> dict[str, MetricEstimate]:
    if not 0.0 <= rank_error < 1.0:
        raise ValueError(f"a rank error must be a share of the rows, not {rank_error}")
    independent = rows / phis
    metrics = {}
    for name, rank in ERROR_QUANTILES.items():
        reach = Z * np.sqrt(rank * (1.0 - rank) / np.where(rows > 0.0, independent, np.nan)) + rank_error
        value, low, high = (_read(grid, rank + side * reach) for side in (0.0, -1.0, 1.0))
        within = np.nan_to_num(rank + reach, nan=1.0) < 1.0
        metrics[name] = MetricEstimate(value, low, np.where(within, high, np.nan), (independent >= ENOUGH) & within)
    return metrics


def _read(grid: FloatArray, ranks: FloatArray) -> FloatArray:
    """Return quantiles at ranks of the windows' shape, interpolated linearly in the grid; NaN for a NaN rank."""
    inside = np.clip(np.nan_to_num(ranks), 0.0, 1.0)
    right = np.clip(np.searchsorted(ERROR_RANKS, inside, "right"), 1, ERROR_RANKS.size - 1)
    left = right - 1
    share = (inside - ERROR_RANKS[left]) / (ERROR_RANKS[right] - ERROR_RANKS[left])
    lower, upper = (np.take_along_axis(grid, at[..., None], axis=-1)[..., 0] for at in (left, right))
    return np.where(np.isnan(ranks), np.nan, lower + share * (upper - lower))
