"""Straight lines through measured points: cost = fixed + slope · factor, and their goodness of fit.

Ordinary least squares, every point with equal weight. The residual of each point, R² and the interval of the slope
(Student's t, 95 %) show where growth is not linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
BEND = 0.1
"""Growth is not linear if a residual exceeds this share of the maximum cost."""
FLAT = 0.1
"""A cost is flat if it changes by at most this share of its mean over the range of the factor."""
SCATTER = 0.35
"""A cost is also flat if its range is at most this share of its maximum and the slope may be 0."""


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line."""

    fixed: float
    """Cost at factor 0, in the unit of the cost; an extrapolation, which may be negative."""
    slope: float
    """Cost per unit of the factor."""
    r2: float
    """Share of the variance that the line explains, at most 1; 1 if the costs are constant."""
    residuals: tuple[float, ...]
    """Measured − fitted, one per point, in the cost's unit."""
    slope_low: float
    slope_high: float
    """Interval of the slope at `CONFIDENCE`; infinite with fewer than three points."""

    def at(self, factor: float) -> float:
        """The fitted cost."""
        return self.fixed + self.slope * factor


def fit_line(factors: Sequence[float], costs: Sequence[float]) -> Line:
    """Fit a line by least squares.

    Args:
        factors: shape (n,), at least two different values.
        costs: shape (n,).

    Raises:
        ValueError: fewer than two different factors, a different number of costs, or a value that is not finite.
    """
    x, y = np.asarray(factors, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"the shapes of factors {x.shape} and costs {y.shape} differ")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a line needs finite factors and costs")
    if len(np.unique(x)) < 2:
        raise ValueError("a line needs two different factors")
    # Centered, because sums of squares of factors far from 0 lose precision.
    dx, dy = x - x.mean(), y - y.mean()
    spread = float(dx @ dx)
    slope = float(dx @ dy) / spread
    fixed = float(y.mean() - slope * x.mean())
    residuals = dy - slope * dx
    total, left = float(dy @ dy), float(residuals @ residuals)
    reach = np.inf
    if len(x) > 2:
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 2)) * np.sqrt(left / (len(x) - 2) / spread)
    r2 = 1.0 if total == 0 else 1 - left / total
    return Line(fixed, slope, r2, tuple(residuals.tolist()), float(slope - reach), float(slope + reach))


def worst_residual(line: Line, costs: Sequence[float]) -> float:
    """The largest residual as a share of the maximum cost; 0 if all costs are 0."""
    greatest = max(abs(cost) for cost in costs)
    return max(abs(each) for each in line.residuals) / greatest if greatest else 0.0


def shape_of(line: Line, factors: Sequence[float], costs: Sequence[float]) -> str:
    """Classify the growth of a cost: `flat`, `falls`, `linear` or `not linear`.

    A cost is flat if it changes by at most `FLAT` of its mean over the range of the factor, or by at most `SCATTER` of
    its maximum while the interval of the slope contains 0. It falls if the interval is below 0. It is not linear if a
    residual exceeds `BEND`.
    """
    mean = sum(costs) / len(costs)
    change = abs(line.slope) * (max(factors) - min(factors))
    scatters = line.slope_low <= 0 <= line.slope_high and max(costs) - min(costs) <= SCATTER * max(costs)
    if scatters or (change <= FLAT * abs(mean) and worst_residual(line, costs) <= BEND):
        return "flat"
    if line.slope_high < 0:
        return "falls"
    return "not linear" if worst_residual(line, costs) > BEND else "linear"


def exponent(factors: Sequence[float], costs: Sequence[float]) -> float:
    """The power of the factor by which a cost grows between the two largest factors: 1 if proportional, 0 if constant.

    Args:
        factors: shape (n,), ascending and above 0.
        costs: shape (n,), above 0.
    """
    (x0, x1), (y0, y1) = factors[-2:], costs[-2:]
    return float(np.log(y1 / y0) / np.log(x1 / x0))
