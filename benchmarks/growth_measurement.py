"""What growth found: a cost at several values of one factor, all else held, with the line through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from statistics import median
from typing import Any

import msgspec

from benchmarks.linear_fit import Line, exponent, fit_line, shape_of, worst_residual

_line = lru_cache(fit_line)


@dataclass(frozen=True, slots=True)
class Curve:
    """One cost against one factor."""

    key: str
    """By which computations find it: `stage by factor`."""
    stage: str
    cost: str
    """What is counted, without the unit."""
    unit: str
    factor: str
    constants: str
    """What did not change meanwhile."""
    factors: tuple[float, ...]
    """Ascending."""
    costs: tuple[float, ...]

    @property
    def line(self) -> Line:
        """The line through the points."""
        return _line(self.factors, self.costs)

    @property
    def shape(self) -> str:
        """How it grows, in a word."""
        return shape_of(self.line, self.factors, self.costs)

    def parameters(self) -> str:
        """Say how far the points are off the line, and how it bends where it does."""
        message = (
            f"{self.shape}; off the line by at most {100 * worst_residual(self.line, self.costs):.0f} % of the greatest"
        )
        if self.shape == "not linear" and min(*self.factors[-2:], *self.costs[-2:]) > 0:
            message += f"; at the end it grows as the factor to the power {exponent(self.factors, self.costs):.2f}"
        return message


@dataclass
class Growth:
    """All curves of a run, and single costs that computations need beside them."""

    curves: list[Curve] = field(default_factory=list)
    units: dict[str, float] = field(default_factory=dict)
    """Single costs by name; the unit ends the name."""

    def add(self, curve: Curve) -> None:
        """Keep a curve and print it, so that a long run can be followed."""
        self.curves.append(curve)
        line = curve.line
        points = ", ".join(f"{x:g}: {y:.4g}" for x, y in zip(curve.factors, curve.costs, strict=True))
        print(
            f"  growth: {curve.key}: {line.fixed:.4g} + {line.slope:.4g} × {curve.factor} {curve.unit}, "
            f"R² {line.r2:.4f}; {curve.parameters()} ({points})",
            flush=True,
        )

    def unit(self, name: str, value: float) -> None:
        """Keep a single cost and print it."""
        self.units[name] = float(value)
        print(f"  growth: {name}: {value:.5g}", flush=True)

    def curve(self, key: str) -> Curve:
        """Find a curve. Raises KeyError where it was not measured."""
        for curve in self.curves:
            if curve.key == key:
                return curve
        raise KeyError(key)

    def as_json(self) -> dict[str, Any]:
        """Write it as JSON's types, the lines too for whoever reads the file."""
        curves = [{**asdict(curve), "line": asdict(curve.line), "shape": curve.shape} for curve in self.curves]
        return {"curves": curves, "units": self.units}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Growth:
        """Read what `as_json` wrote; lines are fitted again."""
        names = {each.name for each in fields(Curve)}
        curves = [msgspec.convert({k: v for k, v in each.items() if k in names}, Curve) for each in data["curves"]]
        return cls(curves, dict(data["units"]))


def cpu_in_turns(works: Sequence[Callable[[], Any]], runs: int = 5) -> list[float]:
    """CPU time of this process for each piece of work (s), the medians of several runs.

    All are run once, then all again: what slows the machine for a while slows each of them, and bends no line.
    """
    result: list[list[float]] = [[] for _ in works]
    for _ in range(runs):
        for work, spent in zip(works, result, strict=True):
            began = time.process_time()
            work()
            spent.append(time.process_time() - began)
    return [median(spent) for spent in result]
