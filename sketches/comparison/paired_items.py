"""Two runs of one suite, compared item by item.

d_i is the mean score of item i in the candidate's run minus that in the accepted run. The interval is that of Bonett
and Price: Wald's of the differences with two more items, d = 1 and d = −1. It was made for d of −1, 0 and 1. Means of
several answers vary less, so that the two items then widen the interval more than needed. It has a width even if no
item differs.

Source: Bonett and Price (2012), Journal of Educational and Behavioral Statistics 37, 479–488.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

CONFIDENCE = 0.95
_Z = float(ndtri(0.5 + CONFIDENCE / 2.0))


class SuiteOutcome(Enum):
    """What the comparison says about the candidate."""

    ACCEPT = "accept"
    """Not worse by the margin: the whole interval is above −margin."""
    HOLD = "hold"
    """Worse: the whole interval is below 0, and not above −margin."""
    INSUFFICIENT = "insufficient"
    """Neither is known, or there are too few items."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean difference candidate − accepted; above 0 is better."""

    items: int
    better: int
    """Items with a higher mean score of the candidate."""
    worse: int
    value: float
    """Mean of the differences; NaN without items."""
    low: float
    """Lower end of the 95 % interval; −1 without items."""
    high: float


def paired_difference(accepted: ArrayLike, candidate: ArrayLike) -> PairedDifference:
    """Compare mean scores of the same items.

    Args:
        accepted: mean score of each item in the accepted run, shape (K,), from 0 to 1.
        candidate: mean score in the candidate's run, in the same order.

    Raises:
        ValueError: the shapes differ, or a mean is not between 0 and 1.
    """
    old, new = np.asarray(accepted, np.float64), np.asarray(candidate, np.float64)
    if old.ndim != 1 or old.shape != new.shape:
        raise ValueError(f"the means of two runs need one shape (K,), not {old.shape} and {new.shape}")
    if not np.all((old >= 0.0) & (old <= 1.0) & (new >= 0.0) & (new <= 1.0)):
        raise ValueError("a mean score is not between 0 and 1")
    d, n = new - old, len(old)
    if n == 0:
        return PairedDifference(0, 0, 0, float("nan"), -1.0, 1.0)
    low, high = _interval(n, float(d.sum()), float((d**2).sum()))
    better, worse = int(np.count_nonzero(d > 0.0)), int(np.count_nonzero(d < 0.0))
    return PairedDifference(n, better, worse, float(d.mean()), low, high)


def _interval(items: int, total: float, squares: float) -> tuple[float, float]:
    """Return the 95 % interval of differences with this sum and sum of squares."""
    middle = total / (items + 2)
    half = _Z * math.sqrt((squares + 2.0) / (items + 2) - middle**2) / math.sqrt(items + 2)
    return max(-1.0, middle - half), min(1.0, middle + half)


def least_items_to_accept(margin: float, most: int = 1_000_000) -> int | None:
    """Return the fewest items at which a candidate can be accepted that equals the accepted run in all of them.

    Args:
        margin: how much worse the candidate may be, above 0.

    Returns:
        The number of items; None if it is above `most`.

    Raises:
        ValueError: the margin is not above 0.
    """
    if not margin > 0.0:
        raise ValueError(f"a margin is above 0, not {margin}")
    # The lower end rises with the items.
    least = bisect_left(range(1, most + 1), True, key=lambda items: _interval(items, 0.0, 0.0)[0] > -margin) + 1
    return least if least <= most else None


def judge_difference(difference: PairedDifference, margin: float, least_items: int) -> SuiteOutcome:
    """Decide about a candidate.

    Args:
        margin: how much worse the candidate may be, above 0.
        least_items: fewest items that both runs must have.

    Raises:
        ValueError: the margin is not above 0.
    """
    if not margin > 0.0:
        raise ValueError(f"a margin is above 0, not {margin}")
    if difference.items < max(least_items, 1):
        return SuiteOutcome.INSUFFICIENT
    if difference.low > -margin:
        return SuiteOutcome.ACCEPT
    return SuiteOutcome.HOLD if difference.high < 0.0 else SuiteOutcome.INSUFFICIENT
