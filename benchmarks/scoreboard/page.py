"""docs/scoreboard.md, whose tables are generated from docs/scoreboard.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from benchmarks.page import DOCS, replace_blocks
from benchmarks.scoreboard.data_sets import DATA_SETS
from benchmarks.scoreboard.incidents import FAULT_CLASSES, LASTS_DAYS
from benchmarks.scoreboard.peer_scores import PeerCell
from benchmarks.scoreboard.scores import Cell, QuietStream

RECORD, PAGE = DOCS / "scoreboard.json", DOCS / "scoreboard.md"

Record = dict[str, Any]


def render_page(record: Record) -> str:
    """Return the page with the tables of a record."""
    return replace_blocks(PAGE.read_text(encoding="utf-8"), RECORD.name, blocks(record))


def blocks(record: Record) -> dict[str, str]:
    """Return the generated blocks of the page by name."""
    cells = [msgspec.convert(each, Cell) for each in record["cells"]]
    quiet = [msgspec.convert(each, QuietStream) for each in record["quiet"]]
    return {
        "summary": "\n".join(_summary(record, cells, quiet)),
        "cells": "\n\n".join("\n".join(_table(name, cells)) for name in DATA_SETS if _of(cells, name)),
        "quiet": "\n".join(_quiet(quiet)),
        "misses": "\n".join(_misses(cells)),
        "peers": "\n".join(_peers(record["peers"], cells)),
        "machine": "\n".join(f"- {name}: {text}" for name, text in record["machine"].items()),
    }


def _of(cells: list[Cell], name: str) -> list[Cell]:
    return [cell for cell in cells if cell.data_set == name]


def _summary(record: Record, cells: list[Cell], quiet: list[QuietStream]) -> Iterator[str]:
    detectable = [cell for cell in cells if cell.is_detectable]
    others = [cell for cell in cells if not cell.is_detectable]
    times = [(cell, each) for cell in detectable for each in cell.hours if each is not None]
    within = sum(cell.within for cell in detectable)
    central = [cell for cell in detectable if _has_median_within(cell)]
    days, pages = sum(each.days for each in quiet), sum(sum(each.pages.values()) for each in quiet)
    yield "| figure | value |"
    yield "|---|--:|"
    yield f"| cells; incidents in each | {len(cells)}; {record['repeats']} |"
    yield f"| cells in which a page is predicted with 90% within {LASTS_DAYS} days | {len(detectable)} |"
    yield f"| recall in these cells | {_share(_paged(detectable), _incidents(detectable))} |"
    yield f"| recall in the other cells | {_share(_paged(others), _incidents(others))} |"
    yield f"| pages within the predicted 10–90% interval | {_share(within, len(times))} |"
    yield f"| cells whose median page is within it | {_share(len(central), len(detectable))} |"
    yield f"| pages for another field in an incident | {sum(cell.wrong_pages for cell in cells)} |"
    yield (
        f"| pages per model and 30 days without faults | {30 * pages / max(1, days):.2g} "
        f"({len(quiet)} streams of {quiet[0].days} days) |"
    )
    yield f"| time of the whole run | {record['seconds'] / 60:.0f} min |"


def _has_median_within(cell: Cell) -> bool:
    """Whether the median of the incidents pages within the predicted interval; one without a page counts as latest."""
    low, _, high = cell.predicted
    median = np.median([np.inf if hours is None else hours for hours in cell.hours])
    return low is not None and high is not None and bool(low <= median <= high)


def _table(name: str, cells: list[Cell]) -> Iterator[str]:
    own = _of(cells, name)
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


def _peers(peers: Record, cells: list[Cell]) -> Iterator[str]:
    """Compare what peers detect with what pages, over all data sets."""
    results = [msgspec.convert(each, PeerCell) for each in peers["cells"]]
    names = sorted({each.peer for each in results})
    for name, reason in peers["failures"].items():
        yield f"{name} {reason}.\n"
    yield f"| fault | magnitude | pages, median hours | {' | '.join(f'{name}, median hours' for name in names)} |"
    yield f"|---|--:|--:|{'--:|' * len(names)}"
    for fault, magnitude in dict.fromkeys((each.fault, each.magnitude) for each in results):
        own = [
            hours
            for cell in cells
            if (cell.fault, cell.magnitude, cell.per_hour) == (fault, magnitude, peers["per_hour"])
            for hours in cell.hours
        ]
        texts = [_detections(own)]
        for name in names:
            chosen = [each for each in results if (each.peer, each.fault, each.magnitude) == (name, fault, magnitude)]
            texts.append(_detections([hours for each in chosen for hours in each.hours]))
        yield f"| {fault} | {magnitude:g} | {' | '.join(texts)} |"
    yield ""
    yield "| peer | data set | days without faults | days with a drifted column |"
    yield "|---|---|--:|--:|"
    for each in peers["quiet"]:
        yield f"| {each['peer']} | {each['data_set']} | {each['days']} | {each['drifted_days']} |"


def _detections(hours: list[float | None]) -> str:
    times = [each for each in hours if each is not None]
    return f"{len(times)}/{len(hours)}" + (f", {np.median(times):.1f}" if times else "")


def _quiet(quiet: list[QuietStream]) -> Iterator[str]:
    yield "| data set | events an hour | φ of the field of faults in a day | pages |"
    yield "|---|--:|--:|---|"
    for each in quiet:
        pages = ", ".join(f"{n} × {name}" for name, n in each.pages.items()) or "none"
        yield f"| {each.data_set} | {each.per_hour:,.0f} | {each.phi:.3g} | {pages} |"


def _misses(cells: list[Cell]) -> Iterator[str]:
    """List the detectable cells in which an incident did not page, or fewer than half paged in time."""
    yield "| data set | events an hour | fault | magnitude | hours | predicted |"
    yield "|---|--:|---|--:|---|---|"
    for cell in cells:
        if cell.is_detectable and (cell.recall < 1.0 or cell.within < 0.5 * cell.incidents):
            hours = ", ".join("–" if each is None else f"{each:.1f}" for each in cell.hours)
            yield (
                f"| {cell.data_set} | {cell.per_hour:,.0f} | {cell.fault} | {cell.magnitude:g} | {hours} "
                f"| {_interval(cell)} |"
            )


def _paged(cells: list[Cell]) -> int:
    return sum(each is not None for cell in cells for each in cell.hours)


def _incidents(cells: list[Cell]) -> int:
    return sum(cell.incidents for cell in cells)


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} ({part / whole:.1%})" if whole else "–"
