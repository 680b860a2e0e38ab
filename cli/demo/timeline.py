"""A chart in text of how each field was judged over time: one line per field, a sign per stretch of windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

SIGNS = {"insufficient": "?", "stable": "·", "minor": "▒", "major": "█"}
"""From the level that says least to the one that says most."""
_RANK = {level: rank for rank, level in enumerate(SIGNS)}


@dataclass(frozen=True, slots=True)
class FieldLine:
    """One field's line."""

    field: str
    levels: tuple[str | None, ...]
    """Per cell the gravest level of its windows, None where there is none."""
    first_major: date | None
    """The day at which the earliest window that is major ends."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The lines, and what their cells stand for."""

    first_day: date
    days_per_cell: int
    n_cells: int
    lines: tuple[FieldLine, ...]
    per_cell: int
    """The most windows of one field that a cell stands for."""

    def cell_of(self, day: date) -> int:
        """The cell that a day lies in."""
        return (day - self.first_day).days // self.days_per_cell

    def months(self) -> str:
        """The scale above the cells: each month's name where its first day is."""
        scale = [" "] * self.n_cells
        for cell in range(self.n_cells):
            day = self.first_day + timedelta(days=cell * self.days_per_cell)
            before = day - timedelta(days=self.days_per_cell)
            if cell == 0 or (day.year, day.month) != (before.year, before.month):
                name = day.strftime("%b")
                if cell + len(name) <= self.n_cells and not "".join(scale[cell - 1 : cell]).strip():
                    scale[cell : cell + len(name)] = name
        return "".join(scale)


def make_timeline(
    verdicts: Mapping[str, Sequence[tuple[date, str]]], width: int, *, sort: bool = True
) -> Timeline | None:
    """Lay out verdicts so that all of the time fits into `width` cells.

    Args:
        verdicts: per field (day at which a window ends, level), in any order.
        width: the most cells, at least 1.
        sort: whether fields that were major come first, the earliest on top, then by name; else they stay in order.

    Returns:
        None where there are no verdicts.
    """
    days = [day for rows in verdicts.values() for day, _ in rows]
    if not days:
        return None
    first, span = min(days), (max(days) - min(days)).days + 1
    per_cell = -(-span // max(width, 1))
    n_cells = -(-span // per_cell)
    lines = [_line(field, rows, first, per_cell, n_cells) for field, rows in verdicts.items()]
    if sort:
        lines.sort(key=lambda line: (line.first_major is None, line.first_major or first, line.field))
    most = max(
        Counter((field, (day - first).days // per_cell) for field, rows in verdicts.items() for day, _ in rows).values()
    )
    return Timeline(first, per_cell, n_cells, tuple(lines), most)


def _line(field: str, rows: Sequence[tuple[date, str]], first: date, per_cell: int, n_cells: int) -> FieldLine:
    levels: list[str | None] = [None] * n_cells
    for day, level in rows:
        cell = (day - first).days // per_cell
        found = levels[cell]
        if found is None or _RANK[level] > _RANK[found]:
            levels[cell] = level
    major = [day for day, level in rows if level == "major"]
    return FieldLine(field, tuple(levels), min(major, default=None))
