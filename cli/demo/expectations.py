"""What must come out of the demo, or something in the path is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from cli.demo.findings import Findings

DRIFTING = ("temp", "dewp")
"""They fall in autumn; a week holds few independent readings of them, which φ knows."""
STEADY = ("distance", "time_of_day", "age", "seats", "carrier", "origin", "dest", "engine", "manufacturer")
EARLIEST, LATEST = date(2013, 9, 15), date(2013, 9, 25)
"""Between them the first week that is major ends; parts of a day's traffic may move it by a day or two."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that must hold."""

    what: str
    held: bool
    found: str


def expectations(findings: Findings) -> list[Expectation]:
    """Hold findings to what is known of these flights."""
    return [*_nothing_lost(findings), *_drift(findings), *_outage(findings)]


def _nothing_lost(findings: Findings) -> Iterator[Expectation]:
    counts = findings.counts
    yield Expectation(
        "every prediction was counted and recorded once",
        0 < counts.published == counts.counted == counts.recorded,
        f"{counts.published:,} published, {counts.counted:,} counted in panes, {counts.recorded:,} raw rows",
    )
    yield Expectation(
        "every label was recorded once",
        0 < counts.labels_published == counts.labels_recorded,
        f"{counts.labels_published:,} published, {counts.labels_recorded:,} recorded",
    )
    yield Expectation(
        "nothing was put aside or lost",
        counts.dead == counts.lost_offsets == 0,
        f"{counts.dead:,} dead letters, {counts.lost_offsets:,} offsets lost",
    )


def _drift(findings: Findings) -> Iterator[Expectation]:
    major = {field: [day for day, level in rows if level == "major"] for field, rows in findings.weeks.items()}
    for field in DRIFTING:
        days = major.get(field, [])
        first = min(days, default=None)
        yield Expectation(
            f"{field} is major first in a week that ends from {EARLIEST:%d} to {LATEST:%d} September",
            first is not None and EARLIEST <= first <= LATEST,
            "never" if first is None else f"{first:%d %B}",
        )
    drifted = [field for field in STEADY if major.get(field)]
    seen = [field for field in STEADY if findings.weeks.get(field)]
    yield Expectation(
        f"{', '.join(STEADY)} are never major in a week",
        not drifted and len(seen) == len(STEADY),
        ", ".join(drifted) or (f"never, {len(seen)} fields judged"),
    )


def _outage(findings: Findings) -> Iterator[Expectation]:
    major = [row.field for row in findings.outage if row.level == "major"]
    yield Expectation(
        "the missing weather of 31 December is major as a null rate in the day that ends with it",
        {"temp", "dewp"} <= set(major),
        ", ".join(major) or "none",
    )
