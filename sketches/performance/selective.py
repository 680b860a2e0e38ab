"""Selective labels: label coverage that depends on the score.

If loans are refused, or only suspicious payments are reviewed, labelled rows differ from the rest, and metrics on them
are not the model's performance. This module tests whether label coverage depends on the score, and corrects for it as
long as labels are random among rows of one score.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from barograph_server.sketches.performance.bins import first_positive, labelled, predictions
from barograph_server.sketches.performance.calibration import GROUPS, group_of, merge_groups
from barograph_server.sketches.performance.calibration_map import CalibrationMap
from barograph_server.sketches.performance.expected import expected_metrics
from barograph_server.sketches.performance.metric import ENOUGH, MetricEstimate, checked_phi, on_logit

FloatArray = NDArray[np.float64]

ALPHA = 0.001
SPREAD = 0.05
"""Smallest relative spread of coverage that counts: less has no relevant effect, however significant."""
SIDE_GROUPS = 5
"""Groups of scores on each side of the threshold; residuals count as equal within a group."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Dependence of label coverage on the score; every array but `by_group` has the windows' shape."""

    selective: NDArray[np.bool_]
    """Whether coverage depends on the score: p < 0.001 and a spread of at least 0.05."""
    p_value: FloatArray
    """p of χ² over score groups, counts divided by φ; 1 if all or no predictions have labels."""
    coverage: FloatArray
    """Share of predictions that have a label; NaN without predictions."""
    spread: FloatArray
    """Standard deviation of the groups' coverage divided by its mean, corrected for chance."""
    by_group: FloatArray
    """Coverage of up to ten groups of scores, ascending, shape (..., groups); NaN for an empty group."""


def selective(labelled_hist: ArrayLike, all_hist: ArrayLike, edges: ArrayLike, *, phi: ArrayLike = 1.0) -> Selection:
    """Test whether label coverage depends on the score.

    Args:
        labelled_hist: rows with labels, shape (..., n_bins, 3).
        all_hist: all predictions of the same windows, with labels or without, shape (..., n_bins, 2).
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Raises:
        ValueError: if shapes do not fit, φ is under 1, or a bin has more labels than predictions.
    """
    phis = checked_phi(phi)
    labels, everything = _of_same_windows(labelled_hist, all_hist, edges)
    by_group = merge_groups(np.stack((everything, labels), axis=-1), everything, GROUPS)
    rows, labelled_rows = by_group[..., 0], by_group[..., 1]
    total, labels_total = rows.sum(axis=-1), labelled_rows.sum(axis=-1)
    divisor = np.where(total > 0.0, total, np.nan)
    coverage = labels_total / divisor
    mixed = (labels_total > 0.0) & (labels_total < total)
    share = np.where(mixed, coverage, 0.5)
    expected = share[..., None] * rows
    chi2 = ((labelled_rows - expected) ** 2 / np.where(rows > 0.0, expected * (1.0 - share[..., None]), 1.0)).sum(
        axis=-1
    )
    chi2 = np.where(mixed, chi2, 0.0)
    df = np.maximum((rows > 0.0).sum(axis=-1) - 1, 0)
    p_value = np.where(mixed & (df > 0), chdtrc(np.maximum(df, 1), chi2 / phis), 1.0)
    spread = np.sqrt(np.maximum(chi2 - df * phis, 0.0) * (1.0 - share) / share / np.where(mixed, total, 1.0))
    return Selection(
        (p_value < ALPHA) & (spread >= SPREAD),
        p_value,
        coverage,
        spread,
        labelled_rows / np.where(rows > 0.0, rows, np.nan),
    )


