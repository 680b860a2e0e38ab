"""docs/scoreboard.md, whose tables are generated from docs/scoreboard.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from benchmarks.page import DOCS, replace_blocks
from benchmarks.scoreboard.cell_tables import cells_table, incident_count, misses_table, off_time_table, paged_count
from benchmarks.scoreboard.data_sets import DATA_SETS
from benchmarks.scoreboard.incidents import LASTS_DAYS
from benchmarks.scoreboard.peer_tables import peer_table, quiet_peer_table, runs_table
from benchmarks.scoreboard.quiet_tables import pages_table, streams_table
from benchmarks.scoreboard.results import Cell, QuietStream

RECORD, PAGE = DOCS / "scoreboard.json", DOCS / "scoreboard.md"
WITHIN_GOAL, RECALL_GOAL, FALSE_PAGES_GOAL = 0.8, 0.95, 1.0

Record = dict[str, Any]


def render_page(record: Record) -> str:
    """Return the page with the tables of a record."""
    return replace_blocks(PAGE.read_text(encoding="utf-8"), RECORD.name, blocks(record))


def blocks(record: Record) -> dict[str, str]:
    """Return the generated blocks of the page by name."""
    cells = [msgspec.convert(each, Cell) for each in record["cells"]]
    quiet = [msgspec.convert(each, QuietStream) for each in record["quiet"]]
    peers = record["peers"]
    return {
        "summary": "\n".join(_summary(record, cells, quiet)),
        "cells": "\n\n".join(
            "\n".join(cells_table(name, cells)) for name in DATA_SETS if any(cell.data_set == name for cell in cells)
        ),
        "misses": "\n".join(misses_table(cells)),
        "off_time": "\n".join(off_time_table(cells)),
        "quiet": "\n".join(streams_table(quiet)),
        "quiet_pages": "\n".join(pages_table(quiet)),
        "peers": "\n".join(peer_table(peers, cells)),
        "peers_quiet": "\n".join(quiet_peer_table(peers, quiet)),
        "peer_runs": "\n".join(runs_table(peers)),
        "machine": "\n".join(f"- {name}: {text}" for name, text in record["machine"].items()),
    }


def _summary(record: Record, cells: list[Cell], quiet: list[QuietStream]) -> Iterator[str]:
    detectable = [cell for cell in cells if cell.is_detectable]
    others = [cell for cell in cells if not cell.is_detectable]
    paged, incidents = paged_count(detectable), incident_count(detectable)
    within = sum(cell.within for cell in detectable)
    mostly = [cell for cell in detectable if 2 * cell.within >= cell.incidents]
    central = [cell for cell in detectable if _has_median_within(cell)]
    yield "| figure | value | goal | met |"
    yield "|---|--:|--:|---|"
    yield f"| cells; incidents in each | {len(cells)}; {record['repeats']} | | |"
    yield f"| cells in which a page is predicted with 90% within {LASTS_DAYS} days | {len(detectable)} | | |"
    yield f"| recall in these cells | {_share(paged, incidents)} | ≥ 95% | {_met(paged >= RECALL_GOAL * incidents)} |"
    yield f"| recall in the other cells | {_share(paged_count(others), incident_count(others))} | | |"
    yield (
        f"| cells whose median page is within the predicted 10–90% interval | {_share(len(central), len(detectable))} "
        f"| ≥ 80% | {_met(len(central) >= WITHIN_GOAL * len(detectable))} |"
    )
    yield f"| pages within the predicted 10–90% interval | {_share(within, paged)} | | |"
    yield f"| cells with at least half of their pages within it | {_share(len(mostly), len(detectable))} | | |"
    yield f"| pages for another field in an incident | {sum(sum(cell.wrong_pages.values()) for cell in cells)} | | |"
    yield f"| guard: from page to degraded | {_reactions(cells)} | | |"
    days = sum(each.days for each in quiet)
    n_false = sum(page.is_false for each in quiet for page in each.pages)
    n_real = sum(not page.is_false for each in quiet for page in each.pages)
    rate = 30 * n_false / max(1, days)
    yield (
        f"| false pages per model and 30 days without faults | {rate:.2f} ({n_false} in {days} days) | ≤ 1 "
        f"| {_met(rate <= FALSE_PAGES_GOAL)} |"
    )
    n_early = sum(page.is_false and page.day <= 30 for each in quiet for page in each.pages)
    yield f"| the same in the first 30 days | {n_early / max(1, len(quiet)):.2f} ({n_early}) | | |"
    yield (
        f"| pages of a real change in the data, per model and 30 days without faults "
        f"| {30 * n_real / max(1, days):.2f} ({n_real}) | | |"
    )
    yield f"| all pages per model and 30 days without faults | {30 * (n_false + n_real) / max(1, days):.2f} | | |"
    yield f"| time of the whole run | {record['seconds']:,} s | ≤ 3,600 s | {_met(record['seconds'] <= 3_600)} |"


def _met(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def _reactions(cells: list[Cell]) -> str:
    """Return the longest reaction, and how often the model was degraded before the page."""
    pages = [each for cell in cells for each in cell.results if each.hours is not None]
    times = [each.guard_s for each in pages if each.guard_s is not None]
    if not times:
        return "–"
    return f"at most {max(times):.0f} s in {len(times)} pages; degraded before in {len(pages) - len(times)}"


def _has_median_within(cell: Cell) -> bool:
    """Whether the median of the incidents pages within the predicted interval; one without a page counts as latest."""
    low, _, high = cell.predicted
    median = np.median([np.inf if hours is None else hours for hours in cell.hours])
    return low is not None and high is not None and bool(low <= median <= high)


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} ({part / whole:.1%})" if whole else "–"
