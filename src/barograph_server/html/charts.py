"""Charts as inline SVG, without scripts: levels by period, PSI or a metric over time, bars.

A level has a color and a height, so that it can be read without colors. Each mark has its text as a tooltip.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from barograph_server.html.page import render

WIDTH, HEIGHT = 640, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 26
MANY = 60
"""Points from which intervals are drawn as an area, and only changes as marks."""
MAX_POINTS = 240
"""Points of a chart; of more periods each chunk shows its largest value."""
LEVEL_HEIGHTS = {"major": 1.0, "minor": 0.66, "stable": 0.33, "insufficient": 0.12}
_MIN_PSI = 1e-3
_MAX_TICKS = 6
_BAR, _GAP, _BAR_HEIGHT = 64, 14, 120
"""Width of a bar, distance of two bars and height of the highest bar, in pixels of the drawing."""


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """A value with its interval in one period; NaN if it is unknown."""

    label: str
    value: float
    low: float
    high: float
    level: str


@dataclass(frozen=True, slots=True)
class ChartLine:
    label: str
    value: float
    css: str
    dy: int = -4
    """Vertical offset of the label, downward."""


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    value: int
    tooltip: str

    @property
    def text(self) -> str:
        """The value, as it is written above the bar."""
        return f"{self.value:,}"


def level_strip(levels: Sequence[tuple[str, str, str]], description: str) -> Markup:
    """Draw a cell per period, as high as its level; neighbors of one level share a mark if there are many periods.

    Args:
        levels: per period its label, its level (empty without rows) and a tooltip.
    """
    n = len(levels)
    gap = 0.08 if n <= MANY else 0.0
    marks = []
    start = 0
    while start < n:
        label, level, text = levels[start]
        end = start + 1
        if n > MANY:
            while end < n and levels[end][1] == level:
                end += 1
            if end - start > 1:
                text = f"{label} to {levels[end - 1][0]}: {level or 'no rows'}"
        if level:
            marks.append((level, start + gap, end - start - 2 * gap, 20 * LEVEL_HEIGHTS[level], text))
        start = end
    return render("strip.svg", n=n, marks=marks, description=description)


def bar_chart(bars: Sequence[Bar], description: str) -> Markup:
    """Draw a bar per value, with the value above and the label below."""
    largest = max((bar.value for bar in bars), default=0) or 1
    placed = [
        (_GAP + i * (_BAR + _GAP), 18 + _BAR_HEIGHT * (1 - bar.value / largest), bar) for i, bar in enumerate(bars)
    ]
    width = _GAP + len(bars) * (_BAR + _GAP)
    return render("bars.svg", width=width, height=_BAR_HEIGHT, bar_width=_BAR, bars=placed, description=description)


def psi_chart(points: Sequence[ChartPoint], lines: Sequence[ChartLine], title: str) -> Markup:
    """Draw PSI over time on a logarithmic scale, with intervals and thresholds."""
    values = [value for point in points for value in (point.value, point.high) if math.isfinite(value)]
    top = max([*values, *(line.value * 2 for line in lines), 1.0])
    top = min(top, max(max((point.value for point in points), default=1.0) * 10, 1.0))

    def scale(value: float) -> float:
        share = math.log(max(value, _MIN_PSI) / _MIN_PSI) / math.log(top / _MIN_PSI)
        return min(max(share, 0.0), 1.0)

    ticks = [10.0**power for power in range(-3, 6) if _MIN_PSI <= 10.0**power <= top]
    return _chart(points, lines, title, scale, ticks)


def metric_chart(
    points: Sequence[ChartPoint], lines: Sequence[ChartLine], title: str, estimates: Sequence[ChartPoint] = ()
) -> Markup:
    """Draw a metric over time on a linear scale, with intervals, training's value and estimates without labels."""
    values = [
        value
        for point in (*points, *estimates)
        if point.level != "insufficient"
        for value in (point.value, point.low, point.high)
        if math.isfinite(value)
    ]
    values += [line.value for line in lines]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin

    def scale(value: float) -> float:
        return min(max((value - low) / (high - low), 0.0), 1.0)

    return _chart(points, lines, title, scale, _linear_ticks(low, high), estimates)


def _chart(
    points: Sequence[ChartPoint],
    lines: Sequence[ChartLine],
    title: str,
    scale: Callable[[float], float],
    ticks: Sequence[float],
    estimates: Sequence[ChartPoint] = (),
) -> Markup:
    points, estimates = _thinned(points), _thinned(estimates)
    is_dense = len(points) > MANY

    def x(i: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (i + 0.5) / max(len(points), 1)

    def y(value: float) -> float:
        return TOP if value == math.inf else TOP + (HEIGHT - TOP - BOTTOM) * (1 - scale(value))

    def path(series: Sequence[ChartPoint]) -> list[tuple[float, float]]:
        return [(x(i), y(point.value)) for i, point in enumerate(series) if math.isfinite(point.value)]

    known = [i for i, point in enumerate(points) if math.isfinite(point.low) and not math.isnan(point.high)]
    upper = [(x(i), y(points[i].high)) for i in known]
    lower = [(x(i), y(points[i].low)) for i in reversed(known)]
    return render(
        "chart.svg",
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        title=title,
        is_dense=is_dense,
        radius=2.0 if is_dense else 4.0,
        band=[*upper, *lower],
        ticks=[(y(tick), f"{tick:g}") for tick in ticks],
        lines=[(line, y(line.value)) for line in lines],
        times=[(x(i), points[i].label) for i in range(0, len(points), max(1, -(-len(points) // _MAX_TICKS)))],
        estimates=path(estimates),
        series=path(points),
        marks=[
            (x(i), y(point.value), point, y(point.low), y(point.high) if math.isfinite(point.high) else TOP)
            for i, point in enumerate(points)
            if math.isfinite(point.value) and (not is_dense or point.level in ("minor", "major"))
        ],
        estimate_marks=[
            (x(i), y(point.value), point)
            for i, point in enumerate(estimates)
            if math.isfinite(point.value) and not is_dense
        ],
        isfinite=math.isfinite,
    )


def _thinned(points: Sequence[ChartPoint]) -> Sequence[ChartPoint]:
    size = -(-len(points) // MAX_POINTS)
    if size <= 1:
        return points
    chunks = (points[i : i + size] for i in range(0, len(points), size))
    return [max(chunk, key=lambda point: -math.inf if math.isnan(point.value) else point.value) for chunk in chunks]


def _linear_ticks(low: float, high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    first = math.ceil(low / step)
    return [float(f"{step * i:.6g}") for i in range(first, math.floor(high / step) + 1)]
