"""Histograms of scores on fixed edges, from which all metrics of scores are computed.

192 bins of equal width in log-odds on [−12, 12] and two outer bins. They are as fine for a model of rare positives as
for a balanced one, and stay so if traffic moves to scores that are rare in training: with quantile bins AUC errs by
0.009–0.11 then. An edge at the decision threshold keeps counts of predicted positives exact.

A histogram of labelled rows has shape (..., n_bins, 3): n, sum of scores, positives; one of all predictions
(..., n_bins, 2): n, sum of scores. Histograms are additive over panes, slices and days.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

FloatArray = NDArray[np.float64]

SCORE_BINS = 192
REACH = 12.0
"""Outermost edge, in log-odds: scores from 6·10⁻⁶ to 1 − 6·10⁻⁶ have inner bins."""


def score_edges(threshold: float) -> FloatArray:
    """Return the inner edges of the bins, ascending, as probabilities.

    Bin i holds edges[i − 1] ≤ score < edges[i], so a score's bin is `np.searchsorted(edges, score, "right")`; there
    is one bin more than edges. The bin that contains the threshold is split there: 195 bins, or 194 if the threshold is
    an edge already, such as 0.5.

    Raises:
        ValueError: if the threshold is not finite.
    """
    if not np.isfinite(threshold):
        raise ValueError(f"a threshold of a score must be a finite number, not {threshold}")
    grid = expit(np.linspace(-REACH, REACH, SCORE_BINS + 1))
    return np.union1d(grid, [threshold])


def first_positive(edges: ArrayLike, threshold: float) -> int:
    """Return the first bin whose scores are all at or above the threshold, which must be an edge.

    Raises:
        ValueError: if the threshold is no edge.
    """
    inner = np.asarray(edges, np.float64)
    position = int(np.searchsorted(inner, threshold, "right"))
    if position == 0 or inner[position - 1] != threshold:
        raise ValueError(
            f"the threshold {threshold} is not an edge of these bins; create them with score_edges({threshold})"
        )
    return position


def labelled(hist: ArrayLike, edges: ArrayLike) -> FloatArray:
    """Check that a histogram has labelled rows on these edges.

    Raises:
        ValueError: if its shape does not match.
    """
    return _checked(hist, edges, 3, "labelled rows")


def predictions(hist: ArrayLike, edges: ArrayLike) -> FloatArray:
    """Check that a histogram has predictions on these edges.

    Raises:
        ValueError: if its shape does not match.
    """
    return _checked(hist, edges, 2, "predictions")


def mean_scores(n: FloatArray, total: FloatArray, edges: ArrayLike) -> FloatArray:
    """Return the mean score of each bin, shape of `n`; for an empty bin, its middle in log-odds."""
    inner = np.clip(np.asarray(edges, np.float64), np.finfo(np.float64).tiny, 1.0 - np.finfo(np.float64).epsneg)
    odds = np.log(inner) - np.log1p(-inner)
    step = 2.0 * REACH / SCORE_BINS
    middle = expit(np.concatenate(([odds[0] - step / 2.0], (odds[1:] + odds[:-1]) / 2.0, [odds[-1] + step / 2.0])))
    return np.where(n > 0.0, total / np.where(n > 0.0, n, 1.0), middle)


def _checked(hist: ArrayLike, edges: ArrayLike, members: int, what: str) -> FloatArray:
    array = np.asarray(hist, np.float64)
    bins = np.size(edges) + 1
    if array.ndim < 2 or array.shape[-2:] != (bins, members):
        raise ValueError(
            f"a histogram of {what} on these edges must have the shape (..., {bins}, {members}), not {array.shape}"
        )
    return array
