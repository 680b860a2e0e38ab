"""What peers get, and how their detections are counted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.scoreboard import peers
from benchmarks.scoreboard.data_sets import DAY_MS, START_MS
from benchmarks.scoreboard.incidents import FAULT_CLASSES, Incident, plan_incidents
from benchmarks.scoreboard.scores import Streams, make_streams

DAY_S = DAY_MS // 1000
FAULT = "mean-shift"


def streams() -> Streams:
    return make_streams("diabetes", 20.0, 1, [FAULT], 3)


def test_an_incident_overlaps_whole_and_partial_days() -> None:
    start_s = START_MS // 1000 + 3 * DAY_S
    assert list(peers.overlapped_days(Incident(1.0, start_s, start_s + 2 * DAY_S))) == [3, 4]
    assert list(peers.overlapped_days(Incident(1.0, start_s + 60, start_s + 2 * DAY_S + 60))) == [3, 4, 5]


def test_nulls_are_nan_or_an_empty_text() -> None:
    table = pa.table({"at": [1, 2], "features.x": pa.array([1.5, None]), "features.c": pa.array([None, "a"])})
    columns = peers.feature_arrays(table)
    assert set(columns) == {"x", "c"}
    assert columns["c"].tolist() == ["", "a"]
    np.testing.assert_array_equal(columns["x"], [1.5, np.nan])


def test_a_detection_counts_from_the_incident_to_the_end_of_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_days: list[int] = []

    def detect(peer: str, chosen: Streams, table: pa.Table) -> dict[int, list[str]]:
        days = sorted(set(peers.day_numbers(table).tolist()))
        asked_days.extend(days)
        # The other column is never the one of the fault.
        return {day: ["bmi"] if i % 2 else ["bp"] for i, day in enumerate(days)}

    monkeypatch.setattr(peers, "detect", detect)
    planned = streams()
    cells = peers.score_fault("someone", planned, FAULT)
    assert [cell.magnitude for cell in cells] == list(FAULT_CLASSES[FAULT])
    assert set(asked_days) == {day for incident in planned.incidents[FAULT] for day in peers.overlapped_days(incident)}
    for cell in cells:
        [hours] = cell.hours
        assert hours is not None
        assert 0 < hours <= 72


def test_equal_arguments_give_equal_streams() -> None:
    first, second = streams(), streams()
    assert first.stream.equals(second.stream)
    assert first.baseline.id == second.baseline.id
    rng = np.random.default_rng(1)
    assert plan_incidents(FAULT, 60, 1, rng) != first.incidents[FAULT]
