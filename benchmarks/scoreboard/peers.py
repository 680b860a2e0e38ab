"""What peers detect in the same streams, with their default settings: `python -m benchmarks.scoreboard.peers`.

A peer's program (`benchmarks/peers/NAME/detect.py`) reads training rows and the rows of some days, and returns the
columns that it calls drifted in each day; River's detectors read all events in their order. Whether a detection pages
is up to the users of a peer.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.peers.child import CHUNK
from benchmarks.peers.environments import PeerError, install, run, version
from benchmarks.scoreboard.data_sets import DATA_SETS, DAY_MS, FEATURES, START_MS
from benchmarks.scoreboard.incidents import FAULT_CLASSES, Incident, affected_field
from benchmarks.scoreboard.page import RECORD, write_page
from benchmarks.scoreboard.results import PeerCell, PeerQuiet, PeerRun
from benchmarks.scoreboard.scores import TRAINING_DAYS, Streams, make_streams

PER_HOUR = 200.0
REFERENCE_ROWS = 10_000
"""Training rows that a peer gets, at random, in the order of time."""
TIMEOUT_S = 1_200.0
"""Longest time of a peer's program for one data set."""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    folder: str
    """In `benchmarks/peers/`."""
    incidents: int = 4
    """Incidents of each magnitude that it gets, the first ones."""
    quiet_days: int = 30
    """Days without faults that it gets, the first ones."""
    faults: tuple[str, ...] = tuple(FAULT_CLASSES)
    detector: str = ""
    """A detector that reads event by event; empty for a peer that compares days."""


PEERS = {
    each.name: each
    for each in (
        # A report of Evidently takes seconds, most of them for pictures.
        Peer("evidently", "evidently", 1, 14, ("mean-shift", "scale", "null-rise", "category-new")),
        Peer("nannyml", "nannyml"),
        Peer("whylogs", "whylogs"),
        Peer("alibi-detect", "alibi_detect"),
        Peer("river-adwin", "river", detector="ADWIN"),
        Peer("river-page-hinkley", "river", detector="PageHinkley"),
    )
}


@dataclass(frozen=True, slots=True)
class Detection:
    """Columns that a peer calls drifted in the events of a day, known at its end, or at one event (Unix seconds)."""

    begin_s: float
    end_s: float
    columns: Sequence[str]


@dataclass(slots=True)
class PeerResult:
    cells: list[PeerCell] = field(default_factory=list)
    quiet: list[PeerQuiet] = field(default_factory=list)
    version: str = ""
    seconds: float = 0.0
    failure: str = ""


