"""The figures of a run by section, as Markdown tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    section: str
    name: str
    value: float
    unit: str
    note: str = ""
    """Spread, sample size or goal."""
    low: float | None = None
    """The minimum of repeated measurements, of which `value` is the median."""
    high: float | None = None
    """The maximum of repeated measurements."""


@dataclass
class Figures:
    """All figures of a run."""

    about: dict[str, str]
    entries: list[Figure] = field(default_factory=list)

    def add(self, section: str, name: str, value: float, unit: str, note: str = "") -> None:
        """Add a figure and print it, so that the progress of a long run is visible."""
        self._append(Figure(section, name, float(value), unit, note))

    def add_runs(self, section: str, name: str, values: Sequence[float], unit: str, note: str = "") -> None:
        """Add the median of repeated measurements with their minimum and maximum."""
        notes = "; ".join(filter(None, (note, spread(values) if len(values) > 1 else "")))
        self._append(Figure(section, name, median(values), unit, notes, min(values), max(values)))

    def _append(self, figure: Figure) -> None:
        self.entries.append(figure)
        print(f"  {figure.section}: {figure.name}: {number(figure.value)} {figure.unit}  {figure.note}", flush=True)

    def get(self, section: str, name: str) -> Figure | None:
        """Find a figure; None if the run did not measure it."""
        return next((one for one in self.entries if (one.section, one.name) == (section, name)), None)

    def of(self, section: str) -> list[Figure]:
        """The figures of a section in the order of measurement."""
        return [one for one in self.entries if one.section == section]

    def facts(self) -> str:
        """Describe the run as a Markdown list."""
        return "\n".join(f"- {name}: {value}" for name, value in self.about.items())

    def write(self, path: Path) -> None:
        """Write the figures as JSON."""
        data = {"about": self.about, "figures": [asdict(figure) for figure in self.entries]}
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["about"], [Figure(**one) for one in data["figures"]])


def markdown_table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    """Format rows of section, name, value and notes as a Markdown table; only the first row of a section names it."""
    lines = ["| Section | Figure | Value | Notes |", "|---|---|--:|---|"]
    before = ""
    for section, name, value, note in rows:
        label = "" if section == before else f"**{section}**"
        before = section
        lines.append(f"| {label} | {name} | {value} | {note} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Describe the range of repeated measurements."""
    return f"{number(min(values))} to {number(max(values))} in {len(values)} runs"


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile of the values at a share, without interpolation."""
    return float(np.quantile(np.asarray(values), share, method="inverted_cdf"))


def number(value: float) -> str:
    """Format a number with three significant digits, or without decimals from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
