"""Probability that the rate of a window exceeds its thresholds, by the share of the window that a change fills.

If a rate rises from r₀ to r₁, and the events after the change are the share f of a window of n events, then

    P(f) = P[Bin(n′, r₀ + f(r₁ − r₀)) ≥ k*],  n′ = n/φ,

where k* is the least count that the rule calls too large. φ divides the events, as in `sketches.drift.rates`. A search
for k* takes milliseconds, and a map of what is detected asks for the same one many times, so results are kept.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.special import bdtrc

from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.drift.fisher import fisher_p
from barograph_server.sketches.drift.rates import newcombe, rate_verdicts


@lru_cache(maxsize=4096)
def least_major_count(
    n_eff: int, base_k: float, base_n: float, minor: float, major: float, training_delta: float = 0.0
) -> int | None:
    """Return the least count of n′ events that `rate_verdicts` calls `major`; None if no count is.

    Args:
        n_eff: n′, the window's events divided by φ.
        minor: threshold of `minor`, a change as a share.
        major: threshold of `major`.
        training_delta: change that windows of training repeatedly had.
    """

    def is_major(k: int) -> bool:
        verdict = rate_verdicts(k, n_eff, base_k, base_n, training_delta=training_delta, thresholds=(minor, major))
        return bool(verdict.level == Level.major)

    return _least(n_eff, is_major)


@lru_cache(maxsize=4096)
def least_paging_count(
    n_eff: int, base_k: float, base_n: float, threshold: float, most_p: float, base_phi: float = 1.0
) -> int | None:
    """Return the least count of n′ events with which a rule on the rate pages; None if no count pages.

    A rule pages if the whole 95 % interval of the increase lies above its threshold, and p is small enough.

    Args:
        n_eff: n′, the window's events divided by φ.
        threshold: of the rule, a change as a share.
        most_p: p that the verdict's is below.
        base_phi: overdispersion of the training rows that count.
    """
    base = base_k / base_phi, base_n / base_phi
    rounded = np.rint(base)

    def pages(k: int) -> bool:
        low = newcombe(k, n_eff, *base)[1]
        return bool(low > threshold and fisher_p(k, n_eff, *rounded) < most_p)

    return _least(n_eff, pages)


def count_exceedance(least: int | None, n_eff: int, rate: float) -> float:
    """Return the probability that at least `least` of n′ events count; 0 for None."""
    if least is None:
        return 0.0
    return 1.0 if least <= 0 else float(bdtrc(least - 1, n_eff, min(1.0, max(0.0, rate))))


def _least(n: int, exceeds: Callable[[int], bool]) -> int | None:
    """Return the least k of 0 … n for which a condition holds that holds for all larger ones."""
    if not exceeds(n):
        return None
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if exceeds(middle) else (middle, high)
    return high
