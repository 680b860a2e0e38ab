"""Rank correlation of two scores from the joint counts of their bins.

It is Spearman's correlation of the pairs with all scores of a bin as ties: Pearson's correlation of the mean ranks of
the bins. Ties pull it towards 0. For probabilities in bins of ½ in log-odds it is too small by at most 0.025 if the
log-odds have a standard deviation of 1, and by 0.01 if it is 2. For numbers in steps of 9 % it is too small by 0.01 if
two thirds of them lie within a factor of 2. Tests check these limits with normal log-odds and logarithms.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def binned_rank_correlation(left: ArrayLike, right: ArrayLike, counts: ArrayLike) -> float:
    """Return the correlation, from −1 to 1; NaN if all pairs are in one bin of a side, or there are none.

    Args:
        left: number of one side's bin, ascending with the score, of each cell, (c,).
        right: that of the other side.
    """
    n = np.asarray(counts, np.float64)
    total = n.sum()
    if not total > 0.0:
        return math.nan
    ranks = [_mean_ranks(np.asarray(bins), n) for bins in (left, right)]
    first, second = (each - (total + 1.0) / 2.0 for each in ranks)
    variance = np.sum(n * first * first) * np.sum(n * second * second)
    return float(np.sum(n * first * second) / math.sqrt(variance)) if variance > 0.0 else math.nan


def _mean_ranks(bins: NDArray[np.int64], counts: FloatArray) -> FloatArray:
    """Return the mean rank, from 1 on, of the values of each cell's bin."""
    _, inverse = np.unique(bins, return_inverse=True)
    of_bin = np.bincount(inverse, weights=counts)
    return np.asarray((np.cumsum(of_bin) - (of_bin - 1.0) / 2.0)[inverse], np.float64)
