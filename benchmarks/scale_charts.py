"""The charts of docs/scale.md: growth with fitted lines, and the soak test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.charts import Chart, Series, draw
from benchmarks.growth_measurement import Curve, Growth
from benchmarks.linear_fit import Line

WIDE = 90.0
"""The factor axis is logarithmic if the ratio of the largest to the smallest factor is at least this."""
TALL = 5.0
"""The cost axis is logarithmic too if the ratio of the largest to the smallest cost is at least this."""
POINTS = 40
"""Points of a fitted line, which is curved on a logarithmic axis."""
SOAK_POINTS = 240


def groups(growth: Growth) -> dict[str, list[Curve]]:
    """Curves that share a chart because they have the same stage, factor and unit, by file name without suffix."""
    result: dict[str, list[Curve]] = {}
    for curve in growth.curves:
        result.setdefault(_slug(f"growth {curve.stage} {curve.factor} {curve.unit}"), []).append(curve)
    return result


def chart_names(growth: Growth) -> dict[str, str]:
    """File name → title of the charts of growth."""
    return {f"{name}.svg": _title(curves) for name, curves in groups(growth).items()}


def draw_growth(growth: Growth, folder: Path) -> None:
    """Draw every curve with its line.

    Raises:
        ImportError: the dependency group `bench` is not installed.
    """
    for name, curves in groups(growth).items():
        series = []
        log_x = all(curve.factors[0] > 0 and curve.factors[-1] / curve.factors[0] >= WIDE for curve in curves)
        log_y = log_x and all(min(curve.costs) * TALL <= max(curve.costs) for curve in curves)
        # A line may be negative at its start, which a logarithmic axis cannot show.
        least = min(min(curve.costs) for curve in curves) / 2 if log_y else 0.0
        for curve in curves:
            called = _short_cost(curve.cost) if len(curves) > 1 else "measured"
            series.append(Series(called, curve.factors, curve.costs))
        for curve in curves:
            x = _between(curve.factors[0], curve.factors[-1], log=log_x)
            line = curve.line
            series.append(Series(_formula(line), x, [max(least, line.at(each)) for each in x], dashed=True))
        x_label = curves[0].factor.replace("`", "")
        y_label = curves[0].unit
        draw(Chart(_title(curves), x_label, y_label, tuple(series), log_x=log_x, log_y=log_y), folder / f"{name}.svg")


def draw_soak(data: dict[str, Any], folder: Path) -> None:
    """Draw memory, open files and latency by panes; `data` is the result of `SoakResult.as_json`."""
    panes = data["panes"]
    for name, title, label, values in (
        ("soak-memory", "Resident memory over a day of panes", "MiB", data["rss_mib"]),
        ("soak-files", "Open files over a day of panes", "files", data["files"]),
        ("soak-latency", "From the last event of four panes to their verdicts", "s", {"latency": data["latency_s"]}),
    ):
        series = [Series(of, *_thinned(panes, result)) for of, result in values.items()]
        draw(Chart(title, "panes", label, tuple(series)), folder / f"{name}.svg")


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    step = -(-len(x) // SOAK_POINTS)
    return list(x[::step]), list(y[::step])


def _between(first: float, last: float, *, log: bool) -> list[float]:
    if log:
        return [first * (last / first) ** (i / (POINTS - 1)) for i in range(POINTS)]
    return [first + (last - first) * i / (POINTS - 1) for i in range(POINTS)]


def _formula(line: Line) -> str:
    return f"{line.fixed:.3g} {'−' if line.slope < 0 else '+'} {abs(line.slope):.3g} x"


def _title(curves: Sequence[Curve]) -> str:
    stage = curves[0].stage[0].upper() + curves[0].stage[1:]
    cost = _short_cost(curves[0].cost) if len(curves) == 1 else "cost"
    return f"{stage}: {cost} by {curves[0].factor.replace('`', '')}"


def _short_cost(cost: str) -> str:
    return cost.removeprefix("CPU of the engine for ").removeprefix("CPU of ").removeprefix("query time: ")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("%", "percent").replace("µ", "u")).strip("-")