def main() -> int:
    """Run peers on all data sets, and add their results to docs/scoreboard.json and the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoreboard.peers", description=__doc__)
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="only this peer; repeatable")
    arguments = parser.parse_args()
    results = {name: PeerResult() for name in arguments.peer or PEERS}
    for name, result in results.items():
        try:
            result.version = version(PEERS[name].folder)
            install(PEERS[name].folder)
        except PeerError as error:
            result.failure = str(error)
            _store(name, result)
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    for data_set in DATA_SETS:
        streams = make_streams(data_set, PER_HOUR, record["repeats"], list(FAULT_CLASSES), record["seed"])
        faulty = {fault: streams.faulty(fault) for fault in FAULT_CLASSES}
        for name, result in results.items():
            if not result.failure:
                _score(PEERS[name], streams, faulty, result)
                _store(name, result)
                print(f"{data_set}, {name}: {result.failure or f'{result.seconds:,.0f} s'}", flush=True)
    return 1 if any(result.failure for result in results.values()) else 0


def _score(peer: Peer, streams: Streams, faulty: Mapping[str, pa.Table], result: PeerResult) -> None:
    """Add the results for one data set, or why there are none."""
    began = time.monotonic()
    try:
        result.quiet.append(score_quiet(peer, streams))
        result.cells += [cell for fault in peer.faults for cell in score_fault(peer, streams, fault, faulty[fault])]
    except PeerError as error:
        result.failure = str(error)
    result.seconds += time.monotonic() - began


def _store(name: str, result: PeerResult) -> None:
    """Replace the results of one peer in the record, and write the page again."""
    run_of_peer = PeerRun(name, result.version, round(result.seconds), result.failure)
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    peers = record["peers"]
    order = list(PEERS)
    for kind, rows in (("cells", result.cells), ("quiet", result.quiet), ("runs", [run_of_peer])):
        others = [each for each in peers.get(kind, []) if each["peer"] != name]
        peers[kind] = sorted([*others, *map(asdict, rows)], key=lambda each: order.index(each["peer"]))
    peers["per_hour"] = PER_HOUR
    write_page(record)


def score_quiet(peer: Peer, streams: Streams) -> PeerQuiet:
    """Count the days without faults on which a peer calls a column drifted."""
    days = range(TRAINING_DAYS, TRAINING_DAYS + peer.quiet_days)
    drifted = {_day(each.begin_s) for each in detect(peer, streams, streams.quiet, days)}
    return PeerQuiet(peer.name, streams.data_set.name, len(days), len(drifted & set(days)))


def score_fault(peer: Peer, streams: Streams, fault: str, table: pa.Table) -> Iterator[PeerCell]:
    """Score the first incidents of a stream, all magnitudes alike."""
    name, magnitudes = affected_field(streams.data_set, fault), FAULT_CLASSES[fault]
    if peer.detector and name == streams.data_set.category:
        return
    incidents = streams.incidents[fault][: peer.incidents * len(magnitudes)]
    days = {day for each in incidents for day in range(_day(each.start_s), _day(each.end_s - 1e-3) + 1)}
    own = [each for each in detect(peer, streams, table, days) if name in each.columns]
    for magnitude in magnitudes:
        hours = tuple(_hours(each, own) for each in incidents if each.magnitude == magnitude)
        yield PeerCell(peer.name, streams.data_set.name, fault, magnitude, hours)


def _hours(incident: Incident, detections: Iterable[Detection]) -> float | None:
    """Return the hours to the first detection in events of an incident."""
    is_own = (each for each in detections if each.begin_s < incident.end_s and each.end_s > incident.start_s)
    first_s = min((each.end_s for each in is_own), default=None)
    return None if first_s is None else (first_s - incident.start_s) / 3_600


def detect(peer: Peer, streams: Streams, table: pa.Table, days: Iterable[int]) -> list[Detection]:
    """Run a peer's program on some days of a stream, or on all events if it reads event by event."""
    at_s = table["at"].cast(pa.int64()).to_numpy() / 1000
    day = np.array([_day(each) for each in at_s])
    rows = table.append_column(CHUNK, pa.array(day))
    if not peer.detector:
        rows = rows.filter(pa.array(np.isin(day, list(days))))
    with tempfile.TemporaryDirectory() as folder:
        parameters = write_rows(Path(folder), streams.training, rows)
        result = run(peer.folder, {**parameters, "detector": peer.detector}, "detect", TIMEOUT_S)
    if peer.detector:
        return [Detection(at_s[i], at_s[i], [name]) for name, changes in result["changes"].items() for i in changes]
    starts_s = {name: (START_MS + int(name) * DAY_MS) / 1000 for name, columns in result["drifted"].items() if columns}
    return [Detection(start, start + DAY_MS / 1000, result["drifted"][name]) for name, start in starts_s.items()]


def _day(at_s: float) -> int:
    """Return the number of the day of a moment (Unix seconds)."""
    return int((at_s * 1000 - START_MS) // DAY_MS)


def write_rows(folder: Path, training: pa.Table, stream: pa.Table) -> dict[str, Any]:
    """Write training rows and the rows to judge, and return the parameters that a peer's program takes."""
    chosen = np.random.default_rng(1).choice(training.num_rows, min(REFERENCE_ROWS, training.num_rows), replace=False)
    sample = training.take(pa.array(np.sort(chosen)))
    days = [_day(each / 1000) for each in sample["at"].cast(pa.int64()).to_pylist()]
    reference = feature_arrays(sample.append_column(CHUNK, pa.array(days)))
    paths = {name: str(folder / f"{name}.npz") for name in ("reference", "stream")}
    np.savez(paths["reference"], **reference)
    np.savez(paths["stream"], **feature_arrays(stream))
    texts = [name for name, values in reference.items() if values.dtype.kind == "U"]
    numbers = [name for name in reference if name not in (*texts, CHUNK)]
    return {**paths, "numbers": numbers, "texts": texts}


def feature_arrays(table: pa.Table) -> dict[str, Any]:
    """Return the features and the chunk as arrays: NaN and an empty text stand for null."""
    result: dict[str, Any] = {}
    for name in table.column_names:
        if name.startswith(FEATURES) or name == CHUNK:
            column = table[name]
            is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            filled = pc.fill_null(column, "") if is_text else column
            if pa.types.is_floating(column.type):
                filled = pc.fill_null(column, float("nan"))
            result[name.removeprefix(FEATURES)] = np.array(filled.to_pylist()) if is_text else filled.to_numpy()
    return result


if __name__ == "__main__":
    sys.exit(main())
