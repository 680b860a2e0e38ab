"""Raw labelled predictions with known truth, and the counts and sums that performance is computed from."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from barograph_server.sketches.performance.binary import SCORE_FLOOR, binary_metrics
from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.metric import MetricEstimate

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def drawn(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    mean_odds: float,
    spread: float,
    concept: Callable[[FloatArray], FloatArray] = lambda odds: odds,
) -> tuple[FloatArray, BoolArray]:
    """Generate scores with normal log-odds, and labels. `concept` maps to the true log-odds; default is calibrated."""
    odds = rng.normal(mean_odds, spread, shape)
    return expit(odds), rng.random(shape) < expit(concept(odds))


def score_histogram(scores: ArrayLike, edges: ArrayLike, positive: ArrayLike | None = None) -> FloatArray:
    """Count raw scores (..., rows) by bin; return shape (..., n_bins, 3), or (..., n_bins, 2) without labels."""
    values = np.asarray(scores, np.float64)
    inner = np.asarray(edges, np.float64)
    windows, bins = values.shape[:-1], inner.size + 1
    count = int(np.prod(windows, dtype=np.int64))
    cell = np.searchsorted(inner, values, "right").reshape(count, -1) + bins * np.arange(count)[:, None]
    weights = [None, values] if positive is None else [None, values, np.asarray(positive, np.float64)]
    sums = [
        np.bincount(cell.ravel(), None if weight is None else weight.ravel(), count * bins).astype(np.float64)
        for weight in weights
    ]
    return np.stack(sums, axis=-1).reshape(*windows, bins, len(sums))


def confusion(labels: BoolArray, predicted: BoolArray, counted: BoolArray | bool = True) -> FloatArray:
    cells = (labels & predicted, ~labels & predicted, labels & ~predicted, ~labels & ~predicted)
    return np.stack([(cell & counted).sum(axis=-1) for cell in cells], axis=-1).astype(np.float64)


def class_confusion(true: IntArray, predicted: IntArray, classes: int) -> FloatArray:
    cells = true * classes + predicted
    counts = np.stack([(cells == cell).sum(axis=-1) for cell in range(classes**2)], axis=-1)
    return counts.reshape(*counts.shape[:-1], classes, classes).astype(np.float64)


def sums(values: FloatArray) -> FloatArray:
    rows = np.full(values.shape[:-1], float(values.shape[-1]))
    return np.stack((rows, values.sum(axis=-1), (values**2).sum(axis=-1)), axis=-1)


def error_sums(errors: FloatArray) -> FloatArray:
    rows = np.full(errors.shape[:-1], float(errors.shape[-1]))
    parts = (errors, np.abs(errors), errors**2, errors**4)
    return np.stack((rows, *(part.sum(axis=-1) for part in parts)), axis=-1)


def measured(
    scores: FloatArray, labels: BoolArray, threshold: float = 0.5, phi: float = 1.0
) -> dict[str, MetricEstimate]:
    edges = score_edges(threshold)
    came = np.maximum(np.where(labels, scores, 1.0 - scores), SCORE_FLOOR)
    return binary_metrics(
        score_histogram(scores, edges, labels),
        confusion(labels, scores >= threshold),
        edges,
        log_loss_sums=sums(-np.log(came)),
        brier_sums=sums((scores - labels) ** 2),
        phi=phi,
    )


def covered(metric: MetricEstimate, truth: float | FloatArray) -> FloatArray:
    """Return the share of windows, along the first axis, whose interval covers the truth; most need enough rows."""
    assert (metric.enough.mean(axis=0) > 0.85).all(), metric.enough.mean(axis=0)
    covered = (metric.low <= truth) & (truth <= metric.high) & metric.enough
    return np.asarray(covered.sum(axis=0) / metric.enough.sum(axis=0))
