"""Performance before labels arrive: expected counts from calibrated scores (CBPE).

With p_i the probability of the positive class in bin i, learned from labelled reference windows, and n_i the
window's predictions there, n_i p_i positives are expected. Their sums over bins give expected TP, FP, FN and TN (a
score at or above the threshold predicts the positive class), and from them accuracy, precision, recall, f1 and AUC. The
estimate follows traffic to other scores (covariate shift) as long as a score keeps its meaning; it cannot detect a
change of that meaning (concept drift). So its error is measured as labels mature (`realised_error`), and the view
`estimate_trust` decides whether the estimate is trusted.

Source: the method is NannyML's, confidence-based performance estimation.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.performance.bins import first_positive, predictions
from barograph_server.sketches.performance.calibration_map import CalibrationMap
from barograph_server.sketches.performance.expected import Expected, expected_metrics
from barograph_server.sketches.performance.metric import ENOUGH, MetricEstimate, checked_phi, difference

FloatArray = NDArray[np.float64]

TOLERANCE = 0.02
"""Largest acceptable error: a less precise estimate is no basis for decisions."""


def cbpe_metrics(
    hist: ArrayLike, calibration: CalibrationMap, threshold: float, *, phi: ArrayLike = 1.0
) -> dict[str, MetricEstimate]:
    """Estimate accuracy, precision, recall, f1 and auc of windows from their scores.

    Args:
        hist: all predictions, labelled or not, shape (..., n_bins, 2).
        calibration: learned on bins of the same edges.
        threshold: decision threshold, an edge of the bins.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        Metrics of the windows' shape: the values that labels of these predictions would give. The interval of accuracy
        is ±1.96 √(Σ n p (1 − p)) / n, of the others by the delta method, each widened by the uncertainty of the
        calibration. Enough if 20 of either class are expected (n/φ).

    Raises:
        ValueError: if shapes do not fit, the threshold is no edge, or φ is under 1.
    """
    rows = predictions(hist, calibration.edges)[..., 0]
    first = first_positive(calibration.edges, threshold)
    phis = checked_phi(phi)
    rate = calibration.rate
    positives = (rows * rate).sum(axis=-1)
    enough = np.minimum(positives, rows.sum(axis=-1) - positives) / phis >= ENOUGH
    return {
        name: _with_interval(metric, rows * rate * (1.0 - rate), calibration.covariance, phis, enough)
        for name, metric in expected_metrics(rows, rate, first).items()
    }


def _with_interval(
    metric: Expected, information: FloatArray, covariance: FloatArray, phis: FloatArray, enough: NDArray[np.bool_]
) -> MetricEstimate:
    by_label = metric.by_label()
    chance = (by_label**2 * information).sum(axis=-1) * phis
    by_odds = by_label * information
    uncertainty = ((by_odds @ covariance) * by_odds).sum(axis=-1)
    half = Z * np.sqrt(chance + np.maximum(uncertainty, 0.0))
    known = ~np.isnan(metric.value)
    return MetricEstimate(
        metric.value, np.maximum(metric.value - half, 0.0), np.minimum(metric.value + half, 1.0), enough & known
    )


def realised_error(estimated: MetricEstimate, realised: MetricEstimate) -> MetricEstimate:
    """Return CBPE − realized value of the same windows once their labels are mature, in the windows' shape.

    The interval assumes that the two are independent; their errors are correlated, so it is never too narrow.

    Args:
        realised: the same metric of `binary_metrics`.

    Returns:
        NaN if either is undefined; enough if both are.
    """
    return difference(estimated, realised)
