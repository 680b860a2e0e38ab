"""Labels that come for some scores rather than for others.

Where loans are refused or only suspicious payments are looked at, the rows that get labels are not like the rest, and
what is measured on them is not the model's performance. Whether label coverage depends on the score is tested; and
as long as labels are random among rows of one score, it is corrected for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.performance.cbpe import CalibrationMap
from sketches.performance.metric import Metric

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Selection:
    """How label coverage depends on the score; every array but the last has the windows' shape."""

    selective: NDArray[np.bool_]
    """Whether it does: p < 0.001 and a spread of at least 0.05."""
    p_value: FloatArray
    """χ² over score groups, counts divided by φ; 1 where all or no predictions have labels."""
    coverage: FloatArray
    """Share of predictions that have a label; NaN where there are no predictions."""
    spread: FloatArray
    """Standard deviation of the groups' coverage by its mean, less what chance adds."""
    by_group: FloatArray
    """Coverage of up to ten groups of scores, ascending, shape (..., groups); NaN where a group is empty."""


def selective(labelled_hist: ArrayLike, all_hist: ArrayLike, edges: ArrayLike, *, phi: ArrayLike = 1.0) -> Selection:
    """Test whether label coverage depends on the score.

    Args:
        labelled_hist: rows with labels, shape (..., n_bins, 3).
        all_hist: all predictions of the same windows, with labels or without, shape (..., n_bins, 2).
        edges: of the bins.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Raises:
        ValueError: if shapes do not fit, φ is under 1, or a bin holds more labels than predictions.
    """
    raise NotImplementedError


def prediction_powered(all_sums: ArrayLike, residual_sums: ArrayLike, *, phi: ArrayLike = 1.0) -> Metric:
    """θ = mean of f over all predictions + mean of y − f over labelled ones (Angelopoulos et al. 2023).

    Only for labels that are random among all predictions; see `corrected_metrics` for others.

    Args:
        all_sums: n, Σf, Σf² of what the model says of a figure, for all predictions, shape (..., 3).
        residual_sums: n, Σ(y − f), Σ(y − f)² of labelled rows, shape (..., 3).
        phi: overdispersion, at least 1, broadcast against the windows' shape.
    """
    raise NotImplementedError


def corrected_metrics(
    labelled_hist: ArrayLike,
    all_hist: ArrayLike,
    calibration: CalibrationMap,
    threshold: float,
    *,
    phi: ArrayLike = 1.0,
) -> dict[str, Metric]:
    """accuracy, precision, recall, f1 and auc of all predictions, where labels depend on the score.

    Prediction-powered inference within groups of scores: what the calibration expects of all predictions, moved in
    each group by the mean residual of its labelled rows. To be used where `selective` says so, and only there.

    Args:
        labelled_hist: rows with labels, shape (..., n_bins, 3).
        all_hist: all predictions of the same windows, with labels or without, shape (..., n_bins, 2).
        calibration: learned on bins of the same edges.
        threshold: of the decision, an edge of the bins.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Raises:
        ValueError: if shapes do not fit, the threshold is no edge, or φ is under 1.
    """
    raise NotImplementedError
