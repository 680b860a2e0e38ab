"""Write the files of the demo: training tables, the predictions of August to December, and their labels.

From October on, a candidate (version 2, arm b), which has no weather features, answers a tenth of the flights. A hash
of the flight's id selects them, so that runs are reproducible. The flights of a day (UTC) are scored in one call, whose
duration on this machine is the latency of each prediction: only the latency differs between runs.

Training tables keep their times. Predictions and labels are moved forward by the same whole number of weeks, so that
the last flight has just landed and every event keeps its hour of the week.
"""

import time
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from barograph_server.examples.flights.data import UTC_MS, read_flights
from barograph_server.examples.flights.features import FEATURES, WEATHER, flight_rows
from barograph_server.examples.flights.model import (
    LATE,
    ON_TIME,
    DelayModel,
    FloatArray,
    auc,
    classes,
    out_of_fold_scores,
    train,
)

TRAINING_DATES = ("2013-06-01", "2013-07-31")
REPLAY_DATES = ("2013-08-01", "2013-12-31")
CANDIDATE_FROM = "2013-10-01"
"""The first local date on which the candidate answers."""
CONTROL, CANDIDATE = "1", "2"
"""Versions of the models."""
ARM_SHARES = {"a": 0.9, "b": 0.1}
"""Arm → share of flights: the control and the candidate."""
CANDIDATE_FEATURES = tuple(name for name in FEATURES if name not in WEATHER)
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
ROW_GROUP_ROWS = 20_000
"""Rows per row group, small enough for several row groups per file."""


@dataclass(frozen=True)
class FlightsTables:
    """The demo's data and facts about them."""

    train: pa.Table
    """Features under their own names, `score` (out of fold), `class`, `label`, `at`; rows in order of `at`."""
    candidate_train: pa.Table
    """The same with the candidate's scores and classes."""
    predictions: pa.Table
    """`id`, `at`, `version`, `arm`, `context.original_date`, `features.NAME`, `score`, `class`, `latency_ms`; in order
    of `at`."""
    labels: pa.Table
    """`id`, `label` (a class, as predictions have it), `at` (the landing); rows in order of `at`."""
    shift_weeks: int
    out_of_fold_auc: float
    held_out_auc: float
    """AUC in the replayed months, which are not in the training data."""


@dataclass(frozen=True)
class FlightsFiles:
    tables: FlightsTables
    train: Path
    candidate_train: Path
    predictions: Path
    labels: Path


def prepare(out_dir: Path, now: datetime) -> FlightsFiles:
    """Train both models, replay the months after training, and write all tables as Parquet files.

    Args:
        out_dir: the folder, which is created if it is missing; existing files are replaced.
        now: the time after which there are no events; with a time zone.

    Raises:
        DemoDataMissingError: the data set is not installed.
        ValueError: `now` has no time zone.
    """
    tables = build(flight_rows(read_flights()), now)
    out_dir.mkdir(parents=True, exist_ok=True)
    names = ("train", "train-candidate", "predictions", "labels")
    paths = [out_dir / f"{name}.parquet" for name in names]
    written = (tables.train, tables.candidate_train, tables.predictions, tables.labels)
    for path, table in zip(paths, written, strict=True):
        pq.write_table(table, path, row_group_size=ROW_GROUP_ROWS)
    return FlightsFiles(tables, *paths)


