"""What a run found: figures by section, as a table to read and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

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


@dataclass
class Figures:
    """All of one run."""

    about: dict[str, str]
    found: list[Figure] = field(default_factory=list)

    def add(self, section: str, name: str, value: float, unit: str, note: str = "") -> None:
        """Keep a figure and print it, so that a long run can be followed."""
        figure = Figure(section, name, float(value), unit, note)
        self.found.append(figure)
        print(f"  {section}: {name}: {_number(figure.value)} {unit}  {note}", flush=True)

    def table(self) -> str:
        """Write a Markdown table of everything."""
        lines = ["| | | | |", "|---|---|--:|---|"]
        section = ""
        for figure in self.found:
            shown = "" if figure.section == section else f"**{figure.section}**"
            section = figure.section
            lines.append(f"| {shown} | {figure.name} | {_number(figure.value)} {figure.unit} | {figure.note} |")
        facts = [f"- {name}: {value}" for name, value in self.about.items()]
        return "\n".join([*facts, "", *lines, ""])

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        data = {"about": self.about, "figures": [asdict(figure) for figure in self.found]}
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def spread(values: Sequence[float]) -> str:
    """Name the least and the greatest of repeated measurements."""
    return f"{_number(min(values))} to {_number(max(values))} in {len(values)} runs"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all does not exceed."""
    return float(np.quantile(np.asarray(values), share, method="inverted_cdf"))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
