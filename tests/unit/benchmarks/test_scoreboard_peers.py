"""What peers get, and how their detections are counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.scoreboard import peer_rows, peers
from benchmarks.scoreboard.data_sets import DAY_MS, START_MS
from benchmarks.scoreboard.incidents import FAULT_CLASSES, Incident, plan_incidents
from benchmarks.scoreboard.scores import Streams, make_streams

DAY_S = DAY_MS // 1000
FAULT = "mean-shift"


def streams() -> Streams:
    return make_streams("diabetes", 20.0, 1, [FAULT], 3)


def test_an_incident_overlaps_whole_and_partial_days() -> None:
    start_s = START_MS // 1000 + 3 * DAY_S
    assert list(peer_rows.overlapped_days(Incident(1.0, start_s, start_s + 2 * DAY_S))) == [3, 4]
    assert list(peer_rows.overlapped_days(Incident(1.0, start_s + 60, start_s + 2 * DAY_S + 60))) == [3, 4, 5]


def test_nulls_are_nan_or_an_empty_text() -> None:
    table = pa.table({"at": [1, 2], "features.x": pa.array([1.5, None]), "features.c": pa.array([None, "a"])})
    columns = peer_rows.feature_arrays(table)
    assert set(columns) == {"x", "c"}
    assert columns["c"].tolist() == ["", "a"]
    np.testing.assert_array_equal(columns["x"], [1.5, np.nan])


def test_chunks_are_days_of_streams() -> None:
    quiet = streams().quiet
    first = int(peer_rows.day_numbers(quiet)[0])
    table, n_chunks = peer_rows.chunked([(quiet, [first + 2, first, first]), (quiet, [first + 1])])
    assert n_chunks == [2, 1]
    days = dict(zip(table["chunk"].to_pylist(), peer_rows.day_numbers(table).tolist(), strict=True))
    assert days == {0: first, 1: first + 2, 2: first + 1}


def test_a_peer_of_days_detects_at_the_end_of_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(folder: str, parameters: dict[str, Any], program: str, timeout_s: float) -> dict[str, Any]:
        with np.load(parameters["stream"]) as stream:
            chunks = np.unique(stream["chunk"]).tolist()
        # Every other day; the other column is never the one of the fault.
        return {"drifted": {str(i): ["bmi"] if i % 2 else ["bp"] for i in chunks}, "versions": {"someone": "1.2"}}

    monkeypatch.setattr(peers, "run", run)
    planned = streams()
    peer = peers.Peer("someone", "someone", 1, 10, (FAULT,))
    quiet, cells, version = peers.score_days(peer, planned, {FAULT: planned.faulty(FAULT)})
    assert (quiet.days, quiet.drifted_days, version) == (10, 10, "1.2")
    assert [cell.magnitude for cell in cells] == list(FAULT_CLASSES[FAULT])
    for incident, cell in zip(planned.incidents[FAULT], cells, strict=True):
        [hours] = cell.hours
        assert hours is not None
        end_s = incident.start_s + hours * 3_600
        assert (end_s - START_MS / 1000) % DAY_S == pytest.approx(0, abs=1e-3)
        assert incident.start_s < end_s < incident.end_s + DAY_S


def test_a_drift_of_another_column_is_no_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(folder: str, parameters: dict[str, Any], program: str, timeout_s: float) -> dict[str, Any]:
        return {"drifted": {str(i): ["bp"] for i in range(100)}, "versions": {"someone": "1.2"}}

    monkeypatch.setattr(peers, "run", run)
    planned = streams()
    peer = peers.Peer("someone", "someone", 1, 10, (FAULT,))
    quiet, cells, _ = peers.score_days(peer, planned, {FAULT: planned.faulty(FAULT)})
    assert quiet.drifted_days == 10
    assert [cell.hours for cell in cells] == [(None,)] * 4


def test_a_detector_of_events_detects_while_the_incident_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = streams()
    first, second, *_ = planned.incidents[FAULT]
    at_s = planned.quiet["at"].cast("int64").to_numpy() / 1000
    # Before the first incident, twice in the second, and after it.
    moments = [first.start_s - 3_600, second.start_s + 3_600, second.start_s + 7_200, second.end_s + 3_600]

    def run(folder: str, parameters: dict[str, Any], program: str, timeout_s: float) -> dict[str, Any]:
        indices = np.searchsorted(at_s, moments).tolist()
        return {"changes": {"bmi": indices, "bp": [0]}, "versions": {"someone": "1.2"}}

    monkeypatch.setattr(peers, "run", run)
    peer = peers.Peer("someone", "someone", 1, 30, (FAULT, "category-new"))
    quiet, cells, _ = peers.score_events(peer, planned, {FAULT: planned.faulty(FAULT)})
    assert quiet.drifted_days == len({int(day) for day in (np.array(moments) - at_s[0]) // DAY_S} | {0})
    assert [cell.fault for cell in cells] == [FAULT] * 4
    none, late, *others = (cell.hours[0] for cell in cells)
    assert none is None
    assert late == pytest.approx(1.0, abs=0.3)
    assert others == [None, None]


def test_equal_arguments_give_equal_streams() -> None:
    first, second = streams(), streams()
    assert first.quiet.equals(second.quiet)
    assert first.baseline.id == second.baseline.id
    rng = np.random.default_rng(1)
    assert plan_incidents(FAULT, 60, 1, rng) != first.incidents[FAULT]
