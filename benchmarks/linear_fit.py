"""Straight lines through measured points: cost = fixed + slope · factor, and how well they hold.

Ordinary least squares, every point of equal weight. What a line does not tell is told beside it: the residual of each
point, R², and the interval of the slope (Student's t, 95 %), so that a reader sees where growth is not linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
BEND = 0.1
"""A point further from the line than this share of the greatest measured value makes it no line."""
FLAT = 0.1
"""What changes by less than this share of its mean over the whole range of the factor does not grow."""
SCATTER = 0.35
"""Costs that differ by less than this share of the greatest, and not with the factor, scatter around a constant."""


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line."""

    fixed: float
    """Cost where the factor is 0, in the cost's unit; an extrapolation, negative where growth bends."""
    slope: float
    """Cost of one more of the factor."""
    r2: float
    """Share of the variance that the line explains, at most 1; 1 where nothing varies."""
    residuals: tuple[float, ...]
    """Measured − fitted, one per point, in the cost's unit."""
    slope_low: float
    slope_high: float
    """Interval of the slope at `CONFIDENCE`; infinite with fewer than three points."""

    def at(self, factor: float) -> float:
        """The fitted cost."""
        return self.fixed + self.slope * factor


def fit_line(factors: Sequence[float], costs: Sequence[float]) -> Line:
    """Fit by least squares.

    Args:
        factors: shape (n,), at least two different ones.
        costs: shape (n,).

    Raises:
        ValueError: fewer than two different factors, another number of costs, or a value that is not finite.
    """
    x, y = np.asarray(factors, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"{x.shape} factors do not go with {y.shape} costs")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a line is fitted through finite values only")
    if len(np.unique(x)) < 2:
        raise ValueError("a line needs two different factors")
    # Around the means: sums of squares of factors far from 0 would lose digits.
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
    """The largest distance of a point from the line, as a share of the greatest cost; 0 where all costs are 0."""
    greatest = max(abs(cost) for cost in costs)
    return max(abs(each) for each in line.residuals) / greatest if greatest else 0.0


def shape_of(line: Line, factors: Sequence[float], costs: Sequence[float]) -> str:
    """Say in a word how a cost grows: `flat`, `falls`, `linear` or `not linear`.

    Flat is what changes over the range of the factor by less than `FLAT` of its mean, or scatters by less than
    `SCATTER` with a slope that cannot be told from 0; what falls has a slope below 0; not linear is what has a point
    further than `BEND` off the line.
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
    """The power by which a cost grows between the two greatest factors: 1 in proportion, 2 by the square, 0 not at all.

    Args:
        factors: shape (n,), ascending and above 0.
        costs: shape (n,), above 0.
    """
    (x0, x1), (y0, y1) = factors[-2:], costs[-2:]
    return float(np.log(y1 / y0) / np.log(x1 / x0))
