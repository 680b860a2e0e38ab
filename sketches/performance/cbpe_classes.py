"""Performance before labels arrive, of models with more than two classes (CBPE).

A prediction counts for class k by its probability of k, apart for predictions of k and for all others. On labelled
reference windows a calibration map of each kind is learned per class:

    q_k(p): probability that k is right, of predictions of k          hits    h_k = Σ n q_k(p) over these predictions
    o_k(p): probability that k is right, of predictions of others     misses  m_k = Σ n o_k(p) over these predictions

With c_k predictions of k, the expected accuracy is Σ h_k / Σ c_k, precision h_k / c_k, recall h_k / (h_k + m_k), and f1
2 h_k / (c_k + h_k + m_k); auc of k against the others follows from the same sums per bin. A map over all predictions
would be wrong for both if a rule overrides the probabilities.

The maps q of different classes are learned from different predictions, and so are both maps of a class. So errors of
h_k are independent over classes, and those of h_k and m_k are too. Like `sketches.performance.cbpe`, the estimate
cannot detect a change of what probabilities mean (concept drift).

Sources: NannyML's multiclass CBPE; calibration of the predicted class: Gupta and Ramdas (2022), ICLR, top-label
calibration.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.drift.rates import Z
from barograph_server.sketches.performance.auc import class_rows
from barograph_server.sketches.performance.bins import labelled, predictions
from barograph_server.sketches.performance.calibration_map import CalibrationMap, learn_calibration
from barograph_server.sketches.performance.expected import expected_auc
from barograph_server.sketches.performance.metric import ENOUGH, MetricEstimate, checked_phi

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_NO_ROWS = 1e-9
_OCCURS = 1.0
"""Fewest expected rows of a class that is never predicted for the class to count in means over classes."""


@dataclass(frozen=True, slots=True)
class _ClassMaps:
    """Calibration maps of K classes."""

    maps: tuple[CalibrationMap, ...]
    map_of_class: NDArray[np.intp]
    """Index of each class's map, shape (K,). Classes with few labelled rows share one."""

    @property
    def rate(self) -> FloatArray:
        """Probability that a class is right, shape (K, n_bins)."""
        return np.stack([each.rate for each in self.maps])[self.map_of_class]


@dataclass(frozen=True, slots=True)
class ClassCalibration:
    """What the probabilities of a model mean, learned from labelled reference windows."""

    edges: FloatArray
    of_predicted: _ClassMaps
    """Of predictions of the class."""
    of_others: _ClassMaps
    """Of predictions of other classes."""


@dataclass(frozen=True, slots=True)
class _ClassRows:
    """Expected rows of each class, shape (..., K), and the variance of each and of their sum, shape (...)."""

    rows: FloatArray
    variance: FloatArray
    variance_of_sum: FloatArray


def learn_class_calibration(one_vs_rest: ArrayLike, of_predicted: ArrayLike, edges: ArrayLike) -> ClassCalibration:
    """Learn the maps of all classes from labelled reference windows.

    Classes with fewer than 20 right or 20 wrong rows share a map, together with the next smallest classes until these
    rows are enough.

    Args:
        one_vs_rest: labelled rows by the probability of each class, `positives` those whose label it is, shape
            (K, n_bins, 3).
        of_predicted: those of them that are predictions of the class, shape (K, n_bins, 3).

    Raises:
        ValueError: if shapes do not fit, or all classes together have fewer than 20 right or 20 wrong rows.
    """
    everything, predicted = labelled(one_vs_rest, edges), labelled(of_predicted, edges)
    return ClassCalibration(
        np.asarray(edges, np.float64), _learn_maps(predicted, edges), _learn_maps(everything - predicted, edges)
    )


