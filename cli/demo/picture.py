"""The demo's verdicts as a picture (SVG): every field's weeks by level, and one field's PSI with its interval.

A level is told by height and colour, never by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape

LEVELS = {
    "insufficient": ("#c8ced6", 0.16),
    "stable": ("#2e9e5b", 0.42),
    "minor": ("#e0a500", 0.7),
    "major": ("#d43f3a", 1.0),
}
"""Per level its colour and its height as a share of the row."""
LEFT, CELL, ROW, TOP, CURVE = 120, 5, 17, 74, 150
RIGHT = 24


@dataclass(frozen=True, slots=True)
class PsiPoint:
    """One verdict of the curve."""

    day: date
    psi: float
    low: float
    high: float


def draw(
    weeks: Mapping[str, Sequence[tuple[date, str]]],
    critical: frozenset[str],
    curve_field: str,
    curve: Sequence[PsiPoint],
    line_major: float,
    accepted: date | None = None,
) -> str:
    """Draw the picture.

    Args:
        weeks: per field (day at which a week window ends, level), not empty.
        critical: fields that page, marked with a star.
        curve_field: whose PSI is drawn below.
        curve: its verdicts, ascending by day.
        line_major: where `major` begins.
        accepted: the day from which a later baseline holds; None where there is none.

    Raises:
        ValueError: there are no verdicts to draw.
    """
    days = [day for rows in weeks.values() for day, _ in rows]
    if not days:
        raise ValueError("there are no verdicts to draw")
    first, last = min(days), max(days)
    fields = sorted(weeks, key=lambda name: (_first_major(weeks[name]) or last + timedelta(days=1), name))
    bottom = TOP + len(fields) * ROW
    width = LEFT + ((last - first).days + 1) * CELL + RIGHT
    height = bottom + 64 + CURVE + 30
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}'>",
        f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
        _text(12, 22, "Every week against June and July, by field", size=15, weight="600"),
        *_legend(12, 42),
        *_months(first, last, TOP - 6),
        *_acceptance(first, accepted, bottom),
    ]
    for i, name in enumerate(fields):
        y = TOP + i * ROW
        parts.append(_text(LEFT - 8, y + 13, f"{name}{' *' if name in critical else ''}", anchor="end"))
        for day, level in weeks[name]:
            colour, share = LEVELS[level]
            tall = share * (ROW - 3)
            x = LEFT + (day - first).days * CELL
            parts.append(
                f"<rect x='{x}' y='{y + ROW - 2 - tall:.1f}' width='{CELL - 1}' height='{tall:.1f}' fill='{colour}'/>"
            )
    parts += _curve(curve_field, curve, line_major, first, width, bottom + 56)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _curve(field: str, curve: Sequence[PsiPoint], line_major: float, first: date, width: int, top: int) -> list[str]:
    highest = max([point.high for point in curve] + [line_major * 2])

    def x(point: PsiPoint) -> float:
        return LEFT + (point.day - first).days * CELL + CELL / 2

    def y(value: float) -> float:
        # A square-root scale shows the line of 0.2 beside values of 6.
        return top + CURVE * (1 - math.sqrt(max(value, 0.0) / highest))

    band = [f"{x(p):.1f},{y(p.high):.1f}" for p in curve] + [f"{x(p):.1f},{y(p.low):.1f}" for p in reversed(curve)]
    line = [f"{x(p):.1f},{y(p.psi):.1f}" for p in curve]
    at = y(line_major)
    ticks = [value for value in (0.0, line_major, 1.0, 2.0, 4.0, 8.0) if value <= highest]
    return [
        _text(12, top - 14, f"PSI of {field}, with its 95 % interval (square-root scale)", size=13, weight="600"),
        f"<polygon points='{' '.join(band)}' fill='#4c78a8' fill-opacity='0.25'/>",
        f"<polyline points='{' '.join(line)}' fill='none' stroke='#2f5d8c' stroke-width='1.8'/>",
        f"<line x1='{LEFT}' x2='{width - RIGHT}' y1='{at:.1f}' y2='{at:.1f}' stroke='{LEVELS['major'][0]}' "
        "stroke-dasharray='5 3'/>",
        *[_text(LEFT - 8, y(value) + 4, f"{value:g}", anchor="end") for value in ticks],
        _text(width - RIGHT, at - 4, f"major from {line_major:g} on", anchor="end", fill=LEVELS["major"][0]),
    ]


def _legend(x: int, y: int) -> list[str]:
    parts = []
    for level, (colour, share) in LEVELS.items():
        tall = share * (ROW - 3)
        parts.append(f"<rect x='{x}' y='{y + 3 - tall:.1f}' width='10' height='{tall:.1f}' fill='{colour}'/>")
        parts.append(_text(x + 15, y + 3, level))
        x += 34 + 7 * len(level)
    return [*parts, _text(x, y + 3, "* critical: pages")]


def _months(first: date, last: date, y: int) -> list[str]:
    parts = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        if day.day == 1 or offset == 0:
            parts.append(_text(LEFT + offset * CELL, y, day.strftime("%b") if day.day == 1 else ""))
    return parts


def _acceptance(first: date, accepted: date | None, bottom: int) -> list[str]:
    if accepted is None:
        return []
    x = LEFT + (accepted - first).days * CELL
    return [
        f"<line x1='{x}' x2='{x}' y1='{TOP - 20}' y2='{bottom}' stroke='#2f5d8c' stroke-width='1.5'/>",
        _text(x + 4, TOP - 22, "autumn accepted", fill="#2f5d8c"),
    ]


def _first_major(rows: Sequence[tuple[date, str]]) -> date | None:
    return min((day for day, level in rows if level == "major"), default=None)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "400", fill: str = "#222"
) -> str:
    return (
        f"<text x='{x:.0f}' y='{y:.0f}' text-anchor='{anchor}' font-family='system-ui, sans-serif' font-size='{size}' "
        f"font-weight='{weight}' fill='{fill}'>{escape(text)}</text>"
    )
