"""What docs/performance.md shows of a full run: tables between marks, and charts, both from docs/performance.json.

    python -m benchmarks --redraw

writes them anew from the JSON alone, so that page, charts and figures cannot disagree.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import goals
from benchmarks.figures import Figures, markdown_table, number

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIGURES, PAGE, CHARTS = DOCS / "performance.json", DOCS / "performance.md", DOCS / "charts"
_BLOCK = re.compile(r"(<!-- from performance\.json: (\w+) -->\n).*?(<!-- to here -->)", re.DOTALL)


def whole(figures: Figures) -> str:
    """Write everything of a run: what it was, the goals, and every figure, as one table."""
    rows = [(one.section, one.name, f"{number(one.value)} {one.unit}", one.note) for one in figures.found]
    return f"{figures.facts()}\n\n{markdown_table([*goals.rows(figures), *rows])}\n"


def blocks(figures: Figures) -> dict[str, str]:
    """The generated parts of the page by the name in their marks."""
    rows = [(one.section, one.name, f"{number(one.value)} {one.unit}", one.note) for one in figures.found]
    return {"run": figures.facts(), "goals": goals.table(figures), "table": markdown_table(rows)}


def rewrite(text: str, figures: Figures) -> str:
    """Put a run's tables between the marks of a page.

    Raises:
        ValueError: a part has no mark in the page, or a mark no part.
    """
    parts = blocks(figures)
    found = [match[2] for match in _BLOCK.finditer(text)]
    if sorted(found) != sorted(parts):
        raise ValueError(f"the page has marks for {sorted(found)}, and {sorted(parts)} are to be put there")
    return _BLOCK.sub(lambda match: f"{match[1]}{parts[match[2]]}\n{match[3]}", text)


def publish(figures: Figures) -> None:
    """Write JSON, page and charts."""
    from benchmarks.pictures import draw_all

    figures.write(FIGURES)
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    draw_all(figures, CHARTS)
