"""Quantiles of a histogram with buckets. Only the bucket that holds a quantile is known, so both limits are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

QUANTILES = (0.5, 0.95, 0.99)


class QuantileBucket(NamedTuple):
    """The bucket that holds a quantile."""

    low: float
    """Its lower limit; 0 for the first bucket, because durations and counts are not negative."""
    high: float
    """Its upper limit; infinite for the last bucket."""


NO_BUCKET = QuantileBucket(math.nan, math.nan)


def quantile_bucket(ends: Sequence[float], counts: Sequence[float], share: float) -> QuantileBucket:
    """Return the bucket that holds a quantile.

    Args:
        ends: upper limits of the buckets, ascending.
        counts: observations in each bucket, not cumulative.
        share: the share of observations at or below the quantile, in (0, 1].
    """
    total = sum(counts)
    if total <= 0:
        return NO_BUCKET
    rank, below, low = share * total, 0.0, 0.0
    for end, n in zip(ends, counts, strict=True):
        below += n
        # Sums of shares are inexact: 0.95 * 20 must not fall behind 19.
        if n > 0 and below >= rank - 1e-9 * total:
            return QuantileBucket(min(low, end), end)
        low = end
    return NO_BUCKET
