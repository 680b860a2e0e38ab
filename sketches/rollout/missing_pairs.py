"""Bounds of a difference when the answer of one side is missing.

A pair whose candidate timed out has no difference. If quality r lies in [0, 1], the difference lies in

    [−r_p, 1 − r_p]  if only the candidate's answer is missing,
    [r_c − 1, r_c]   if only the primary's is missing,
    [−1, 1]          if both are missing,

so the sums over all pairs are bounded without any assumption about which answers are missing.

A missing answer of the candidate is also a failure, which needs a criterion of its own. A quality without bounds, such
as the logarithm of latency, has only that criterion.

Source: Manski (1990), American Economic Review 80, 319–323.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MissingPairs:
    """Pairs of each day in which an answer is missing; arrays of one shape (..., t).

    Quality is in [0, 1], such as 1 for a right answer and 0 for a wrong one, or 1 − Brier score.
    """

    candidate: ArrayLike
    """Pairs without the candidate's answer."""
    primary_quality: ArrayLike
    """Σ quality of the primary in these pairs."""
    primary: ArrayLike = 0.0
    """Pairs without the primary's answer."""
    candidate_quality: ArrayLike = 0.0
    """Σ quality of the candidate in these pairs."""
    both: ArrayLike = 0.0
    """Pairs with neither answer."""


@dataclass(frozen=True, slots=True)
class BoundedSums:
    """Bounds of the daily sums of differences over all pairs; arrays have the shape (..., t)."""

    low: FloatArray
    high: FloatArray
    pairs: FloatArray
    """All pairs of each day, those with missing answers included."""


def bounded_sums(differences: ArrayLike, pairs: ArrayLike, missing: MissingPairs) -> BoundedSums:
    """Return the bounds of daily sums.

    Args:
        differences: sums over the complete pairs of each day, (..., t).
        pairs: complete pairs of each day; may be 0.
        missing: the other pairs.

    Raises:
        ValueError: a count is negative, or the quality of pairs exceeds their number.
    """
    sums, counts, no_candidate, primary_quality, no_primary, candidate_quality, neither = (
        np.asarray(each, np.float64)
        for each in np.broadcast_arrays(
            differences,
            pairs,
            missing.candidate,
            missing.primary_quality,
            missing.primary,
            missing.candidate_quality,
            missing.both,
        )
    )
    if not all(np.all(each >= 0.0) for each in (counts, no_candidate, no_primary, neither)):
        raise ValueError("a count of pairs is negative")
    for quality, of in ((primary_quality, no_candidate), (candidate_quality, no_primary)):
        if not np.all((quality >= 0.0) & (quality <= of)):
            raise ValueError("the quality of pairs with a missing answer must lie between 0 and their number")
    return BoundedSums(
        low=sums - primary_quality + candidate_quality - no_primary - neither,
        high=sums + no_candidate - primary_quality + candidate_quality + neither,
        pairs=counts + no_candidate + no_primary + neither,
    )
