"""Performance of models with more than two classes, from counts alone, over many windows at once.

With C the confusion (rows true, columns predicted), r its row sums and c its column sums:

| metric | value | interval |
|---|---|---|
| accuracy, and every `_micro` (each row has one class, so they are the same) | Σ C_kk / n | Wilson |
| precision, recall of a class | C_kk / c_k, C_kk / r_k | Wilson |
| f1 of a class | 2 C_kk / (r_k + c_k) | as for two classes |
| auc of a class | its probability, against all others | as for two classes |
| precision_macro, recall_macro | mean over classes | square and add of Wilson's: given c (r), classes are independent |
| f1_macro | mean over classes | delta method over all cells of C, on log-odds |
| auc_macro | mean over classes | assumes fully correlated classes: never too narrow; on log-odds |
| log_loss, brier | means of −ln(probability of the label) and Σ_k (p_k − y_k)², exact | Student |
| calibration_error | mean over classes of the class against all others | means of the ends: never too narrow |

Means are over the classes that occur in a window, as true or as predicted; a class that was never predicted has
precision 0 in them (NaN by itself). auc_macro is over classes with rows of their own and of other classes.

Source of the class-wise calibration error: Nixon et al. (2019), arXiv 1904.01685.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.performance.auc import auc_and_variance, auc_metric, class_rows
from barograph_server.sketches.performance.binary import f1_metric
from barograph_server.sketches.performance.bins import labelled
from barograph_server.sketches.performance.calibration import calibration_error
from barograph_server.sketches.performance.metric import (
    ENOUGH,
    MetricEstimate,
    checked_phi,
    mean,
    on_logit,
    proportion,
    undefined,
    where_enough,
)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def class_metrics(
    confusion: ArrayLike,
    one_vs_rest: ArrayLike | None,
    edges: ArrayLike,
    *,
    log_loss_sums: ArrayLike | None = None,
    brier_sums: ArrayLike | None = None,
    phi: ArrayLike = 1.0,
) -> dict[str, MetricEstimate]:
    """Return all metrics of the kind `classes`, by name, and those of each class.

    Args:
        confusion: exact counts, true × predicted, shape (..., K, K), classes in the contract's order.
        one_vs_rest: labelled rows by the probability of each class, `positives` those whose label it is, shape
            (..., K, n_bins, 3); None if events have no probabilities.
        edges: edges of the histogram's bins, `score_edges(0.5)`.
        log_loss_sums: n, Σx, Σx² of x = −ln max(probability of the label's class, `binary.SCORE_FLOOR`), shape
            (..., 3); None if events have no probabilities.
        brier_sums: n, Σx, Σx² of x = Σ_k (p_k − y_k)², from 0 to 2, shape (..., 3); None as above.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        The metrics named in `METRICS["classes"]` of the contract, of the windows' shape, and `precision`, `recall`,
        `f1` and `auc` of shape (..., K), per class. NaN if undefined. Enough needs 20 rows (n/φ); for a class 20 of
        it, of the others and of its denominator; for a macro mean 20 of every class that occurs in the window.

    Raises:
        ValueError: if shapes do not fit or φ is under 1.
    """
    counts = np.asarray(confusion, np.float64)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"a confusion of classes must have the shape (..., K, K), not {counts.shape}")
    phis = checked_phi(phi)
    by_class = np.broadcast_to(phis[..., None], (*phis.shape, counts.shape[-1]))
    return {
        **_of_confusion(counts, phis, by_class),
        **_of_probabilities(counts, one_vs_rest, edges, phis, by_class),
        "log_loss": _loss(counts, log_loss_sums, phis),
        "brier": _loss(counts, brier_sums, phis),
    }


def _of_confusion(counts: FloatArray, phis: FloatArray, by_class: FloatArray) -> dict[str, MetricEstimate]:
    rows = counts.sum(axis=(-2, -1))
    true, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    occurs = true + predicted > 0.0
    sure_class = np.minimum(true, rows[..., None] - true) / by_class >= ENOUGH
    sure_all = (occurs & ~sure_class).sum(axis=-1) == 0
    accuracy = proportion(right.sum(axis=-1), rows, phis)
    precision = proportion(right, predicted, by_class)
    recall = proportion(right, true, by_class)
    f1 = f1_metric(right, true + predicted - 2.0 * right, by_class)
    return {
        **dict.fromkeys(("accuracy", "precision_micro", "recall_micro", "f1_micro"), accuracy),
        "precision_macro": where_enough(_independent_mean(precision, occurs), sure_all),
        "recall_macro": where_enough(_independent_mean(recall, occurs), sure_all),
        "f1_macro": where_enough(_f1_macro(counts, f1.value, occurs, phis), sure_all),
        "precision": where_enough(precision, sure_class),
        "recall": where_enough(recall, sure_class),
        "f1": where_enough(f1, sure_class),
    }


def _of_probabilities(
    counts: FloatArray, one_vs_rest: ArrayLike | None, edges: ArrayLike, phis: FloatArray, by_class: FloatArray
) -> dict[str, MetricEstimate]:
    if one_vs_rest is None:
        overall = undefined(counts.shape[:-2])
        return {"auc_macro": overall, "calibration_error": overall, "auc": undefined(counts.shape[:-1])}
    hist = labelled(one_vs_rest, edges)
    if hist.shape[:-2] != counts.shape[:-1]:
        raise ValueError(f"histograms must be of {counts.shape[:-1]} windows and classes, not of {hist.shape[:-2]}")
    value, variance = auc_and_variance(hist)
    compared = ~np.isnan(value)
    error = _mean(np.sqrt(variance), compared)
    smallest = np.where(compared, class_rows(hist).min(axis=-1), np.inf).min(axis=-1)
    smallest = np.where(np.isfinite(smallest), smallest, 0.0) / phis
    classwise = calibration_error(hist, by_class)
    known = ~np.isnan(classwise.value)
    return {
        "auc_macro": on_logit(_mean(value, compared), error**2 * phis, smallest, smallest >= ENOUGH),
        "calibration_error": MetricEstimate(
            _mean(classwise.value, known), _mean(classwise.low, known), _mean(classwise.high, known), smallest >= ENOUGH
        ),
        "auc": auc_metric(hist, by_class),
    }


def _loss(counts: FloatArray, sums: ArrayLike | None, phis: FloatArray) -> MetricEstimate:
    return undefined(counts.shape[:-2]) if sums is None else mean(sums, phis, least=0.0)


def _mean(values: FloatArray, used: BoolArray) -> FloatArray:
    """Return the mean over the classes that are used; NaN if none is."""
    number = used.sum(axis=-1)
    return np.asarray(np.where(used, values, 0.0).sum(axis=-1) / np.where(number > 0, number, np.nan))


def _independent_mean(metric: MetricEstimate, occurs: BoolArray) -> MetricEstimate:
    """Return the mean of independent proportions over the classes that occur; undefined ones count as 0."""
    value, low, high = (np.nan_to_num(part) for part in (metric.value, metric.low, metric.high))
    number = np.where(occurs.any(axis=-1), occurs.sum(axis=-1), np.nan)
    middle = _mean(value, occurs)
    below = np.sqrt(np.where(occurs, (value - low) ** 2, 0.0).sum(axis=-1)) / number
    above = np.sqrt(np.where(occurs, (high - value) ** 2, 0.0).sum(axis=-1)) / number
    return MetricEstimate(middle, np.maximum(middle - below, 0.0), np.minimum(middle + above, 1.0), ~np.isnan(middle))


def _f1_macro(counts: FloatArray, f1: FloatArray, occurs: BoolArray, phis: FloatArray) -> MetricEstimate:
    """Return the mean of f1 over classes; with s = r + c and t = f1/s, ∂F/∂C_ij = (2 δ_ij/s_i − t_i − t_j) / classes.

    F is invariant to the scale of C, so the mean of its gradient over rows is 0, and its variance is the sum of C_ij
    times the squared gradient.
    """
    total = counts.sum(axis=-1) + counts.sum(axis=-2)
    divisor = np.where(total > 0.0, total, 1.0)
    tilt = np.where(occurs, f1, 0.0) / divisor
    own = np.where(occurs, 2.0 / divisor, 0.0)
    gradient = own[..., None] * np.eye(counts.shape[-1]) - tilt[..., :, None] - tilt[..., None, :]
    number = np.where(occurs.any(axis=-1), occurs.sum(axis=-1), np.nan)
    variance = (counts * gradient**2).sum(axis=(-2, -1)) / number**2
    return on_logit(_mean(f1, occurs), variance * phis, counts.sum(axis=(-2, -1)) / phis, occurs.any(axis=-1))
