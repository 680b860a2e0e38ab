"""The tables and charts of docs/performance.md, which come from docs/performance.json, and a comparison of two runs."""

from pathlib import Path

from benchmarks import goals
from benchmarks.charts import charts, draw
from benchmarks.figures import Figure, Figures, by_section, markdown_table, number, replace_blocks
from benchmarks.peers.measure import RATES as PEER_RATES
from benchmarks.peers.measure import RATIOS as PEER_RATIOS
from benchmarks.rates import RATES
from benchmarks.serving import GUARD, SHADOW
from benchmarks.stages import JSON_STAGES
from benchmarks.unit_costs import UNITS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PUBLISHED, PAGE, CHARTS = DOCS / "performance.json", DOCS / "performance.md", DOCS / "charts"
RATIO = "×"
_OMITTED = (
    "20 features × 3 slice dimensions",
    "a pass after corrections in 40 hours",
    "after 2 M events",
    "first pass ÷",
    "prediction(…), p99.9, CPU time",
    "predictions(table), flush included",
    "rate meanwhile",
    "records in partials",
    "row can be read in ClickHouse, beyond lateness",
    "rows kept",
    "verdict judged",
)
"""Beginnings of the names of figures that only the JSON file has."""


def blocks(figures: Figures) -> dict[str, str]:
    """The generated blocks of the page by the name in their marks."""
    return {
        "run": figures.facts(),
        "goals": goals.table(figures),
        "charts": "\n\n".join(f"![{each.title}](charts/performance-{each.file}.svg)" for each in charts(figures)),
        "figures": _published_table(figures),
    }


def figures_table(figures: Figures) -> str:
    """Every figure with its notes."""
    rows = ((one.section, one.name, f"{number(one.value)} {one.unit}", one.note) for one in figures.entries)
    return markdown_table(("Section", "Figure", "Value", "Notes"), by_section(rows), "llrl")


def _published_table(figures: Figures) -> str:
    """Figures with their ranges instead of sample sizes, without those of goals, charts and `_OMITTED`.

    Ratios replace rates. A peer that is missing or wrong keeps its row: its note is bold.
    """
    entries = [one for one in figures.entries if not one.section.startswith(JSON_STAGES)]
    sections = list(dict.fromkeys(one.section for one in entries))
    rows = [
        (one.section, one.name, f"{number(one.value)} {one.unit}", _range(one))
        for one in sorted(entries, key=lambda one: sections.index(one.section))
        if _is_published(one)
    ]
    return markdown_table(("Section", "Figure", "Value", "Range, or note"), by_section(rows), "llrl")


def _is_published(one: Figure) -> bool:
    if one.section in (SHADOW, GUARD, UNITS):
        return False
    if one.section in (PEER_RATES, PEER_RATIOS):
        return one.section == PEER_RATIOS or "**" in one.note
    is_goal = any((one.section, one.name) == (goal.section, goal.figure) for goal in goals.GOALS)
    is_rate = one.name.endswith(": rate") or (one.section == RATES and one.unit != RATIO)
    return not (is_goal or is_rate or one.name.startswith(_OMITTED))


def _range(one: Figure) -> str:
    return one.note if one.low is None or one.high is None else f"{number(one.low)} to {number(one.high)}"


def comparison(figures: Figures, other: Figures) -> str:
    """Compare every ratio that two runs measured.

    Rates depend on the machine and its load. Ratios compare alternating measurements of one run and should be
    reproducible.
    """
    rows = []
    for one in figures.entries:
        same = other.get(one.section, one.name)
        if one.unit == RATIO and same is not None:
            apart = one.value / same.value - 1 if same.value else 0.0
            rows.append((one.section, one.name, number(one.value), number(same.value), f"{apart:+.0%}"))
    names = (
        ", ".join(run.about.get(name, "–") for name in ("measured", "commit", "command")) for run in (figures, other)
    )
    head = ("Section", "Ratio", "This run", "The other run", "Apart")
    return "this run: {}\nthe other run: {}\n\n".format(*names) + markdown_table(head, by_section(rows), "llrrr")


def rewrite(text: str, figures: Figures) -> str:
    """Replace the generated blocks of the page."""
    return replace_blocks(text, PUBLISHED.name, blocks(figures))


def publish(figures: Figures) -> None:
    """Write JSON, page and charts of a new run."""
    figures.write(PUBLISHED)
    redraw()


def redraw() -> None:
    """Write page and charts from the JSON file."""
    figures = Figures.read(PUBLISHED)
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    for chart in charts(figures):
        draw(chart, CHARTS)
