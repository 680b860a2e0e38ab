"""Performance before labels arrive: expected counts from calibrated scores (CBPE).

With p_i the probability of the positive class in bin i, learned from labelled reference windows, and n_i the
window's predictions there, n_i p_i positives are expected. Their sums over bins give expected TP, FP, FN and TN, and
from them accuracy, precision, recall, f1 and AUC. It follows the traffic to other scores (covariate shift), as long
as a score goes on meaning the same; it is blind where that changes (concept drift). So its own error is measured as
labels mature (`realised_error`), and `cbpe_trust` says whether to believe it.

Source: the method is NannyML's, confidence-based performance estimation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.performance.metric import Metric

FloatArray = NDArray[np.float64]

TOLERANCE = 0.02
"""An estimate that is off by more is of no use for a decision."""


@dataclass(frozen=True, slots=True)
class CalibrationMap:
    """What a score means: the probability of the positive class in each bin, and how surely it is known."""

    edges: FloatArray
    """Shape (n_bins − 1,)."""
    rate: FloatArray
    """Probability of the positive class, never falling, shape (n_bins,)."""
    covariance: FloatArray
    """Of the rates' log-odds, shape (n_bins, n_bins)."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whether an estimate held against what was realised; every array has the leading shape of the errors."""

    windows: NDArray[np.int64]
    """Windows with labels enough to compare."""
    bias: FloatArray
    """Mean error; NaN where there are no windows."""
    off: FloatArray
    """Share of windows whose error is larger than the tolerance and larger than chance; NaN as above."""
    known: NDArray[np.bool_]
    """Whether there are windows enough to say."""
    trusted: NDArray[np.bool_]
    """Whether the estimate may be believed: known, seldom off, and not off on average."""


def learn_calibration(hist: ArrayLike, edges: ArrayLike) -> CalibrationMap:
    """Learn what scores mean from labelled reference windows.

    Args:
        hist: labelled rows, shape (..., n_bins, 3); all windows are added up.
        edges: of its bins.

    Raises:
        ValueError: if shapes do not fit, or there are fewer than 20 rows of either class.
    """
    raise NotImplementedError


def cbpe_metrics(
    hist: ArrayLike, calibration: CalibrationMap, threshold: float, *, phi: ArrayLike = 1.0
) -> dict[str, Metric]:
    """Estimate accuracy, precision, recall, f1 and auc of windows from their scores.

    Args:
        hist: all predictions, labelled or not, shape (..., n_bins, 2).
        calibration: learned on bins of the same edges.
        threshold: of the decision, an edge of the bins.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        Metrics of the windows' shape; enough where 20 of either class are expected (n/φ).

    Raises:
        ValueError: if shapes do not fit, the threshold is no edge, or φ is under 1.
    """
    raise NotImplementedError


def realised_error(estimated: Metric, realised: Metric) -> Metric:
    """CBPE − realised once labels are mature, with interval; enough where both are."""
    raise NotImplementedError


def cbpe_trust(errors: Metric, *, tolerance: float = TOLERANCE) -> Trust:
    """Say whether an estimate may be believed, from its errors in matured windows.

    Args:
        errors: of shape (..., windows), as `realised_error` gives them; those that are not enough are left out.
        tolerance: an error up to it does not matter.
    """
    raise NotImplementedError
