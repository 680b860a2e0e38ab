"""What docs/performance.md shows of a full run: tables between marks, and charts, both from docs/performance.json.

    python -m benchmarks --redraw

writes them anew from the JSON alone, so that page, charts and figures cannot disagree. Another run stands
in docs/performance-other.json, and every ratio is held against it: a new full run is shown, and the one shown before
becomes the other.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import goals, pictures, rates, run_comparison
from benchmarks.figures import Figures, markdown_table, number

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIGURES, PAGE, CHARTS = DOCS / "performance.json", DOCS / "performance.md", DOCS / "charts"
OTHER = DOCS / "performance-other.json"
"""Another run, against whose ratios those of the shown one are held."""
_BLOCK = re.compile(r"(<!-- from performance\.json: (\w+) -->\n).*?(<!-- to here -->)", re.DOTALL)


def whole(figures: Figures) -> str:
    """Write everything of a run: what it was, the goals, and every figure, as one table."""
    rows = [(one.section, one.name, f"{number(one.value)} {one.unit}", one.note) for one in figures.entries]
    return f"{figures.facts()}\n\n{markdown_table([*goals.rows(figures), *rows])}\n"


def blocks(figures: Figures, other: Figures) -> dict[str, str]:
    """The generated parts of the page by the name in their marks."""
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
    """Show every chart of which the run has the figures."""
    built = {name: make(figures) for name, make in pictures.CHARTS.items()}
    return "\n\n".join(f"![{chart.title}](charts/{name}.svg)" for name, chart in built.items() if chart is not None)


def _floors(figures: Figures) -> str:
    """Compare the sketcher with what no program on its libraries can beat."""
    lines = ["| Floor | Events per CPU-second | Sketcher, JSON | Sketcher, Arrow |", "|---|--:|--:|--:|"]
    measured = [figures.get(rates.RATES, name) for name in (rates.JSON_RATE, rates.ARROW_RATE)]
    for name in (rates.CONSUME, rates.DECODE, rates.SORT):
        floor = figures.get(rates.RATES, name)
        if floor is None:
            continue
        json, arrow = (None if one is None else f"{one.value / floor.value:.0%}" for one in measured)
        # Arrow batches are neither decoded by msgspec nor fetched one message per event.
        shown = arrow if name == rates.SORT else None
        lines.append(f"| {name} | {number(floor.value)} | {json or '–'} | {shown or '–'} |")
    return "\n".join(lines)


def rewrite(text: str, figures: Figures, other: Figures) -> str:
    """Put a run's tables, and its ratios beside those of another run, between the marks of a page.

    Raises:
        ValueError: a part has no mark in the page, or a mark no part.
    """
    parts = blocks(figures, other)
    result = [match[2] for match in _BLOCK.finditer(text)]
    if sorted(result) != sorted(parts):
        raise ValueError(f"the page has marks for {sorted(result)}, and {sorted(parts)} are to be put there")
    return _BLOCK.sub(lambda match: f"{match[1]}{parts[match[2]]}\n{match[3]}", text)


def publish(figures: Figures) -> None:
    """Write JSON, page and charts of a new run; the one that was shown until now becomes the other."""
    OTHER.write_bytes(FIGURES.read_bytes())
    figures.write(FIGURES)
    redraw()


def redraw() -> None:
    """Write page and charts from the JSON of both runs alone."""
    figures, other = Figures.read(FIGURES), Figures.read(OTHER)
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), figures, other), encoding="utf-8")
    pictures.draw_all(figures, CHARTS)
