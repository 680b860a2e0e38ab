"""docs/scoreboard.md is generated from docs/scoreboard.json; incidents leave windows time to recover."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.scoreboard import page
from benchmarks.scoreboard.data_sets import DATA_SETS, DAY_MS, START_MS
from benchmarks.scoreboard.incidents import FAULT_CLASSES, plan_incidents
from benchmarks.scoreboard.scores import TRAFFIC, WINDOWS, Cell

CELL = Cell("diabetes", 20.0, "scale", 1.5, "bmi", 3, (1.0, None, 5.0), 0, (0.5, 2.0, 4.0))


def test_the_page_matches_the_record() -> None:
    record = json.loads(page.RECORD.read_text(encoding="utf-8"))
    assert page.render_page(record) == page.PAGE.read_text(encoding="utf-8")
    assert len(record["cells"]) == len(DATA_SETS) * len(TRAFFIC) * sum(map(len, FAULT_CLASSES.values()))
    assert len(record["quiet"]) == len(DATA_SETS) * len(TRAFFIC)


def test_a_cell_counts_what_paged_and_what_was_foreseen() -> None:
    assert CELL.recall == pytest.approx(2 / 3)
    assert CELL.within == 1
    assert CELL.is_detectable
    assert not Cell("d", 1.0, "scale", 1.5, "x", 1, (None,), 0, (1.0, None, None)).is_detectable


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


def test_the_generated_level_is_correlated() -> None:
    table = DATA_SETS["generated"].stream(0, 60, 200.0, np.random.default_rng(3))
    hour = table["at"].cast("int64").to_numpy() // 3_600_000
    sums = np.bincount(hour - hour[0], table["features.level"].to_numpy())
    means = sums / np.bincount(hour - hour[0])
    assert np.corrcoef(means[1:], means[:-1])[0, 1] > 0.6
