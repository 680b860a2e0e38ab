"""The figures of a run by section, as JSON and as Markdown tables."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np


@dataclass(frozen=True, slots=True)
class Figure:
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
    about: dict[str, str]
    entries: list[Figure] = field(default_factory=list)

    def add(self, section: str, name: str, value: float, unit: str, note: str = "") -> None:
        """Add a figure and print it, so that the progress of a long run is visible."""
        self._append(Figure(section, name, float(value), unit, note))

    def add_runs(self, section: str, name: str, values: Sequence[float], unit: str, note: str = "") -> None:
        """Add the median of repeated measurements with their minimum and maximum."""
        notes = "; ".join(filter(None, (note, spread(values) if len(values) > 1 else "")))
        self._append(Figure(section, name, median(values), unit, notes, min(values), max(values)))

    def add_ratios(
        self, section: str, name: str, over: Sequence[float], under: Sequence[float], note: str = ""
    ) -> None:
        """Add the ratio of two alternatives in each repetition."""
        self.add_runs(section, name, [a / b for a, b in zip(over, under, strict=True)], "×", note)

    def _append(self, figure: Figure) -> None:
        self.entries.append(figure)
        print(f"  {figure.section}: {figure.name}: {number(figure.value)} {figure.unit}  {figure.note}", flush=True)

    def get(self, section: str, name: str) -> Figure | None:
        """Find a figure; None if the run did not measure it."""
        return next((one for one in self.entries if (one.section, one.name) == (section, name)), None)

    def value(self, section: str, name: str) -> float:
        """The value of a figure that the run has measured."""
        figure = self.get(section, name)
        assert figure is not None
        return figure.value

    def of(self, section: str) -> list[Figure]:
        """The figures of a section in the order of measurement."""
        return [one for one in self.entries if one.section == section]

    def facts(self) -> str:
        """Describe the run as a Markdown list."""
        return "\n".join(f"- {name}: {value}" for name, value in self.about.items())

    def write(self, path: Path) -> None:
        data = {"about": self.about, "figures": [asdict(figure) for figure in self.entries]}
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["about"], [Figure(**one) for one in data["figures"]])


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """Format a Markdown table; `align` has an `l` or `r` per column."""
    marks = {"l": "---", "r": "--:"}
    lines = (f"| {' | '.join(row)} |" for row in (head, *rows))
    return "\n".join([next(lines), f"|{'|'.join(marks[each] for each in align)}|", *lines])


def by_section(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Replace the first cell of each row, the section, by bold text, and leave it out where it repeats."""
    result: list[tuple[str, ...]] = []
    before = ""
    for section, *cells in rows:
        result.append(("" if section == before else f"**{section}**", *cells))
        before = section
    return result


def replace_blocks(text: str, source: str, generated: Mapping[str, str]) -> str:
    """Replace the blocks of a page that are generated from a file.

    Args:
        text: the page; `<!-- from FILE: NAME -->` and `<!-- to here -->` mark each block.
        source: the name of the file.
        generated: the blocks by name.

    Raises:
        ValueError: the marks of the page and the generated blocks differ.
    """
    pattern = re.compile(rf"(<!-- from {re.escape(source)}: (\w+) -->\n).*?(<!-- to here -->)", re.DOTALL)
    marked = [match[2] for match in pattern.finditer(text)]
    if sorted(marked) != sorted(generated):
        raise ValueError(f"the page has marks for {sorted(marked)}, but the blocks are {sorted(generated)}")
    return pattern.sub(lambda match: f"{match[1]}{generated[match[2]]}\n{match[3]}", text)


def spread(values: Sequence[float]) -> str:
    """Describe the range of repeated measurements."""
    return f"{number(min(values))} to {number(max(values))} in {len(values)} runs"


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile of the values at a share, without interpolation."""
    return float(np.quantile(np.asarray(values), share, method="inverted_cdf"))


def number(value: float) -> str:
    """Format a number with three significant digits, or without decimals from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