def corrected_metrics(
    labelled_hist: ArrayLike,
    all_hist: ArrayLike,
    calibration: CalibrationMap,
    threshold: float,
    *,
    phi: ArrayLike = 1.0,
) -> dict[str, MetricEstimate]:
    """Return accuracy, precision, recall, f1 and auc of all predictions if label coverage depends on the score.

    Prediction-powered inference in groups of scores, five by labelled rows on each side of the threshold: the
    calibration's expectation for all predictions, shifted in each group by the mean residual of its labelled rows. So
    the labelled rows of a group represent all its predictions, regardless of their number. It is valid as long as
    labels are random among rows of similar score. Use it only if `selective` reports a dependence: otherwise
    `binary_metrics` is exact and as precise.

    Args:
        labelled_hist: rows with labels, shape (..., n_bins, 3).
        all_hist: all predictions of the same windows, with labels or without, shape (..., n_bins, 2).
        calibration: learned on bins of the same edges.
        threshold: decision threshold, an edge of the bins.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        Metrics of the windows' shape; enough if 20 of either class are expected, and each side of the threshold with
        predictions has 20 labelled rows (n/φ): groups without labels cannot be corrected.

    Raises:
        ValueError: if shapes do not fit, the threshold is no edge, or φ is under 1.
    """
    phis = checked_phi(phi)
    labels, everything = _of_same_windows(labelled_hist, all_hist, calibration.edges)
    positives = np.asarray(labelled_hist, np.float64)[..., 2]
    first = first_positive(calibration.edges, threshold)
    moved, variance, membership = _by_residuals(labels, positives, calibration.rate, first)
    expected = (everything * moved).sum(axis=-1)
    enough = np.minimum(expected, everything.sum(axis=-1) - expected) / phis >= ENOUGH
    for side in (slice(None, first), slice(first, None)):
        enough &= (labels[..., side].sum(axis=-1) / phis >= ENOUGH) | (everything[..., side].sum(axis=-1) == 0.0)
    rows = labels.sum(axis=-1) / phis
    metrics = {}
    for name, metric in expected_metrics(everything, moved, first).items():
        weights = everything * metric.by_label()
        residuals = (np.einsum("...b,...bg->...g", weights, membership) ** 2 * variance).sum(axis=-1)
        scores = (everything * metric.by_row(moved) ** 2).sum(axis=-1)
        metrics[name] = on_logit(metric.value, (residuals + scores) * phis, rows, enough)
    return metrics


def _of_same_windows(labelled_hist: ArrayLike, all_hist: ArrayLike, edges: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return labelled rows and all predictions per bin, both of shape (..., n_bins)."""
    labels, everything = labelled(labelled_hist, edges)[..., 0], predictions(all_hist, edges)[..., 0]
    if labels.shape != everything.shape:
        raise ValueError(
            f"histograms of labels {labels.shape} and predictions {everything.shape} are of different windows"
        )
    if np.any(labels > everything):
        raise ValueError("a bin has more labels than predictions; the second histogram must be of all predictions")
    return labels, everything


def _by_residuals(
    labels: FloatArray, positives: FloatArray, rate: FloatArray, first: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Move the calibration's rates by the residuals of labelled rows.

    Returns:
        Rates, shape (..., n_bins); variance of each group's residual, shape (..., groups), 0 without labelled rows;
        membership of bins in groups, 0 or 1, shape (..., n_bins, groups).
    """
    group = np.concatenate(
        (group_of(labels[..., :first], SIDE_GROUPS), group_of(labels[..., first:], SIDE_GROUPS) + SIDE_GROUPS), axis=-1
    )
    membership = (group[..., None] == np.arange(2 * SIDE_GROUPS)).astype(np.float64)
    counts = np.stack((labels, positives, labels * rate, labels * rate * (1.0 - rate)), axis=-1)
    rows, labelled_rows, expected, chance = np.moveaxis(np.einsum("...bm,...bg->...gm", counts, membership), -1, 0)
    divisor = np.where(rows > 0.0, rows, 1.0)
    moved = np.clip(rate + np.einsum("...g,...bg->...b", (labelled_rows - expected) / divisor, membership), 0.0, 1.0)
    after = np.einsum("...b,...bg->...g", labels * moved * (1.0 - moved), membership)
    # The larger of both: rates that were shifted to 0 would claim certainty.
    return moved, np.maximum(after, chance) / divisor**2, membership
