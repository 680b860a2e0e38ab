"""The four signals as a picture (SVG): flights a day, every field's weeks by level, PSI, scores, and AUC by week.

Height and color show a level, never color alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
LEFT, RIGHT, TOP, CELL, ROW = 120, 24, 84, 5, 17
VOLUME, CURVE, SCORES, QUALITY, GAP = 44, 120, 90, 90, 62
"""Heights of the panels below one another, and what is between them."""
BLUE, ORANGE, RED = "#2f5d8c", "#c46a1b", LEVELS["major"][0]


@dataclass(frozen=True, slots=True)
class Point:
    """One value with its 95 % interval."""

    day: date
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PictureData:
    """What is drawn."""

    volume: Sequence[tuple[date, int]]
    """Predictions of each day, ascending."""
    weeks: Mapping[str, Sequence[tuple[date, str]]]
    """Per field (day at which a week window ends, level), not empty."""
    critical: frozenset[str]
    """Fields that page, marked with a star."""
    field: str
    """Whose PSI is drawn,"""
    psi: Sequence[Point]
    """… ascending by day."""
    threshold_major: float
    """Where `major` begins."""
    scores: Sequence[tuple[date, float, float]]
    """(day at which a week ends, mean score, observed rate), ascending."""
    auc: Sequence[Point]
    """Of each matured week, by the day at which it ends, ascending."""
    reference: float
    """The AUC that they are compared with."""
    accepted: date | None = None
    """The day from which a later baseline holds; None where there is none."""


def draw(drawn: PictureData) -> str:
    """Draw the picture.

    Raises:
        ValueError: there are no verdicts to draw.
    """
    days = [day for rows in drawn.weeks.values() for day, _ in rows]
    if not days:
        raise ValueError("there are no verdicts to draw")
    first, last = min(days), max(days)
    scale = _Scale(first, LEFT + ((last - first).days + 1) * CELL + RIGHT)
    fields = TOP + VOLUME + GAP
    psi = fields + len(drawn.weeks) * ROW + GAP
    scores = psi + CURVE + GAP
    quality = scores + SCORES + GAP
    height = quality + QUALITY + 24
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {scale.width} {height}' width='{scale.width}' "
        f"height='{height}'>",
        f"<rect width='{scale.width}' height='{height}' fill='#ffffff'/>",
        _text(12, 24, "Flights out of New York, August to December: four signals", size=16, weight="600"),
        *_months(first, last, 50),
        *_volume(scale, drawn.volume, TOP),
        *_fields(scale, drawn, last, fields),
        *_psi(scale, drawn, psi),
        *_scores(scale, drawn.scores, scores),
        *_quality(scale, drawn, quality),
        *_acceptance(scale, drawn.accepted, height - 18),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Days to the right."""

    first: date
    width: int

    def x(self, day: date) -> float:
        """The middle of a day."""
        return LEFT + (day - self.first).days * CELL + CELL / 2

    def holds(self, day: date) -> bool:
        """Whether a day has a place."""
        return day >= self.first and self.x(day) <= self.width - RIGHT


def _volume(scale: _Scale, days: Sequence[tuple[date, int]], top: int) -> list[str]:
    most = max((n for _, n in days), default=0) or 1
    parts = [_title("Volume: flights a day", top), _text(LEFT - 8, top + 10, f"{most:,}", anchor="end")]
    for day, n in days:
        tall = n / most * VOLUME
        if scale.holds(day):
            parts.append(
                f"<rect x='{scale.x(day) - CELL / 2:.1f}' y='{top + VOLUME - tall:.1f}' width='{CELL - 1}' "
                f"height='{tall:.1f}' fill='#8aa4bf'/>"
            )
    return parts


def _fields(scale: _Scale, drawn: PictureData, last: date, top: int) -> list[str]:
    names = sorted(drawn.weeks, key=lambda name: (_first_major(drawn.weeks[name]) or last + timedelta(days=1), name))
    parts = [_title("Inputs and outputs: every week against its baseline, by field", top - 22), *_legend(12, top - 14)]
    for i, name in enumerate(names):
        y = top + i * ROW
        parts.append(_text(LEFT - 8, y + 13, f"{name}{' *' if name in drawn.critical else ''}", anchor="end"))
        for day, level in drawn.weeks[name]:
            colour, share = LEVELS[level]
            tall = share * (ROW - 3)
            x = scale.x(day) - CELL / 2
            parts.append(
                f"<rect x='{x:.0f}' y='{y + ROW - 2 - tall:.1f}' width='{CELL - 1}' height='{tall:.1f}' "
                f"fill='{colour}'/>"
            )
    return parts


