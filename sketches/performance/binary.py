"""Performance of models with two classes, from counts alone, over many windows at once.

| metric | value | interval |
|---|---|---|
| accuracy, precision, recall | of the confusion, exact | Wilson |
| f1 | 2 TP / (2 TP + FP + FN), exact | Wilson's of J = TP / (TP + FP + FN), carried over by f1 = 2 J / (1 + J) |
| auc | pairs in the right order, ties within a bin ½ | DeLong on log-odds, `sketches.performance.auc` |
| log_loss, brier | means of −ln(probability of the label) and (score − label)², exact | Student |
| calibration_error | ten groups, corrected for chance | `sketches.performance.calibration` |

f1 is a function of J alone, and J is a proportion: given TP + FP + FN, TP is binomial. So its interval needs no
linear approximation and is valid at f1 = 0 and 1.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.performance.auc import auc_metric, class_rows
from barograph_server.sketches.performance.bins import labelled, mean_scores
from barograph_server.sketches.performance.calibration import calibration_error
from barograph_server.sketches.performance.metric import (
    ENOUGH,
    MetricEstimate,
    checked_phi,
    last_axis,
    mean,
    proportion,
    undefined,
    where_enough,
)

FloatArray = NDArray[np.float64]

SCORE_FLOOR = float(np.finfo(np.float64).eps)
"""Smallest probability in log-loss, so that one certain and wrong score does not make it infinite."""


def binary_metrics(
    hist: ArrayLike | None,
    confusion: ArrayLike,
    edges: ArrayLike,
    *,
    log_loss_sums: ArrayLike | None = None,
    brier_sums: ArrayLike | None = None,
    phi: ArrayLike = 1.0,
) -> dict[str, MetricEstimate]:
    """Return all metrics of the kind `binary`, by name.

    Args:
        hist: labelled rows by score, shape (..., n_bins, 3): n, sum of scores, positives; None for a model
            that returns only classes; its metrics of scores are NaN.
        confusion: exact counts TP, FP, FN, TN, shape (..., 4), by the event's class, or by score ≥ threshold if it
            has none.
        edges: edges of the histogram's bins, from `score_edges`.
        log_loss_sums: n, Σx, Σx² of x = −ln max(probability of the label's class, `SCORE_FLOOR`), shape (..., 3);
            None uses the mean of each row's bin as its score (relative error of the result up to 10⁻³).
        brier_sums: n, Σx, Σx² of x = (score − label)², shape (..., 3); None as above.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        The metrics named in `METRICS["binary"]` of the contract, each of the windows' shape. Enough needs 20 of
        either class (n/φ), precision and f1 also 20 predicted positives or 20 of TP + FP + FN.

    Raises:
        ValueError: if shapes do not fit or φ is under 1.
    """
    counts = last_axis(confusion, 4, "a confusion (TP, FP, FN, TN)")
    phis = checked_phi(phi)
    enough = np.minimum(counts[..., 0] + counts[..., 2], counts[..., 1] + counts[..., 3]) / phis >= ENOUGH
    metrics = {name: where_enough(metric, enough) for name, metric in confusion_metrics(counts, phis).items()}
    if hist is None:
        shape = counts.shape[:-1]
        scored = dict.fromkeys(("auc", "log_loss", "brier", "calibration_error"), undefined(shape))
        return {**metrics, **scored}
    rows = labelled(hist, edges)
    enough = class_rows(rows).min(axis=-1) / phis >= ENOUGH
    log_loss = _log_loss_sums(rows, edges) if log_loss_sums is None else log_loss_sums
    brier = _brier_sums(rows, edges) if brier_sums is None else brier_sums
    return {
        **metrics,
        "auc": auc_metric(rows, phis),
        "log_loss": where_enough(mean(log_loss, phis, least=0.0), enough),
        "brier": where_enough(mean(brier, phis, least=0.0), enough),
        "calibration_error": calibration_error(rows, phis),
    }


def confusion_metrics(confusion: ArrayLike, phi: ArrayLike = 1.0) -> dict[str, MetricEstimate]:
    """Return accuracy, precision, recall and f1 of counts TP, FP, FN, TN, shape (..., 4), which may be fractions.

    Each is NaN if its denominator is 0, and enough from a denominator of 20, n/φ.
    """
    counts = last_axis(confusion, 4, "a confusion (TP, FP, FN, TN)")
    tp, fp, fn, tn = (counts[..., i] for i in range(4))
    return {
        "accuracy": proportion(tp + tn, tp + fp + fn + tn, phi),
        "precision": proportion(tp, tp + fp, phi),
        "recall": proportion(tp, tp + fn, phi),
        "f1": f1_metric(tp, fp + fn, phi),
    }


def f1_metric(hits: ArrayLike, errors: ArrayLike, phi: ArrayLike = 1.0) -> MetricEstimate:
    """Return f1 of TP and FP + FN; NaN if both are 0."""
    right = np.asarray(hits, np.float64)
    shared = proportion(right, right + np.asarray(errors, np.float64), phi)
    value, low, high = (2.0 * part / (1.0 + part) for part in (shared.value, shared.low, shared.high))
    return MetricEstimate(value, low, high, shared.enough)


def _log_loss_sums(hist: FloatArray, edges: ArrayLike) -> FloatArray:
    score = np.clip(mean_scores(hist[..., 0], hist[..., 1], edges), SCORE_FLOOR, 1.0 - SCORE_FLOOR)
    return _sums(hist, -np.log(score), -np.log1p(-score))


def _brier_sums(hist: FloatArray, edges: ArrayLike) -> FloatArray:
    score = mean_scores(hist[..., 0], hist[..., 1], edges)
    return _sums(hist, (1.0 - score) ** 2, score**2)


def _sums(hist: FloatArray, if_positive: FloatArray, if_negative: FloatArray) -> FloatArray:
    """Return n, Σx, Σx² of a loss that depends on bin and label."""
    positives = hist[..., 2]
    negatives = hist[..., 0] - positives
    return np.stack(
        [
            hist[..., 0].sum(axis=-1),
            *((positives * if_positive**power + negatives * if_negative**power).sum(axis=-1) for power in (1, 2)),
        ],
        axis=-1,
    )
