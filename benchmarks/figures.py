"""What a run found: figures by section, as a table to read and as JSON."""

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
    """Spread, sample size, or what it is held against."""
    low: float | None = None
    """Of repeated measurements the least, …"""
    high: float | None = None
    """… and the greatest; `value` is their median."""


@dataclass
class Figures:
    """All of one run."""

    about: dict[str, str]
    entries: list[Figure] = field(default_factory=list)

    def add(self, section: str, name: str, value: float, unit: str, note: str = "") -> None:
        """Keep a figure and print it, so that a long run can be followed."""
        self._append(Figure(section, name, float(value), unit, note))

    def add_runs(self, section: str, name: str, values: Sequence[float], unit: str, note: str = "") -> None:
        """Keep the median of repeated measurements, with the least and the greatest."""
        message = spread(values) if len(values) > 1 else ""
        together = "; ".join(filter(None, (note, message)))
        self._append(Figure(section, name, median(values), unit, together, min(values), max(values)))

    def _append(self, figure: Figure) -> None:
        self.entries.append(figure)
        print(f"  {figure.section}: {figure.name}: {number(figure.value)} {figure.unit}  {figure.note}", flush=True)

    def get(self, section: str, name: str) -> Figure | None:
        """Find a figure; None where this run did not measure it."""
        return next((one for one in self.entries if (one.section, one.name) == (section, name)), None)

    def of(self, section: str) -> list[Figure]:
        """Find the figures of a section, in the order in which they were measured."""
        return [one for one in self.entries if one.section == section]

    def facts(self) -> str:
        """Write a Markdown list of what the run was."""
        return "\n".join(f"- {name}: {value}" for name, value in self.about.items())

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        data = {"about": self.about, "figures": [asdict(figure) for figure in self.entries]}
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["about"], [Figure(**one) for one in data["figures"]])


def markdown_table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    """Write rows of section, name, value and notes as a Markdown table; a section's name stands in its first row."""
    lines = ["| Section | Figure | Value | Notes |", "|---|---|--:|---|"]
    before = ""
    for section, name, value, note in rows:
        shown = "" if section == before else f"**{section}**"
        before = section
        lines.append(f"| {shown} | {name} | {value} | {note} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Name the least and the greatest of repeated measurements."""
    return f"{number(min(values))} to {number(max(values))} in {len(values)} runs"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all does not exceed."""
    return float(np.quantile(np.asarray(values), share, method="inverted_cdf"))


def number(value: float) -> str:
    """Write a number with three digits, or whole from a hundred on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