def _psi(scale: _Scale, drawn: PictureData, top: int) -> list[str]:
    # The first windows hold a few hours, and their intervals reach far beyond.
    highest = max([1.5 * point.value for point in drawn.psi] + [drawn.threshold_major * 2])

    def y(value: float) -> float:
        # A square-root scale shows the line of 0.2 beside values of 6.
        return top + CURVE * (1 - math.sqrt(min(max(value, 0.0), highest) / highest))

    ticks = [value for value in (0.0, drawn.threshold_major, 1.0, 2.0, 4.0, 8.0) if value <= highest]
    return [
        _title(f"PSI of {drawn.field}, with its 95 % interval (square-root scale)", top),
        *_band(scale, drawn.psi, y, step_days=1),
        *_line(scale, y(drawn.threshold_major), f"major from {drawn.threshold_major:g} on", RED, top),
        *[_text(LEFT - 8, y(value) + 4, f"{value:g}", anchor="end") for value in ticks],
    ]


def _scores(scale: _Scale, weeks: Sequence[tuple[date, float, float]], top: int) -> list[str]:
    highest = max([max(score, came) for _, score, came in weeks] + [0.1])

    def y(value: float) -> float:
        return top + SCORES * (1 - value / highest)

    parts = [
        _title("Outputs and ground truth: mean score, and the share of flights that came late", top),
        *[_text(LEFT - 8, y(value) + 4, f"{value:.0%}", anchor="end") for value in (0.0, 0.2, 0.4) if value <= highest],
    ]
    series = (
        ("mean score", BLUE, "", [(day, score) for day, score, _ in weeks]),
        ("came late", ORANGE, "5 3", [(day, came) for day, _, came in weeks]),
    )
    for at, (name, colour, dashes, points) in enumerate(series):
        line = " ".join(f"{scale.x(day):.1f},{y(value):.1f}" for day, value in points)
        parts += [
            f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='1.8' stroke-dasharray='{dashes}'/>",
            _text(scale.width - RIGHT - 90 * at, top - 12, name, anchor="end", fill=colour),
        ]
    return parts


def _quality(scale: _Scale, drawn: PictureData, top: int) -> list[str]:
    values = [end for point in drawn.auc for end in (point.low, point.high)] + [drawn.reference]
    low, high = min(values) - 0.02, max(values) + 0.02

    def y(value: float) -> float:
        return top + QUALITY * (high - value) / (high - low)

    ticks = [tenth / 10 for tenth in range(11) if low <= tenth / 10 <= high]
    return [
        _title("Ground truth: AUC of each matured week, with its 95 % interval", top),
        *_band(scale, drawn.auc, y, step_days=7),
        *_line(scale, y(drawn.reference), "first matured week", ORANGE, top),
        *[_text(LEFT - 8, y(value) + 4, f"{value:g}", anchor="end") for value in ticks],
    ]


def _band(scale: _Scale, points: Sequence[Point], y: Callable[[float], float], *, step_days: int) -> list[str]:
    """Values and their intervals; a line is broken where days between are missing."""
    runs: list[list[Point]] = []
    for point in points:
        if not runs or (point.day - runs[-1][-1].day).days > step_days:
            runs.append([])
        runs[-1].append(point)
    parts = []
    for run in runs:
        around = [(point, point.high) for point in run] + [(point, point.low) for point in reversed(run)]
        band = " ".join(f"{scale.x(point.day):.1f},{y(value):.1f}" for point, value in around)
        line = " ".join(f"{scale.x(point.day):.1f},{y(point.value):.1f}" for point in run)
        parts += [
            f"<polygon points='{band}' fill='#4c78a8' fill-opacity='0.25'/>",
            f"<polyline points='{line}' fill='none' stroke='{BLUE}' stroke-width='1.8'/>",
        ]
    return parts


def _line(scale: _Scale, y: float, text: str, colour: str, top: int) -> list[str]:
    """A level across the panel, named beside its title."""
    return [
        f"<line x1='{LEFT}' x2='{scale.width - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='{colour}' "
        "stroke-dasharray='5 3'/>",
        _text(scale.width - RIGHT, top - 12, text, anchor="end", fill=colour),
    ]


def _acceptance(scale: _Scale, accepted: date | None, bottom: int) -> list[str]:
    if accepted is None:
        return []
    x = scale.x(accepted) - CELL / 2
    return [
        f"<line x1='{x:.0f}' x2='{x:.0f}' y1='46' y2='{bottom}' stroke='#555' stroke-dasharray='2 3'/>",
        _text(x, 40, "autumn accepted", anchor="middle", fill="#555"),
    ]


def _title(text: str, top: int) -> str:
    return _text(12, top - 12, text, size=13, weight="600")


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


def _first_major(rows: Sequence[tuple[date, str]]) -> date | None:
    return min((day for day, level in rows if level == "major"), default=None)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "400", fill: str = "#222"
) -> str:
    return (
        f"<text x='{x:.0f}' y='{y:.0f}' text-anchor='{anchor}' font-family='system-ui, sans-serif' font-size='{size}' "
        f"font-weight='{weight}' fill='{fill}'>{escape(text)}</text>"
    )
