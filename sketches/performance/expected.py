"""Metrics of expected counts with their derivatives, shared by the estimates without labels.

With n_i predictions in bin i and p_i the probability that one of them is positive, n_i p_i positives and
n_i (1 − p_i) negatives are expected. A metric is a ratio of sums of these; its derivatives with respect to one more
positive or negative in a bin give its variance for any source of uncertainty in the counts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.performance.auc import auc_and_variance, share_below
from barograph_server.sketches.performance.metric import BoolArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Expected:
    """One metric of expected counts."""

    value: FloatArray
    """Value in the windows' shape; NaN if its denominator is 0."""
    by_positive: FloatArray
    """Derivative with respect to a positive in a bin, shape (..., n_bins)."""
    by_negative: FloatArray
    """Derivative with respect to a negative in a bin, shape (..., n_bins)."""

    def by_label(self) -> FloatArray:
        """Return the change if a negative of a bin turns positive, shape (..., n_bins)."""
        return self.by_positive - self.by_negative

    def by_row(self, rate: FloatArray) -> FloatArray:
        """Return the derivative with respect to a prediction in a bin, shape (..., n_bins)."""
        return rate * self.by_positive + (1.0 - rate) * self.by_negative


def expected_metrics(n: FloatArray, rate: FloatArray, first: int) -> dict[str, Expected]:
    """Return accuracy, precision, recall, f1 and auc.

    Args:
        n: predictions per bin, shape (..., n_bins).
        rate: probability of the positive class, broadcast against `n`.
        first: first bin of predicted positives.
    """
    upper = np.arange(n.shape[-1]) >= first
    positive, negative = n * rate, n * (1.0 - rate)
    tp, fp = positive[..., first:].sum(axis=-1), negative[..., first:].sum(axis=-1)
    fn, tn = positive[..., :first].sum(axis=-1), negative[..., :first].sum(axis=-1)
    return {
        "accuracy": _ratio(tp + tn, tp + fp + fn + tn, upper, ~upper, True, True),
        "precision": _ratio(tp, tp + fp, upper, False, upper, upper),
        "recall": _ratio(tp, tp + fn, upper, False, True, False),
        "f1": _ratio(2.0 * tp, 2.0 * tp + fp + fn, np.where(upper, 2.0, 0.0), False, np.where(upper, 2.0, 1.0), upper),
        "auc": expected_auc(positive, negative),
    }


def _ratio(
    over: FloatArray,
    under: FloatArray,
    positive_over: BoolArray | FloatArray | bool,
    negative_over: BoolArray | bool,
    positive_under: BoolArray | FloatArray | bool,
    negative_under: BoolArray | bool,
) -> Expected:
    """Return over/under; the other arguments are the derivatives of both with respect to a row of a bin."""
    below = np.where(under > 0.0, under, np.nan)
    value = over / below
    ratio, scale = value[..., None], below[..., None]
    return Expected(
        value,
        np.asarray((positive_over - ratio * positive_under) / scale, np.float64),
        np.asarray((negative_over - ratio * negative_under) / scale, np.float64),
    )


def expected_auc(positive: FloatArray, negative: FloatArray) -> Expected:
    """Return auc of the expected rows of both classes per bin, shape (..., n_bins)."""
    value, _ = auc_and_variance(np.stack((positive + negative, np.zeros_like(positive), positive), axis=-1))
    middle = value[..., None]
    return Expected(
        value,
        (share_below(negative) - middle) / _total(positive),
        (1.0 - share_below(positive) - middle) / _total(negative),
    )


def _total(counts: FloatArray) -> FloatArray:
    total = counts.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(total > 0.0, total, np.nan))
