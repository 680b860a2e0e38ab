"""The tables and charts of docs/performance.md, generated from docs/performance.json.

    python -m benchmarks --redraw

rewrites them from the JSON, so that page, charts and figures agree. docs/performance-other.json contains another run,
with whose ratios those of the published run are compared. A new full run replaces the published one, which becomes the
other run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks import goals, pictures, rates, run_comparison
from benchmarks.figures import Figures, markdown_table, number

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIGURES, PAGE, CHARTS = DOCS / "performance.json", DOCS / "performance.md", DOCS / "charts"
OTHER = DOCS / "performance-other.json"
"""Another run, for the comparison of ratios."""


def full_report(figures: Figures) -> str:
    """Format a whole run as Markdown: the facts, the goals and every figure."""
    rows = [(one.section, one.name, f"{number(one.value)} {one.unit}", one.note) for one in figures.entries]
    return f"{figures.facts()}\n\n{markdown_table([*goals.rows(figures), *rows])}\n"


def blocks(figures: Figures, other: Figures) -> dict[str, str]:
    """The generated blocks of the page by the name in their marks."""
    rows = [(one.section, one.name, f"{number(one.value)} {one.unit}", one.note) for one in figures.entries]
    return {
        "run": figures.facts(),
        "goals": goals.table(figures),
        "charts": _charts(figures),
        "floors": _floors(figures),
        "repeated": run_comparison.table(figures, other),
        "figures": markdown_table(rows),
    }


def _charts(figures: Figures) -> str:
    """Link every chart for which the run has figures."""
    built = {name: make(figures) for name, make in pictures.CHARTS.items()}
    return "\n\n".join(f"![{chart.title}](charts/{name}.svg)" for name, chart in built.items() if chart is not None)


def _floors(figures: Figures) -> str:
    """Compare the sketcher with the maximum rates of its libraries."""
    lines = ["| Floor | Events per CPU-second | Sketcher, JSON | Sketcher, Arrow |", "|---|--:|--:|--:|"]
    measured = [figures.get(rates.RATES, name) for name in (rates.JSON_RATE, rates.ARROW_RATE)]
    for name in (rates.CONSUME, rates.DECODE, rates.SORT):
        floor = figures.get(rates.RATES, name)
        if floor is None:
            continue
        json, arrow = (None if one is None else f"{one.value / floor.value:.0%}" for one in measured)
        # msgspec does not decode Arrow batches, and Kafka has one message per batch, not per event.
        arrow_share = arrow if name == rates.SORT else None
        lines.append(f"| {name} | {number(floor.value)} | {json or '–'} | {arrow_share or '–'} |")
    return "\n".join(lines)


def rewrite(text: str, figures: Figures, other: Figures) -> str:
    """Replace the generated blocks of the page: those of the published run, with another run to compare with."""
    return replace_blocks(text, FIGURES.name, blocks(figures, other))


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


def publish(figures: Figures) -> None:
    """Write JSON, page and charts of a new run; the run published before becomes the other run."""
    OTHER.write_bytes(FIGURES.read_bytes())
    figures.write(FIGURES)
    redraw()


def redraw() -> None:
    """Write page and charts from the JSON of both runs."""
    figures, other = Figures.read(FIGURES), Figures.read(OTHER)
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), figures, other), encoding="utf-8")
    pictures.draw_all(figures, CHARTS)
