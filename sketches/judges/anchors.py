"""Drift of a judge on frozen anchors: answers with a known class that never change.

When a judge is released, it judges all anchors 60 times or more: the bank. Each later run is paired with one run of the
bank that is **used once**. An anchor is lost in a pair if only the run of the bank judged it right, and gained if only
the later run did. Without drift an anchor with two different verdicts is lost or gained with the probability ½ each,
however difficult it is. So after L lost and G gained anchors

    E = mean over θ ∈ {0.56, 0.62, 0.8} of (2θ)^L (2(1 − θ))^G

is a test martingale: by Ville's inequality it ever reaches 50 for at most 2 % of judges without drift, and nothing is
estimated. θ is the share of lost anchors of a judge that became worse: near 0.56 for a judge whose verdicts vary much,
near 1 for one that hardly varies. Verdicts of an anchor must be independent between runs. Runs whose verdicts change
together, as after an exchange of the model behind a name, are drift.

If one run of the bank is used again and again, its chance errors stay in all pairs, and alarms are too frequent
(docs/statistics.md).

A judge that is deterministic needs no test: a verdict that changed is drift.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

TICKET_E_VALUE = 50.0
"""E-value from which a judge has drifted: at most one in 50 judges without drift ever reaches it."""
LEAST_BANK = 5
"""Fewest runs of a bank: with fewer, a judge that varies looks deterministic."""
LOST_SHARES = np.array([0.56, 0.62, 0.8])
"""Shares θ of lost anchors that E averages over."""


@dataclass(frozen=True, slots=True)
class AnchorDrift:
    """Evidence that a judge has become worse on its anchors; arrays have the shape (..., runs)."""

    log_e: FloatArray
    """Logarithm of E after each run."""
    has_drifted: NDArray[np.bool_]
    """Whether E has reached 50 at this run or at an earlier one."""


def anchor_drift(lost: ArrayLike, gained: ArrayLike) -> AnchorDrift:
    """Return the evidence after each run.

    Args:
        lost: anchors of each run that only its run of the bank judged right, in order, shape (..., runs).
        gained: anchors of each run that only the run itself judged right, of the same shape.

    Raises:
        ValueError: shapes differ, or a number is negative or not finite.
    """
    losses, gains = np.asarray(lost, np.float64), np.asarray(gained, np.float64)
    if losses.ndim == 0 or losses.shape != gains.shape:
        raise ValueError(f"lost {losses.shape} and gained {gains.shape} must have the same shape (..., runs)")
    if not (np.all(np.isfinite(losses) & (losses >= 0.0)) and np.all(np.isfinite(gains) & (gains >= 0.0))):
        raise ValueError("lost and gained must be numbers of anchors from 0 on")
    lost_so_far, gained_so_far = np.cumsum(losses, axis=-1)[..., None], np.cumsum(gains, axis=-1)[..., None]
    terms = lost_so_far * np.log(2.0 * LOST_SHARES) + gained_so_far * np.log(2.0 * (1.0 - LOST_SHARES))
    log_e = np.logaddexp.reduce(terms, axis=-1) - np.log(len(LOST_SHARES))
    return AnchorDrift(log_e, np.logical_or.accumulate(log_e >= np.log(TICKET_E_VALUE), axis=-1))
