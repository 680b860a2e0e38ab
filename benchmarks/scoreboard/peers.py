"""What peers detect in the same streams, with their default settings: `python -m benchmarks.scoreboard.peers`.

A peer's program (`benchmarks/peers/NAME/detect.py`) reads training rows and the rows of some days, and returns the
columns that it calls drifted in each day; River's detectors read all events in their order. Whether a detection pages
is up to the users of a peer.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
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
    """How a peer takes part."""

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


@dataclass(slots=True)
class PeerResult:
    """The results of a peer so far."""

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
        score = score_events if peer.detector else score_days
        quiet, cells = score(peer, streams, faulty)
        result.quiet.append(quiet)
        result.cells += cells
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


def score_days(peer: Peer, streams: Streams, faulty: Mapping[str, pa.Table]) -> tuple[PeerQuiet, list[PeerCell]]:
    """Score a peer that compares days with training: it detects at the end of a day."""
    quiet_days = range(TRAINING_DAYS, TRAINING_DAYS + peer.quiet_days)
    incidents = {fault: _first(peer, streams, fault) for fault in peer.faults}
    days = {fault: [day for each in chosen for day in overlapped_days(each)] for fault, chosen in incidents.items()}
    table, n_chunks = chunked([(streams.quiet, quiet_days), *((faulty[fault], days[fault]) for fault in peer.faults)])
    result = _detect(peer, streams, table)
    drifted = [result["drifted"].get(str(i), []) for i in range(sum(n_chunks))]
    quiet = drifted[: n_chunks[0]]
    cells: list[PeerCell] = []
    first = n_chunks[0]
    for fault, n in zip(peer.faults, n_chunks[1:], strict=True):
        name = affected_field(streams.data_set, fault)
        of_day = dict(zip(sorted(set(days[fault])), drifted[first : first + n], strict=True))
        ends_s = [_end_s(day) for day in of_day if name in of_day[day]]
        overlapping = {each: {_end_s(day) for day in overlapped_days(each)} for each in incidents[fault]}
        hours = [_first_hours(each, (end for end in ends_s if end in overlapping[each])) for each in incidents[fault]]
        cells += _cells(peer, streams, fault, incidents[fault], hours)
        first += n
    return PeerQuiet(peer.name, streams.data_set.name, len(quiet), sum(map(bool, quiet))), cells


def score_events(peer: Peer, streams: Streams, faulty: Mapping[str, pa.Table]) -> tuple[PeerQuiet, list[PeerCell]]:
    """Score a peer that reads event by event; it does not follow columns of texts."""
    result = _detect(peer, streams, streams.quiet)
    number = day_numbers(streams.quiet)
    changed = {int(number[i]) for indices in result["changes"].values() for i in indices}
    n_quiet = sum(day < TRAINING_DAYS + peer.quiet_days for day in changed)
    cells: list[PeerCell] = []
    for fault in peer.faults:
        name = affected_field(streams.data_set, fault)
        if name == streams.data_set.category:
            continue
        result = _detect(peer, streams, faulty[fault])
        at_s = faulty[fault]["at"].cast(pa.int64()).to_numpy() / 1000
        times_s = [float(at_s[i]) for i in result["changes"][name]]
        incidents = _first(peer, streams, fault)
        hours = [_first_hours(each, (at for at in times_s if each.start_s <= at < each.end_s)) for each in incidents]
        cells += _cells(peer, streams, fault, incidents, hours)
    return PeerQuiet(peer.name, streams.data_set.name, peer.quiet_days, n_quiet), cells


def _first(peer: Peer, streams: Streams, fault: str) -> list[Incident]:
    """Return the first incidents of a stream, all magnitudes alike."""
    return streams.incidents[fault][: peer.incidents * len(FAULT_CLASSES[fault])]


def _end_s(day: int) -> float:
    return (START_MS + (day + 1) * DAY_MS) / 1000


def _first_hours(incident: Incident, times_s: Iterable[float]) -> float | None:
    first_s = min(times_s, default=None)
    return None if first_s is None else (first_s - incident.start_s) / 3_600


def _cells(
    peer: Peer, streams: Streams, fault: str, incidents: Sequence[Incident], hours: Sequence[float | None]
) -> list[PeerCell]:
    pairs = list(zip(incidents, hours, strict=True))
    return [
        PeerCell(
            *(peer.name, streams.data_set.name, fault, magnitude),
            tuple(each for incident, each in pairs if incident.magnitude == magnitude),
        )
        for magnitude in FAULT_CLASSES[fault]
    ]


def _detect(peer: Peer, streams: Streams, table: pa.Table) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        parameters = write_rows(Path(folder), streams.training, table)
        return run(peer.folder, {**parameters, "detector": peer.detector}, "detect", TIMEOUT_S)


def write_rows(folder: Path, training: pa.Table, stream: pa.Table) -> dict[str, Any]:
    """Write training rows and the rows to judge, and return the parameters that a peer's program takes."""
    chosen = np.random.default_rng(1).choice(training.num_rows, min(REFERENCE_ROWS, training.num_rows), replace=False)
    sample = training.take(pa.array(np.sort(chosen)))
    reference = feature_arrays(sample.append_column(CHUNK, pa.array(day_numbers(sample))))
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


def chunked(sources: Iterable[tuple[pa.Table, Iterable[int]]]) -> tuple[pa.Table, list[int]]:
    """Return the rows of some days of some streams, each day as one chunk, and the number of chunks of each stream."""
    parts: list[pa.Table] = []
    n_chunks: list[int] = []
    for table, days in sources:
        number = day_numbers(table)
        first = sum(n_chunks)
        chosen = sorted(set(days))
        n_chunks.append(len(chosen))
        for i, day in enumerate(chosen):
            rows = table.filter(pa.array(number == day))
            parts.append(rows.append_column(CHUNK, pa.array(np.full(rows.num_rows, first + i))))
    return pa.concat_tables(parts), n_chunks


def day_numbers(table: pa.Table) -> np.ndarray[Any, Any]:
    """Return the number of the day of each event."""
    at_ms: np.ndarray[Any, Any] = table["at"].cast(pa.int64()).to_numpy()
    return (at_ms - START_MS) // DAY_MS


def overlapped_days(incident: Incident) -> range:
    """Return the days that an incident overlaps."""
    first = (incident.start_s * 1000 - START_MS) // DAY_MS
    return range(first, (incident.end_s * 1000 - 1 - START_MS) // DAY_MS + 1)


if __name__ == "__main__":
    sys.exit(main())
