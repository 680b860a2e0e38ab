"""Bands of a quantile function that hold at every number of events, for display beside a comparison.

With t = n/φ independent events, the true p-quantile lies between the sketch's values at the ranks p ± (f + ε), where ε
is the rank error of the sketch and

    f = 1.5 √(p(1 − p)ℓ) + 0.8 ℓ,   ℓ = (1.4 ln ln(2.1 t) + ln(10/α))/t

and the whole curve lies within ranks ± (0.85 √((ln ln(e t) + 0.8 ln(1612/α))/t) + ε).

They rest on independent events, so no decision uses them.

Source: Howard and Ramdas (2022), Bernoulli 28, 1704–1728, arXiv 1906.09712.
"""

from __future__ import annotations

import math

import numpy as np

from barograph_server.sketches.sketch.numeric import NumericSketch

LEAST_EVENTS = 2.0
"""With fewer independent events a band is all ranks."""


def rank_radius(events: float, rank: float, alpha: float = 0.05) -> float:
    """Return f of one quantile; 1 with less than two independent events."""
    if events < LEAST_EVENTS:
        return 1.0
    log_term = (1.4 * math.log(math.log(2.1 * events)) + math.log(10.0 / alpha)) / events
    return min(1.0, 1.5 * math.sqrt(rank * (1.0 - rank) * log_term) + 0.8 * log_term)


def curve_radius(events: float, alpha: float = 0.05) -> float:
    """Return the radius of the whole curve, in ranks; 1 with less than two independent events."""
    if events < LEAST_EVENTS:
        return 1.0
    return min(1.0, 0.85 * math.sqrt((math.log(math.log(math.e * events)) + 0.8 * math.log(1612.0 / alpha)) / events))


def quantile_band(sketch: NumericSketch, rank: float, *, phi: float = 1.0, alpha: float = 0.05) -> tuple[float, float]:
    """Return the ends of the band of one quantile; infinite where the ranks end.

    Args:
        sketch: of all values so far.
        rank: strictly between 0 and 1.
        phi: overdispersion, at least 1.
        alpha: probability that the true quantile is ever outside.

    Raises:
        ValueError: the rank is not between 0 and 1, or φ is under 1.
    """
    if not 0.0 < rank < 1.0:
        raise ValueError(f"ranks of quantiles lie between 0 and 1, not at {rank}")
    if not phi >= 1.0:
        raise ValueError("φ, the overdispersion, must be at least 1")
    if sketch.is_empty:
        return -math.inf, math.inf
    reach = rank_radius(sketch.n / phi, rank, alpha) + sketch.rank_error_at(rank)
    low, high = rank - reach, rank + reach
    ends = sketch.quantiles(np.clip([low, high], 0.0, 1.0))
    return float(ends[0]) if low > 0.0 else -math.inf, float(ends[1]) if high < 1.0 else math.inf
