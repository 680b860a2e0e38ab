"""Results of the growth measurements: costs at several values of one factor, with fitted lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import median
from typing import Any

from benchmarks.linear_fit import Line, exponent, fit_line, shape_of, worst_residual

_line = lru_cache(fit_line)


@dataclass(frozen=True, slots=True)
class Curve:
    """One cost against one factor."""

    key: str
    """Key by which `benchmarks.sizing` finds the curve: `stage by factor`."""
    stage: str
    cost: str
    """Name of the cost, without the unit."""
    unit: str
    factor: str
    constants: str
    """Description of everything that stays constant."""
    factors: tuple[float, ...]
    """Values of the factor, ascending."""
    costs: tuple[float, ...]

    @property
    def line(self) -> Line:
        """The line through the points."""
        return _line(self.factors, self.costs)

    @property
    def shape(self) -> str:
        """The kind of growth; see `shape_of`."""
        return shape_of(self.line, self.factors, self.costs)

    def describe_fit(self) -> str:
        """Describe the largest residual, and the exponent where growth is not linear."""
        message = (
            f"{self.shape}; the largest residual is {100 * worst_residual(self.line, self.costs):.0f} % of the maximum"
        )
        if self.shape == "not linear" and min(*self.factors[-2:], *self.costs[-2:]) > 0:
            message += (
                f"; at the end, the cost grows as the factor to the power {exponent(self.factors, self.costs):.2f}"
            )
        return message


@dataclass
class Growth:
    """All curves and unit costs of a run."""

    curves: list[Curve] = field(default_factory=list)
    units: dict[str, float] = field(default_factory=dict)
    """Unit costs by name; the name ends with the unit."""

    def add(
        self,
        stage: str,
        name: str,
        cost: str,
        unit: str,
        factor: str,
        constants: str,
        factors: Sequence[float],
        costs: Sequence[float],
    ) -> None:
        """Add a curve and print it, so that the progress of a long run is visible.

        Its key is `STAGE NAME` if the name says by what the cost grows, otherwise `STAGE by NAME`. The other arguments
        are the members of `Curve`; the factors may be in any order.
        """
        key = f"{stage} {name}" if " by " in name else f"{stage} by {name}"
        points = sorted(zip(map(float, factors), costs, strict=True))
        curve = Curve(
            key, stage, cost, unit, factor, constants, tuple(x for x, _ in points), tuple(y for _, y in points)
        )
        self.curves.append(curve)
        line = curve.line
        shown = ", ".join(f"{x:g}: {y:.4g}" for x, y in points)
        print(
            f"  growth: {curve.key}: {line.fixed:.4g} + {line.slope:.4g} × {curve.factor} {curve.unit}, "
            f"R² {line.r2:.4f}; {curve.describe_fit()} ({shown})",
            flush=True,
        )

    def unit(self, name: str, value: float) -> None:
        """Add a unit cost and print it."""
        self.units[name] = float(value)
        print(f"  growth: {name}: {value:.5g}", flush=True)

    def curve(self, key: str) -> Curve:
        """Find a curve. Raises KeyError if it was not measured."""
        for curve in self.curves:
            if curve.key == key:
                return curve
        raise KeyError(key)


def cpu_in_turns(works: Sequence[Callable[[], Any]], runs: int = 5) -> list[float]:
    """CPU time of this process for each piece of work (s), the median of several runs.

    The works alternate, so that a temporary slowdown of the machine affects all of them alike.
    """
    result: list[list[float]] = [[] for _ in works]
    for _ in range(runs):
        for work, spent in zip(works, result, strict=True):
            began = time.process_time()
            work()
            spent.append(time.process_time() - began)
    return [median(spent) for spent in result]