def class_cbpe_metrics(
    one_vs_rest: ArrayLike, of_predicted: ArrayLike, calibration: ClassCalibration, *, phi: ArrayLike = 1.0
) -> dict[str, MetricEstimate]:
    """Estimate accuracy, precision_macro, recall_macro, f1_macro and auc_macro of windows from their probabilities.

    Args:
        one_vs_rest: all predictions, labelled or not, by the probability of each class, shape (..., K, n_bins, 2).
        of_predicted: those of them that are predictions of the class, same shape.
        calibration: learned on bins of the same edges.
        phi: overdispersion, at least 1, broadcast against the windows' shape.

    Returns:
        Metrics of the windows' shape: the values that labels of these predictions would give. The interval contains the
        chance of labels and the uncertainty of the maps; for means over classes it assumes fully correlated classes, so
        it is never too narrow. Means are over classes that are predicted or expected, auc_macro over expected ones.
        Accuracy is enough from 20 rows (n/φ), means if 20 of every such class and of the others are expected.

    Raises:
        ValueError: if shapes do not fit or φ is under 1.
    """
    phis = checked_phi(phi)
    everything = predictions(one_vs_rest, calibration.edges)[..., 0]
    decided = predictions(of_predicted, calibration.edges)[..., 0]
    hits = _expected_rows(decided, calibration.of_predicted, phis)
    misses = _expected_rows(everything - decided, calibration.of_others, phis)
    predicted = decided.sum(axis=-1)
    total = predicted.sum(axis=-1)
    divisor = np.where(total > 0.0, total, np.nan)
    accuracy = hits.rows.sum(axis=-1) / divisor
    true = hits.rows + misses.rows
    occurs = (predicted > 0.0) | (true >= _OCCURS)
    enough = np.minimum(true, total[..., None] - true) / phis[..., None] >= ENOUGH

    def mean_over(used: BoolArray, value: FloatArray, variance: FloatArray) -> MetricEstimate:
        number = np.where(used.any(axis=-1), used.sum(axis=-1), np.nan)
        middle, reach = (np.where(used, each, 0.0).sum(axis=-1) / number for each in (value, Z * np.sqrt(variance)))
        return _clipped(middle, reach, (enough | ~used).all(axis=-1))

    def mean(value: FloatArray, by_hit: FloatArray, by_miss: FloatArray) -> MetricEstimate:
        return mean_over(occurs, value, by_hit**2 * hits.variance + by_miss**2 * misses.variance)

    positive = decided * calibration.of_predicted.rate + (everything - decided) * calibration.of_others.rate
    auc = expected_auc(positive, everything - positive)
    auc_variance = _variance(decided, calibration.of_predicted, phis, auc.by_label()) + _variance(
        everything - decided, calibration.of_others, phis, auc.by_label()
    )
    expected, either = _divisor(true), _divisor(predicted + true)
    return {
        "accuracy": _clipped(accuracy, Z * np.sqrt(hits.variance_of_sum) / divisor, total / phis >= ENOUGH),
        "precision_macro": mean(hits.rows / _divisor(predicted), 1.0 / _divisor(predicted), np.zeros_like(true)),
        "recall_macro": mean(hits.rows / expected, misses.rows / expected**2, -hits.rows / expected**2),
        "f1_macro": mean(
            2.0 * hits.rows / either, 2.0 * (predicted + misses.rows) / either**2, -2.0 * hits.rows / either**2
        ),
        "auc_macro": mean_over((true >= _OCCURS) & ~np.isnan(auc.value), auc.value, auc_variance),
    }


def _learn_maps(hist: FloatArray, edges: ArrayLike) -> _ClassMaps:
    fewest = class_rows(hist).min(axis=-1)
    shared: list[int] = []
    groups = [shared]
    for k in np.argsort(fewest, kind="stable").tolist():
        is_short = bool(shared) and class_rows(hist[shared].sum(axis=0)).min() < ENOUGH
        if is_short or fewest[k] < ENOUGH:
            shared.append(k)
        else:
            groups.append([k])
    groups = [group for group in groups if group]
    map_of_class = np.zeros(len(hist), np.intp)
    for i, group in enumerate(groups):
        map_of_class[group] = i
    return _ClassMaps(tuple(learn_calibration(hist[group], edges) for group in groups), map_of_class)


def _expected_rows(rows: FloatArray, maps: _ClassMaps, phis: FloatArray) -> _ClassRows:
    """Return the rows of each class whose label is expected to be the class.

    Args:
        rows: predictions, shape (..., K, n_bins).
        maps: probability that a class is right.
        phis: overdispersion, in the windows' shape.
    """
    information = rows * maps.rate * (1.0 - maps.rate)
    variance = _variance(rows, maps, phis, 1.0)
    variance_of_sum = information.sum(axis=(-2, -1)) * phis
    for i, each in enumerate(maps.maps):
        # Errors of a shared map add up over its classes.
        variance_of_sum += _uncertainty(information[..., maps.map_of_class == i, :].sum(axis=-2), each.covariance)
    return _ClassRows((rows * maps.rate).sum(axis=-1), variance, variance_of_sum)


def _variance(rows: FloatArray, maps: _ClassMaps, phis: FloatArray, by_label: FloatArray | float) -> FloatArray:
    """Return the variance of a figure of each class, shape (..., K), from its change if a row is of the class."""
    by_odds = rows * maps.rate * (1.0 - maps.rate) * by_label
    variance = (by_odds * by_label).sum(axis=-1) * phis[..., None]
    for i, each in enumerate(maps.maps):
        of_map = maps.map_of_class == i
        variance[..., of_map] += _uncertainty(by_odds[..., of_map, :], each.covariance)
    return np.asarray(variance)


def _uncertainty(by_odds: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the variance of a sum over bins, shape (...), from its derivatives by the log-odds of each bin."""
    return np.asarray(np.maximum(((by_odds @ covariance) * by_odds).sum(axis=-1), 0.0))


def _divisor(counts: FloatArray) -> FloatArray:
    """Return counts with 1 instead of nearly 0, so that a ratio over no rows is 0."""
    return np.where(counts > _NO_ROWS, counts, 1.0)


def _clipped(value: FloatArray, reach: FloatArray, enough: BoolArray) -> MetricEstimate:
    return MetricEstimate(
        value, np.maximum(value - reach, 0.0), np.minimum(value + reach, 1.0), enough & ~np.isnan(value)
    )
