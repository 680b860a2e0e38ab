"""Performance of models that predict numbers, with e = prediction − label.

| metric | value | interval |
|---|---|---|
| bias | Σe / n | Student |
| mae | Σ|e| / n | Student |
| rmse | √(Σe² / n) | Student's of Σe² / n, from Σe⁴, on the scale of its logarithm |
| error_p50, error_p90, error_p99 | quantiles of |e| | order statistics: the quantiles at p ± 1.96 √(p (1 − p) / n) |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.performance.metric import Metric

FloatArray = NDArray[np.float64]

SUMS = ("n", "Σe", "Σ|e|", "Σe²", "Σe⁴")
"""What the last axis of `sums` holds, of e = prediction − label."""
ERROR_QUANTILES = {"error_p50": 0.5, "error_p90": 0.9, "error_p99": 0.99}
ERROR_RANKS: FloatArray = np.concatenate((np.arange(0.0, 0.96, 0.02), np.arange(0.96, 1.0005, 0.001)))
"""At these ranks quantiles of |e| are asked for; between them they are interpolated."""


def number_metrics(
    sums: ArrayLike,
    quantiles: ArrayLike | None = None,
    *,
    rank_error: float = 0.0,
    phi: ArrayLike = 1.0,
) -> dict[str, Metric]:
    """All metrics of the kind `number`, by name, and quantiles of |e|.

    Args:
        sums: n, Σe, Σ|e|, Σe², Σe⁴ of labelled rows, shape (..., 5).
        quantiles: of |e| at `ERROR_RANKS`, from a sketch or from all errors, shape (..., len(ERROR_RANKS)); None
            gives no quantiles. NaN for a window without rows.
        rank_error: of the sketch that they are from, one-sided; 0 for exact ones.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        `mae`, `rmse`, `bias`, and with quantiles `error_p50`, `error_p90`, `error_p99`, of the windows' shape. NaN
        where there are no rows; enough from 20 rows, n/φ, and of a quantile where its interval ends within them.

    Raises:
        ValueError: if shapes do not fit or φ is under 1.
    """
    raise NotImplementedError
