"""Time from a change to its detection, from the probability of detection by the share of a window that it fills."""

import math
from collections.abc import Callable
from dataclasses import dataclass

QUANTILES = (0.1, 0.5, 0.9)
"""Quantiles of the time to a page that a prediction states."""


@dataclass(frozen=True, slots=True)
class DetectionCurve:
    """The detection of one change by one window."""

    length_s: float
    """Length of the window, in seconds."""
    hop_s: float
    """Time between two windows: detection waits for the end of the next one, uniformly distributed."""
    probability: Callable[[float], float]
    """Probability of detection by the share f of the window that the change fills; it increases with f."""

    def is_reached(self, quantile: float, elapsed_s: float) -> bool:
        """Whether the probability of detection reaches a quantile within a time: `reached_s` without its root."""
        share = (elapsed_s - quantile * self.hop_s) / self.length_s
        return share > 0.0 and self.probability(min(1.0, share)) >= quantile

    def reached_s(self, quantile: float) -> float:
        """Return the time at which the probability of detection reaches a quantile; infinite if it never does."""
        share = share_at(self.probability, quantile)
        return share * self.length_s + quantile * self.hop_s


def share_at(probability: Callable[[float], float], quantile: float) -> float:
    """Return the least share f in [0, 1] with P(f) at least a quantile; infinite if P(1) is below it.

    Raises:
        ValueError: if the quantile does not lie between 0 and 1.
    """
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"a quantile lies between 0 and 1, not at {quantile}")
    if probability(1.0) < quantile:
        return math.inf
    if probability(0.0) >= quantile:
        return 0.0
    # Imported on use: it takes a third of a second, and most commands judge nothing.
    from scipy.optimize import brentq

    return float(brentq(lambda share: probability(share) - quantile, 0.0, 1.0, xtol=1e-13, rtol=1e-14))
