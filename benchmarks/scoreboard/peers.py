"""What peers detect in the same streams, with their default settings: `python -m benchmarks.scoreboard.peers`.

A peer's program (`benchmarks/peers/NAME/detect.py`) reads training rows and the rows of some days, and returns the
columns that it calls drifted in each day. So a peer detects at the end of a day; whether that pages is up to its users.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.peers.environments import PeerError, install, run
from benchmarks.scoreboard.data_sets import DATA_SETS, DAY_MS, FEATURES, START_MS
from benchmarks.scoreboard.incidents import FAULT_CLASSES, Incident, affected_field
from benchmarks.scoreboard.page import PAGE, RECORD, render_page
from benchmarks.scoreboard.peer_scores import PeerCell, PeerQuiet
from benchmarks.scoreboard.scores import TRAINING_DAYS, Streams, make_streams

PEERS = ("evidently",)
PER_HOUR = 200.0
FAULTS = ("mean-shift", "scale", "null-rise", "category-new")
INCIDENTS = 1
"""Incidents of each magnitude that a peer gets, the first ones, because a report takes seconds."""
QUIET_PART_DAYS = 14
"""Days without faults that a peer gets, the first ones."""
REFERENCE_ROWS = 10_000
"""Training rows that a peer gets, at random."""


def main() -> int:
    """Run all peers on all data sets, and add their results to docs/scoreboard.json and the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoreboard.peers", description=__doc__)
    parser.add_argument("--peer", action="append", choices=PEERS, help="only this peer; repeatable")
    arguments = parser.parse_args()
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    cells: list[PeerCell] = []
    quiet: list[PeerQuiet] = []
    failures: dict[str, str] = {}
    for peer in arguments.peer or PEERS:
        try:
            install(peer)
            for name in DATA_SETS:
                streams = make_streams(name, PER_HOUR, record["repeats"], list(FAULT_CLASSES), record["seed"])
                quiet.append(_quiet(peer, streams))
                for fault in FAULTS:
                    cells += score_fault(peer, streams, fault)
                print(f"{peer}: {name}", flush=True)
        except PeerError as error:
            failures[peer] = str(error)
    record["peers"] = {
        "per_hour": PER_HOUR,
        "cells": [asdict(each) for each in cells],
        "quiet": [asdict(each) for each in quiet],
        "failures": failures,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render_page(record), encoding="utf-8")
    return 1 if failures else 0


def _quiet(peer: str, streams: Streams) -> PeerQuiet:
    drifted = detect(peer, streams, _on_days(streams.quiet, range(TRAINING_DAYS, TRAINING_DAYS + QUIET_PART_DAYS)))
    return PeerQuiet(peer, streams.data_set.name, len(drifted), sum(map(bool, drifted.values())))


def score_fault(peer: str, streams: Streams, fault: str) -> list[PeerCell]:
    magnitudes = FAULT_CLASSES[fault]
    incidents = streams.incidents[fault][: INCIDENTS * len(magnitudes)]
    faulty = streams.faulty(fault)
    drifted = detect(
        peer, streams, _on_days(faulty, {day for incident in incidents for day in overlapped_days(incident)})
    )
    name = affected_field(streams.data_set, fault)

    def hours(incident: Incident) -> float | None:
        ends_ms = [START_MS + (day + 1) * DAY_MS for day in overlapped_days(incident) if name in drifted.get(day, ())]
        return (min(ends_ms) / 1000 - incident.start_s) / 3_600 if ends_ms else None

    return [
        PeerCell(
            *(peer, streams.data_set.name, fault, magnitude),
            tuple(hours(incident) for incident in incidents if incident.magnitude == magnitude),
        )
        for magnitude in magnitudes
    ]


def _on_days(table: pa.Table, days: Iterable[int]) -> pa.Table:
    """Return the events on some days."""
    return table.filter(pa.array(np.isin(day_numbers(table), list(days))))


def day_numbers(table: pa.Table) -> np.ndarray[Any, Any]:
    """Return the number of the day of each event."""
    at_ms: np.ndarray[Any, Any] = table["at"].cast(pa.int64()).to_numpy()
    return (at_ms - START_MS) // DAY_MS


def overlapped_days(incident: Incident) -> range:
    """Return the days that an incident overlaps."""
    first = (incident.start_s * 1000 - START_MS) // DAY_MS
    return range(first, (incident.end_s * 1000 - 1 - START_MS) // DAY_MS + 1)


def detect(peer: str, streams: Streams, table: pa.Table) -> dict[int, list[str]]:
    """Run a peer on the days of a table, and return the drifted columns by day."""
    chosen = np.random.default_rng(1).choice(streams.training.num_rows, REFERENCE_ROWS, replace=False)
    reference = feature_arrays(streams.training.take(pa.array(np.sort(chosen))))
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / f"{name}.npz") for name in ("reference", "stream")}
        np.savez(paths["reference"], **reference)
        np.savez(paths["stream"], chunk=day_numbers(table), **feature_arrays(table))
        texts = [name for name, values in reference.items() if values.dtype.kind == "U"]
        numbers = [name for name in reference if name not in texts]
        result = run(peer, {**paths, "numbers": numbers, "texts": texts}, "detect")
    return {int(chunk): columns for chunk, columns in result["drifted"].items()}


def feature_arrays(table: pa.Table) -> dict[str, Any]:
    """Return the features as arrays: NaN and an empty text stand for null."""
    result: dict[str, Any] = {}
    for name in table.column_names:
        if name.startswith(FEATURES):
            column = table[name]
            is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            filled = pc.fill_null(column, "" if is_text else float("nan"))
            result[name.removeprefix(FEATURES)] = np.array(filled.to_pylist()) if is_text else filled.to_numpy()
    return result


if __name__ == "__main__":
    sys.exit(main())
