"""Charts of the report as inline SVG, without scripts: the strip of levels, PSI over time, a metric over time.

A level has a color and a height, so that it can be read without colors. Each mark has its text as a tooltip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 26
MANY = 60
"""Points from which intervals are drawn as an area, and only changes as marks."""
MAX_POINTS = 240
"""Points of a chart; of more periods each chunk shows its largest value."""
LEVEL_HEIGHTS = {"major": 1.0, "minor": 0.66, "stable": 0.33, "insufficient": 0.12}
_MIN_PSI = 1e-3
_MAX_TICKS = 6


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
    """A horizontal line."""

    label: str
    value: float
    css: str
    dy: int = -4
    """Vertical offset of the label, downward."""


def level_strip(levels: Sequence[tuple[str, str, str]], description: str) -> str:
    """Draw a cell per period, as high as its level; neighbors of one level share a mark if there are many periods.

    Args:
        levels: per period its label, its level (empty without rows) and a tooltip.
    """
    n = len(levels)
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
            height = 20 * LEVEL_HEIGHTS[level]
            gap = 0.08 if n <= MANY else 0.0
            box = (
                f'x="{start + gap:.4g}" y="{20 - height:.4g}" width="{end - start - 2 * gap:.4g}" height="{height:.4g}"'
            )
            marks.append(f'<rect class="l-{level}" {box}><title>{escape(text)}</title></rect>')
        start = end
    return (
        f'<svg class="strip" viewBox="0 0 {max(n, 1)} 20" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(description, quote=True)}">{"".join(marks)}</svg>'
    )


def psi_chart(points: Sequence[ChartPoint], lines: Sequence[ChartLine], title: str) -> str:
    """Draw PSI over time on a logarithmic scale, with intervals and thresholds."""
    values = [value for point in points for value in (point.value, point.high) if math.isfinite(value)]
    top = max([*values, *(line.value * 2 for line in lines), 1.0])
    top = min(top, max(max((point.value for point in points), default=1.0) * 10, 1.0))

    def scale(value: float) -> float:
        share = math.log(max(value, _MIN_PSI) / _MIN_PSI) / math.log(top / _MIN_PSI)
        return min(max(share, 0.0), 1.0)

    ticks = [10.0**power for power in range(-3, 6) if _MIN_PSI <= 10.0**power <= top]
    return _chart(points, lines, title, scale, ticks, "PSI")


def metric_chart(
    points: Sequence[ChartPoint], lines: Sequence[ChartLine], title: str, estimates: Sequence[ChartPoint] = ()
) -> str:
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

    return _chart(points, lines, title, scale, _linear_ticks(low, high), title, estimates)


def _chart(
    points: Sequence[ChartPoint],
    lines: Sequence[ChartLine],
    title: str,
    scale: Callable[[float], float],
    ticks: Sequence[float],
    name: str,
    estimates: Sequence[ChartPoint] = (),
) -> str:
    points, estimates = _thinned(points), _thinned(estimates)
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(i: int) -> float:
        return LEFT + inner_width * (i + 0.5) / max(len(points), 1)

    def y(value: float) -> float:
        return TOP + inner_height * (1 - scale(value))

    def across(value: float) -> str:
        return f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"'

    def text(css: str, left: float, top: float, label: str) -> str:
        return f'<text class="{css}" x="{left}" y="{top:.1f}" text-anchor="end">{escape(label)}</text>'

    parts = [f'<line class="grid" {across(tick)}/>{text("tick", LEFT - 6, y(tick) + 4, f"{tick:g}")}' for tick in ticks]
    parts += [
        f'<line class="{line.css}" {across(line.value)}><title>{escape(line.label)}</title></line>'
        f"{text(f'tick {line.css}-text', WIDTH - RIGHT, y(line.value) + line.dy, line.label)}"
        for line in lines
    ]
    parts += _time_labels(points, x)
    parts.append(_path([(x(i), y(p.value)) for i, p in enumerate(estimates) if math.isfinite(p.value)], "estimate"))
    parts.append(_path([(x(i), y(p.value)) for i, p in enumerate(points) if math.isfinite(p.value)], "series"))
    is_dense = len(points) > MANY
    radius = 2.0 if is_dense else 4.0
    if is_dense:
        parts.insert(0, _band(points, x, y))
    for i, point in enumerate(points):
        if not math.isfinite(point.value) or (is_dense and point.level not in ("minor", "major")):
            continue
        bar = ""
        if math.isfinite(point.low) and not is_dense:
            high = point.high if math.isfinite(point.high) else math.inf
            top = TOP if high == math.inf else y(high)
            bar = f'<line class="error" x1="{x(i):.1f}" x2="{x(i):.1f}" y1="{y(point.low):.1f}" y2="{top:.1f}"/>'
        tooltip = f"{point.label}: {point.value:.4g} [{point.low:.4g}, {point.high:.4g}], {point.level}"
        parts.append(
            f'<g>{bar}<circle class="l-{point.level}" cx="{x(i):.1f}" cy="{y(point.value):.1f}" r="{radius}"/>'
            f"<title>{escape(tooltip)}</title></g>"
        )
    for i, point in enumerate(estimates):
        if math.isfinite(point.value) and not is_dense:
            tooltip = f"{point.label}: estimate {point.value:.4g}"
            if math.isfinite(point.low):
                tooltip += f" [{point.low:.4g}, {point.high:.4g}]"
            parts.append(
                f'<circle class="estimate-mark" cx="{x(i):.1f}" cy="{y(point.value):.1f}" r="{radius - 1}">'
                f"<title>{escape(tooltip)}</title></circle>"
            )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _time_labels(points: Sequence[ChartPoint], x: Callable[[int], float]) -> Iterator[str]:
    n = len(points)
    step = max(1, -(-n // _MAX_TICKS))
    for i in range(0, n, step):
        yield (
            f'<text class="tick" x="{x(i):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(points[i].label)}</text>'
        )


def _band(points: Sequence[ChartPoint], x: Callable[[int], float], y: Callable[[float], float]) -> str:
    """Draw the intervals of many points as one area."""
    known = [i for i, point in enumerate(points) if math.isfinite(point.low) and not math.isnan(point.high)]
    upper = [f"{x(i):.1f},{TOP if points[i].high == math.inf else y(points[i].high):.1f}" for i in known]
    lower = [f"{x(i):.1f},{y(points[i].low):.1f}" for i in reversed(known)]
    return f'<polygon class="band" points="{" ".join([*upper, *lower])}"/>'


def _path(points: Sequence[tuple[float, float]], css: str) -> str:
    if len(points) < 2:
        return ""
    return f'<polyline class="{css}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'


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
