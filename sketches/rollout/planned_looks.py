"""Bounds of a few looks that are declared before the data: Lan–DeMets spending of O'Brien–Fleming type.

At the share t of the planned data, each side has spent f(t) = 2(1 − Φ(z/√t)) of the error rate, z the upper α/4 point
of the normal distribution. Bounds follow by recursive integration of the density of the process within earlier bounds.

Source: Lan and DeMets (1983), Biometrika 70, 659–663; Armitage, McPherson and Rowe (1969), JRSS A 132, 235–244.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

FloatArray = NDArray[np.float64]

MOST_LOOKS = 5
_NODES = 128
"""Gauss–Legendre nodes per look; the error of a bound is under 10⁻¹¹ for equal steps."""


def look_bounds(shares: ArrayLike, alpha: float = 0.05) -> FloatArray:
    """Return the bounds of |z| at each look.

    Args:
        shares: shares of the planned data at the looks, ascending, in (0, 1]; at most five.
        alpha: probability that a look is beyond its bound, both sides together.

    Raises:
        ValueError: shares do not ascend or are not in (0, 1], there are more than five, or α is not between 0 and 1.
    """
    # Imported on use: it takes a third of a second, and most commands judge no looks.
    from scipy.optimize import brentq

    times = np.asarray(shares, np.float64)
    if not (times.ndim == 1 and 1 <= times.size <= MOST_LOOKS):
        raise ValueError(f"between 1 and {MOST_LOOKS} looks can be declared, not {times.size}")
    if not (times[0] > 0.0 and times[-1] <= 1.0 and np.all(np.diff(times) > 0.0)):
        raise ValueError(f"shares of looks must ascend within (0, 1], not {times.tolist()}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"α must lie between 0 and 1, not at {alpha}")
    spent = 2.0 * ndtr(ndtri(alpha / 4.0) / np.sqrt(times))
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    bounds: list[float] = []
    # The process S has variance t; these are its values, and their density times the weight, within all earlier bounds.
    values, mass = np.zeros(1), np.ones(1)
    previous, spent_before = 0.0, 0.0
    for time, total in zip(times.tolist(), spent.tolist(), strict=True):
        sd = np.sqrt(time - previous)

        def excess(bound: float, allowed: float = total - spent_before, sd: float = sd) -> float:
            return float(np.sum(mass * ndtr((values - bound) / sd))) - allowed  # noqa: B023

        limit = float(brentq(excess, 0.0, 40.0, xtol=1e-13, rtol=1e-14))
        bounds.append(limit / np.sqrt(time))
        fresh = limit * nodes
        density = np.exp(-0.5 * ((fresh[:, None] - values) / sd) ** 2) / (sd * np.sqrt(2.0 * np.pi))
        mass = limit * weights * (density @ mass)
        values, previous, spent_before = fresh, time, total
    return np.array(bounds)
