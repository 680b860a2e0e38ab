"""The page's tables of cells: all of them, those that miss, and those that page at another time than predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from benchmarks.scoreboard.data_sets import DATA_SETS
from benchmarks.scoreboard.incidents import FAULT_CLASSES
from benchmarks.scoreboard.results import Cell

CORRELATED_PHI = 2.0
"""φ from which the events of a field count as correlated."""
LITTLE_TRAFFIC = 0.5
"""Events after the start of an incident, relative to the mean, below which its traffic counts as little."""
_MISS_TEXTS = {
    "still firing": "a page of the field still fired when the incident began",
    "too late": "the page came within a day after the incident",
    "no page": "no page of the field",
}


def cells_table(name: str, cells: list[Cell]) -> Iterator[str]:
    """Return the table of one data set."""
    own = [cell for cell in cells if cell.data_set == name]
    rates = sorted({cell.per_hour for cell in own})
    yield f"**{name}**: {DATA_SETS[name].description}.\n"
    yield f"| fault | field | magnitude | {' | '.join(f'{rate:,.0f} an hour' for rate in rates)} |"
    yield f"|---|---|--:|{'---|' * len(rates)}"
    for fault in FAULT_CLASSES:
        for magnitude in FAULT_CLASSES[fault]:
            row = {cell.per_hour: cell for cell in own if (cell.fault, cell.magnitude) == (fault, magnitude)}
            if row:
                texts = [_cell(row[rate]) if rate in row else "" for rate in rates]
                yield f"| {fault} | {next(iter(row.values())).field} | {magnitude:g} | {' | '.join(texts)} |"


def _cell(cell: Cell) -> str:
    """Return recall, median and p90 of the hours, and the predicted interval."""
    paged = [each for each in cell.hours if each is not None]
    times = " ".join(f"{np.quantile(paged, u, method='higher'):.1f}" for u in (0.5, 0.9)) if paged else "– –"
    return f"{len(paged)}/{cell.incidents} · {times} · {_interval(cell)}"


def _interval(cell: Cell) -> str:
    low, _, high = cell.predicted
    if low is None:
        return "never"
    return f"{low:.1f}–{high:.1f}" if high is not None else f"{low:.1f}–?"


def misses_table(cells: list[Cell]) -> Iterator[str]:
    """List all cells in which an incident did not page, those with a predicted page first."""
    missing = [cell for cell in cells if cell.recall < 1.0]
    yield "| data set | events an hour | fault | magnitude | paged | predicted | reason |"
    yield "|---|--:|---|--:|--:|---|---|"
    for cell in sorted(missing, key=lambda cell: not cell.is_detectable):
        yield (f"| {_name(cell)} | {paged_count([cell])}/{cell.incidents} | {_interval(cell)} | {miss_reason(cell)} |")


def miss_reason(cell: Cell) -> str:
    """Say why incidents of a cell did not page."""
    if not cell.is_large_enough:
        return "too small: no traffic gives a page with 90%"
    if cell.predicted[0] is None:
        return f"too few independent events: {cell.independent:,.0f} in a day, φ {cell.phi:.3g}"
    if not cell.is_detectable:
        return f"predicted with less than 90%: {cell.independent:,.0f} independent events in a day"
    kinds = Counter(each.miss for each in cell.results if each.hours is None)
    texts = [f"{n} × {_MISS_TEXTS[kind]}" for kind, n in kinds.items()]
    if cell.wrong_pages:
        texts.append(f"other fields paged: {', '.join(f'{n} × {name}' for name, n in cell.wrong_pages.items())}")
    return "; ".join([*texts, *_circumstances(cell)])


def off_time_table(cells: list[Cell]) -> Iterator[str]:
    """List the cells with a predicted page of whose incidents fewer than half paged within the interval."""
    yield "| data set | events an hour | fault | magnitude | hours | predicted | reason |"
    yield "|---|--:|---|--:|---|---|---|"
    for cell in cells:
        if cell.is_detectable and 2 * cell.within < cell.incidents:
            hours = ", ".join("–" if each is None else f"{each:.1f}" for each in cell.hours)
            yield f"| {_name(cell)} | {hours} | {_interval(cell)} | {'; '.join([_side(cell), *_circumstances(cell)])} |"


def _side(cell: Cell) -> str:
    low, _, high = (0.0 if each is None else each for each in cell.predicted)
    early = sum(each is not None and each < low for each in cell.hours)
    late = sum(each is None or each > high for each in cell.hours)
    return " and ".join(f"{n} {text}" for n, text in ((early, "earlier"), (late, "later or never")) if n)


def _circumstances(cell: Cell) -> Iterator[str]:
    """Name what the prediction does not assume: correlated events and traffic that is not constant."""
    if cell.phi >= CORRELATED_PHI:
        yield f"correlated events: φ {cell.phi:.3g}, {cell.independent:,.0f} independent ones in a day"
    quiet = sum(each.traffic < LITTLE_TRAFFIC for each in cell.results)
    if quiet:
        yield f"{quiet} began with less than half of the mean traffic"


def _name(cell: Cell) -> str:
    return f"{cell.data_set} | {cell.per_hour:,.0f} | {cell.fault} | {cell.magnitude:g}"


def paged_count(cells: list[Cell]) -> int:
    """Return the number of incidents that paged."""
    return sum(each is not None for cell in cells for each in cell.hours)


def incident_count(cells: list[Cell]) -> int:
    """Return the number of incidents."""
    return sum(cell.incidents for cell in cells)
