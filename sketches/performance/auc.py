"""The area under the ROC curve from histograms of scores, with DeLong's interval on the scale of log-odds.

AUC is the share of pairs of a positive and a negative in which the positive's score is the higher, ties counting
half. Rows of one bin count as tied, though the positives among them have the higher scores by a little. With p and q
the shares of positives and negatives per bin, the slope between neighbours says by how much:

    AUC = Σ qᵢ (p above i) + ½ Σ qᵢ pᵢ + (1/12) Σ (qᵢ pᵢ₊₁ − pᵢ qᵢ₊₁)

The last term is taken from 1,000 rows of each class, where it is surer than the error it removes: 2·10⁻⁴ where
log-odds spread with a standard deviation of 1.5, 7·10⁻⁴ at 0.5, 1.4·10⁻³ at 0.3. With it nothing of that is left,
down to 10⁻⁴ at 0.3. What is left is the chance order of rows within a bin, which shrinks as the standard error of AUC
does: 0.03 of it at a spread of 1 or more, 0.08 at 0.5, 0.15 at 0.3. A model with a few distinct scores in neighbouring
bins has true ties; there the term errs by up to 3·10⁻⁴.

Source: DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44, 837–845. The plain interval covers 75 % at n = 50
with 7 % positives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketches.performance.metric import ENOUGH, MetricEstimate, checked_phi, on_logit

FloatArray = NDArray[np.float64]

WITHIN_BINS = 1_000.0
"""From so many rows of each class the order within bins is taken from the slope between them."""


def auc_metric(hist: FloatArray, phi: ArrayLike = 1.0) -> MetricEstimate:
    """AUC of many windows.

    Args:
        hist: labelled rows, shape (..., n_bins, 3), bins by ascending score.
        phi: overdispersion, broadcast against the windows' shape.

    Returns:
        NaN where a class is missing; enough from 20 of each class, n/φ. Where AUC is 1 or 0, or nothing varies,
        the interval is Wilson's of the rows of the smaller class.
    """
    value, variance = auc_and_variance(hist)
    phis = checked_phi(phi)
    rows = class_rows(hist).min(axis=-1) / phis
    return on_logit(value, variance * phis, rows, rows >= ENOUGH)


def auc_and_variance(hist: FloatArray) -> tuple[FloatArray, FloatArray]:
    """AUC and DeLong's variance at φ = 1, both in the windows' shape; NaN where a class is missing.

    The variance is 0 where a class has one row only.
    """
    positives = hist[..., 2]
    negatives = hist[..., 0] - positives
    negatives_below = share_below(negatives)
    positives_below = share_below(positives)
    rows = class_rows(hist)
    both = rows.min(axis=-1) > 0.0
    value = _mean(positives, negatives_below)
    crossed = negatives[..., :-1] * positives[..., 1:] - positives[..., :-1] * negatives[..., 1:]
    within = crossed.sum(axis=-1) / np.where(both, rows.prod(axis=-1), 1.0) / 12.0
    value = np.where(rows.min(axis=-1) >= WITHIN_BINS, np.clip(value + within, 0.0, 1.0), value)
    variance = _variance(positives, negatives_below) + _variance(negatives, positives_below)
    return np.where(both, value, np.nan), np.where(both, variance, np.nan)


def share_below(counts: FloatArray) -> FloatArray:
    """For each bin the share of counts below it and half of its own, shape of `counts`; 0 where there are none."""
    total = counts.sum(axis=-1, keepdims=True)
    return (np.cumsum(counts, axis=-1) - counts / 2.0) / np.where(total > 0.0, total, 1.0)


def class_rows(hist: FloatArray) -> FloatArray:
    """Rows of the positive and of the negative class, shape (..., 2)."""
    positives = hist[..., 2].sum(axis=-1)
    return np.stack((positives, hist[..., 0].sum(axis=-1) - positives), axis=-1)


def _mean(counts: FloatArray, values: FloatArray) -> FloatArray:
    total = counts.sum(axis=-1)
    return np.asarray((counts * values).sum(axis=-1) / np.where(total > 0.0, total, 1.0))


def _variance(counts: FloatArray, values: FloatArray) -> FloatArray:
    """The variance of the mean of `values`, each held by so many rows."""
    total = counts.sum(axis=-1)
    squares = (counts * (values - _mean(counts, values)[..., None]) ** 2).sum(axis=-1)
    return np.asarray(squares / np.maximum(total - 1.0, 1.0) / np.where(total > 0.0, total, 1.0))
