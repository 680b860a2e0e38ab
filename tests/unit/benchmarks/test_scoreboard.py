"""docs/scoreboard.md is generated from docs/scoreboard.json; incidents leave windows time to recover."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.scoreboard import page
from benchmarks.scoreboard.cell_tables import miss_reason, misses_table, off_time_table
from benchmarks.scoreboard.data_sets import DATA_SETS, DAY_MS, SOURCE_ROW, START_MS, SourceTable
from benchmarks.scoreboard.incidents import FAULT_CLASSES, plan_incidents
from benchmarks.scoreboard.inference import WINDOWS
from benchmarks.scoreboard.quiet_tables import pages_table
from benchmarks.scoreboard.results import Cell, IncidentResult, MissKind, QuietPage, QuietStream
from benchmarks.scoreboard.scores import TRAFFIC
from benchmarks.scoreboard.source_rows import SourceEvidence


def result(hours: float | None, miss: MissKind = "none", traffic: float = 1.0) -> IncidentResult:
    return IncidentResult(hours, None if hours is None else 0.0, miss, traffic)


CELL = Cell(
    *("diabetes", 20.0, "scale", 1.5, "bmi"),
    (result(1.0), result(None, "too late"), result(5.0)),
    *({}, (0.5, 2.0, 4.0), 1.0, 480.0, True),
)


def test_the_page_matches_the_record() -> None:
    record = json.loads(page.RECORD.read_text(encoding="utf-8"))
    assert page.render_page(record) == page.PAGE.read_text(encoding="utf-8")
    assert len(record["cells"]) == len(DATA_SETS) * len(TRAFFIC) * sum(map(len, FAULT_CLASSES.values()))
    assert len(record["quiet"]) == len(DATA_SETS) * len(TRAFFIC)


def test_a_cell_counts_what_paged_and_what_was_foreseen() -> None:
    assert CELL.recall == pytest.approx(2 / 3)
    assert CELL.within == 1
    assert CELL.is_detectable
    assert not replace(CELL, predicted=(1.0, None, None)).is_detectable


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "1 × the page came within a day after the incident"),
        (
            {"wrong_pages": {"null-rate of bp": 2}, "phi": 6.0, "independent": 80.0},
            "1 × the page came within a day after the incident; other fields paged: 2 × null-rate of bp; "
            "correlated events: φ 6, 80 independent ones in a day",
        ),
        ({"predicted": (1.0, None, None)}, "predicted with less than 90%: 480 independent events in a day"),
        ({"predicted": (None, None, None)}, "too few independent events: 480 in a day, φ 1"),
        ({"predicted": (None, None, None), "is_large_enough": False}, "too small: no traffic gives a page with 90%"),
    ],
)
def test_a_miss_has_a_reason(changes: dict[str, object], reason: str) -> None:
    cell = replace(CELL, **changes)  # type: ignore[arg-type]  # members by name
    assert miss_reason(cell) == reason
    assert any(reason in line for line in misses_table([cell]))


def test_pages_at_another_time_are_listed_with_their_side() -> None:
    early = replace(CELL, results=(result(0.1, traffic=0.2), result(0.2), result(9.0)))
    *_, line = off_time_table([CELL, early])
    assert "| 2 earlier and 1 later or never; 1 began with less than half of the mean traffic |" in line
    on_time = replace(CELL, results=(result(1.0), result(2.0), result(9.0)))
    assert len(list(off_time_table([on_time]))) == 2


def test_a_page_without_a_fault_is_false_unless_the_source_changed() -> None:
    def quiet_page(evidence: SourceEvidence | None) -> QuietPage:
        return QuietPage("null-rate", "air_time", "1h", 4.4, evidence)

    real = quiet_page(SourceEvidence(1e-9, 69, 1.2, 2))
    doubtful = quiet_page(SourceEvidence(0.01, 77, 1.2, 20))
    drawn = quiet_page(None)
    assert [each.is_false for each in (real, doubtful, drawn)] == [False, True, True]
    rows = list(pages_table([QuietStream("flights", 200.0, 66, (real, doubtful, drawn), 9.0)]))[2:]
    assert [row.split(" | ")[6] for row in rows] == [
        "real change",
        "false: no change shown",
        "false: the stream does not change",
    ]


@pytest.mark.parametrize("fault", FAULT_CLASSES)
def test_windows_recover_between_incidents(fault: str) -> None:
    incidents = plan_incidents(fault, 60, 3, np.random.default_rng(1))
    assert [each.magnitude for each in incidents] == list(FAULT_CLASSES[fault]) * 3
    longest_s = max(window.length_s for window in WINDOWS)
    assert incidents[0].start_s >= START_MS // 1000 + 60 * DAY_MS // 1000 + longest_s
    for first, second in pairwise(incidents):
        assert second.start_s >= first.end_s + longest_s


@pytest.mark.parametrize("name", ["diabetes", "breast-cancer", "generated"])
def test_streams_are_in_order_and_in_their_days(name: str) -> None:
    table = DATA_SETS[name].stream(3, 2, 50.0, np.random.default_rng(2))
    at = table["at"].cast("int64").to_numpy()
    assert (np.diff(at) >= 0).all()
    assert START_MS + 3 * DAY_MS <= at[0] < at[-1] < START_MS + 5 * DAY_MS
    assert table.num_rows == pytest.approx(50 * 48, rel=0.1)
    assert {f"features.{DATA_SETS[name].number}", f"features.{DATA_SETS[name].category}"} <= set(table.column_names)


def test_few_events_are_distinct_rows_and_many_repeat_them_near_their_time() -> None:
    source = SourceTable(np.arange(240) / 24, {"x": pa.array(np.arange(240.0))})
    rng = np.random.default_rng(4)
    few, many = source.repeat(2, 3, 50, rng), source.repeat(2, 3, 500, rng)
    assert len(set(few[SOURCE_ROW].to_pylist())) == few.num_rows == 50
    assert set(many[SOURCE_ROW].to_pylist()) == set(range(48, 120))
    for table, most in ((few, 1), (many, 1_800_001)):
        off = table["at"].cast("int64").to_numpy() - START_MS - table[SOURCE_ROW].to_numpy() * 3_600_000
        assert (np.abs(off) <= most).all()
        assert (np.diff(table["at"].cast("int64").to_numpy()) >= 0).all()
        assert table["features.x"].to_pylist() == table[SOURCE_ROW].to_pylist()


def test_the_generated_level_is_correlated() -> None:
    table = DATA_SETS["generated"].stream(0, 60, 200.0, np.random.default_rng(3))
    hour = table["at"].cast("int64").to_numpy() // 3_600_000
    sums = np.bincount(hour - hour[0], table["features.level"].to_numpy())
    means = sums / np.bincount(hour - hour[0])
    assert np.corrcoef(means[1:], means[:-1])[0, 1] > 0.6
