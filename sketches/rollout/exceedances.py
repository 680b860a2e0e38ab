"""Comparison of quantiles by counts above frozen limits, from histograms of fixed buckets.

Bucket b holds the values from 2^(b/8) up to 2^((b + 1)/8): steps of 9.05 %. Buckets add up over hours and days. The
number of values at or above the lower edge of a bucket is exact, so a limit is always such an edge: the one above
which the primary's share in the burn-in is nearest to that of the quantile. The width of a bucket only changes which
quantile is compared. The limit then stays frozen, and the difference, values of the primary at or above it minus those
of the candidate, is a difference of shares for `sketches.rollout.day_interval`: positive if the candidate is faster.

For display, a quantile is read as the geometric middle of its bucket, so its relative error is at most
2^(1/16) − 1 = 4.4 %.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

STEPS = 8
"""Buckets per factor of 2."""
FIRST_BUCKET = -160
"""Number of the first bucket of a histogram: it holds all values below 2^(−159/8), which is about 10⁻⁶."""
BUCKETS = 481
"""Buckets of a histogram; the last one holds all values from 2^40 on."""


def bucket_histogram(buckets: ArrayLike, counts: ArrayLike) -> FloatArray:
    """Return a histogram of shape (481,) from bucket numbers and their counts.

    Raises:
        ValueError: a bucket is outside the histogram.
    """
    indices = np.asarray(buckets, np.int64) - FIRST_BUCKET
    if indices.size and not 0 <= indices.min() <= indices.max() < BUCKETS:
        raise ValueError(f"buckets must lie between {FIRST_BUCKET} and {FIRST_BUCKET + BUCKETS - 1}")
    histogram = np.zeros(BUCKETS)
    np.add.at(histogram, indices, np.asarray(counts, np.float64))
    return histogram


def frozen_limit(burn_in: ArrayLike, rank: float) -> int:
    """Return the index, in the histogram, of the first bucket above the limit of a quantile.

    Of two limits with equally near shares the larger one is returned.

    Args:
        burn_in: the primary's histogram of the burn-in, (481,).
        rank: strictly between 0 and 1.

    Raises:
        ValueError: the histogram is empty, or the rank is not between 0 and 1.
    """
    histogram = np.asarray(burn_in, np.float64)
    if not 0.0 < rank < 1.0:
        raise ValueError(f"ranks of quantiles lie between 0 and 1, not at {rank}")
    if not histogram.sum() > 0.0:
        raise ValueError("the primary has no values in the burn-in, so no limit can be frozen")
    shares = np.append(exceedances(histogram, np.arange(len(histogram))), 0.0) / histogram.sum()
    distance = np.abs(shares - (1.0 - rank))
    is_nearest = distance <= distance.min() + 1e-12
    return int(np.flatnonzero(is_nearest & (shares <= shares[is_nearest].min()))[0])


def exceedances(histograms: ArrayLike, index: int | NDArray[np.int64]) -> FloatArray:
    """Return the values at or above the lower edge of buckets.

    Args:
        histograms: (..., 481).
        index: indices in the histogram: one, which gives (...), or several, (p,), which give (..., p). The index after
            the last bucket is that of a limit without values above it.
    """
    counts = np.asarray(histograms, np.float64)
    from_top = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    padded = np.concatenate((from_top, np.zeros((*counts.shape[:-1], 1))), axis=-1)
    return np.asarray(padded[..., index], np.float64)


def edge(index: int) -> float:
    """Return the lower edge of a bucket, in the unit of the values."""
    return float(2.0 ** ((index + FIRST_BUCKET) / STEPS))


def bucket_quantiles(histograms: ArrayLike, ranks: ArrayLike) -> FloatArray:
    """Return quantiles, each the geometric middle of its bucket; NaN for an empty histogram.

    Args:
        histograms: (..., 481).
        ranks: (r,), between 0 and 1.

    Returns:
        Shape (..., r).
    """
    counts = np.asarray(histograms, np.float64)
    total = counts.sum(axis=-1)[..., None, None]
    below = np.cumsum(counts, axis=-1)[..., None, :]
    requested = np.asarray(ranks, np.float64)[:, None] * total
    index = np.argmax(below >= np.maximum(requested, np.finfo(np.float64).tiny), axis=-1)
    middles = 2.0 ** ((index + FIRST_BUCKET + 0.5) / STEPS)
    return np.where(total[..., 0] > 0.0, middles, np.nan)