def build(rows: pa.Table, now: datetime) -> FlightsTables:
    """Build the tables of the demo from the rows of `features.flight_rows`.

    Raises:
        ValueError: `now` has no time zone.
    """
    check_time_zone(now)
    training, replayed = between(rows, *TRAINING_DATES), between(rows, *REPLAY_DATES)
    shift_weeks = whole_weeks_before(now, replayed)
    model, candidate = train(training), train(training, CANDIDATE_FEATURES)
    baseline_scores = out_of_fold_scores(training)
    on_candidate = answered_by_candidate(replayed)
    control_scores, control_ms = answers(model, replayed)
    candidate_scores, candidate_ms = answers(candidate, replayed.filter(pa.array(on_candidate)))
    replayed_scores, latency_ms = control_scores.copy(), control_ms
    replayed_scores[on_candidate], latency_ms[on_candidate] = candidate_scores, candidate_ms
    arm = pa.array(on_candidate.astype(np.int8))
    return FlightsTables(
        train=training_table(training, baseline_scores),
        candidate_train=training_table(training, out_of_fold_scores(training, CANDIDATE_FEATURES)),
        predictions=pa.table(
            {
                "id": replayed["id"],
                "at": shifted(replayed["at"], shift_weeks),
                "version": pa.DictionaryArray.from_arrays(arm, [CONTROL, CANDIDATE]).cast(pa.string()),
                "arm": pa.DictionaryArray.from_arrays(arm, list(ARM_SHARES)).cast(pa.string()),
                "context.original_date": replayed["original_date"],
            }
            | {f"features.{name}": replayed[name] for name in FEATURES}
            | {"score": replayed_scores, "class": classes(replayed_scores), "latency_ms": latency_ms}
        ),
        labels=label_table(replayed, shift_weeks),
        shift_weeks=shift_weeks,
        out_of_fold_auc=auc(training, baseline_scores),
        held_out_auc=auc(replayed, control_scores),
    )


def check_time_zone(now: datetime) -> None:
    """Check that a time has a time zone.

    Raises:
        ValueError: it has none.
    """
    if now.tzinfo is None:
        raise ValueError(f"now={now.isoformat()} has no time zone; pass one, such as datetime.now(UTC).")


def whole_weeks_before(now: datetime, served: pa.Table) -> int:
    """Return the weeks by which flights can move forward so that all have landed by a time with a time zone."""
    labelled = served.filter(served["label"].is_valid())
    last_ms = max(pc.max(times.cast(pa.int64())).as_py() for times in (served["at"], labelled["landed_at"]))
    return int((round(now.timestamp() * 1000) - last_ms) // WEEK_MS)


def label_table(served: pa.Table, weeks: int) -> pa.Table:
    """Return the labels of the flights that landed, moved forward by some weeks, in order of the landing."""
    landed = served.filter(served["label"].is_valid()).sort_by([("landed_at", "ascending"), ("id", "ascending")])
    return pa.table({"id": landed["id"], "label": _named(landed["label"]), "at": shifted(landed["landed_at"], weeks)})


def answered_by_candidate(rows: pa.Table) -> NDArray[np.bool_]:
    """Whether the candidate answers each flight, shape (n_rows,)."""
    begun = pc.greater_equal(rows["original_date"], CANDIDATE_FROM).to_numpy(zero_copy_only=False)
    position = np.array([zlib.crc32(flight.encode()) for flight in rows["id"].to_pylist()], dtype=np.float64) / 2**32
    answered: NDArray[np.bool_] = begun & (position >= ARM_SHARES["a"])
    return answered


def training_table(training: pa.Table, scores: NDArray[np.float64]) -> pa.Table:
    """Return the columns that `infer` reads: features, scores, classes and labels."""
    return pa.table(
        {name: training[name] for name in ("at", *FEATURES)}
        | {"score": scores, "class": classes(scores), "label": _named(training["label"])}
    )


def answers(model: DelayModel, rows: pa.Table) -> tuple[FloatArray, FloatArray]:
    """Score rows in order of `at`, one call per day (UTC): scores and latencies (ms), each of shape (n_rows,)."""
    day = rows["at"].cast(pa.int64()).to_numpy() // DAY_MS
    starts = np.flatnonzero(np.diff(day, prepend=-1))
    scores, latency_ms = np.empty(rows.num_rows), np.empty(rows.num_rows)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), rows.num_rows], strict=True):
        began_s = time.perf_counter()
        scores[start:end] = model.scores(rows.slice(start, end - start))
        latency_ms[start:end] = 1000 * (time.perf_counter() - began_s)
    return scores, latency_ms


def _named(late: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels as classes of predictions; null stays null."""
    return pc.if_else(late, LATE, ON_TIME)


def between(rows: pa.Table, first_date: str, last_date: str) -> pa.Table:
    """The flights between two local dates, inclusive."""
    date = rows["original_date"]
    return rows.filter(pc.and_(pc.greater_equal(date, first_date), pc.less_equal(date, last_date)))


def shifted(times: pa.ChunkedArray, weeks: int) -> pa.ChunkedArray:
    return pc.add(times.cast(pa.int64()), weeks * WEEK_MS).cast(UTC_MS)
