"""Text chart of levels over time: one line per field, one character per run of windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

SIGNS = {"insufficient": "?", "stable": "·", "minor": "▒", "major": "█"}
"""Character per level, in increasing order of severity."""
_RANK = {level: rank for rank, level in enumerate(SIGNS)}


@dataclass(frozen=True, slots=True)
class FieldLine:
    """The chart line of one field."""

    field: str
    levels: tuple[str | None, ...]
    """Worst level per cell; None for a cell without windows."""
    first_major: date | None
    """Last day of the earliest window with the level major."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Chart lines and their scale."""

    first_day: date
    days_per_cell: int
    n_cells: int
    lines: tuple[FieldLine, ...]
    per_cell: int
    """Maximum number of windows of one field in a cell."""

    def cell_of(self, day: date) -> int:
        """Index of the cell that contains a day."""
        return (day - self.first_day).days // self.days_per_cell

    def months(self) -> str:
        """Month names above the cells, each at its first day."""
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
    """Lay out verdicts so that the whole period fits into `width` cells.

    Args:
        verdicts: per field, (last day of a window, level) in any order.
        width: maximum number of cells, at least 1.
        sort: whether to sort by the first major window, then by name; otherwise the order is kept.

    Returns:
        None if there are no verdicts.
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
        result = levels[cell]
        if result is None or _RANK[level] > _RANK[result]:
            levels[cell] = level
    major = [day for day, level in rows if level == "major"]
    return FieldLine(field, tuple(levels), min(major, default=None))
