"""A replayed month of flights: contract and baseline from `infer`, events as JSON, and an oracle of the results, which
uses only the edges and categories of the baseline file and computes the rest in plain numpy."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from barograph.contract import Contract, Window
from barograph.contract.file import load_contract
from numpy.typing import NDArray

from barograph_server.examples.flights.data import read_flights
from barograph_server.examples.flights.features import FEATURES, flight_rows
from barograph_server.examples.flights.model import LATE, ON_TIME, classes, train
from barograph_server.examples.flights.replay import REPLAY_DATES, TRAINING_DATES, between
from barograph_server.profiling.infer.infer import InferOptions, infer_file
from barograph_server.profiling.infer.profile import Roles
from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, load_baseline
from tests.reference.flights_reference import RARE_CATEGORY, ReferenceBins, as_floats, smoothed_shares

WINDOWS = (Window(86_400, 3 * 3600), Window(7 * 86_400, 86_400))
MODEL, VERSION = "flight-delay", "1"
Array = NDArray[Any]


@dataclass(frozen=True)
class Flights:
    train: pa.Table
    predictions: pa.Table
    contract: Contract
    baseline: Baseline

    def month(self, prefix: str) -> pa.Table:
        dates = self.predictions["original_date"]
        return self.predictions.filter(pc.starts_with(dates, prefix))


def make_flights(folder: Path) -> Flights:
    """Prepare data, contract and baseline; one model trained on all training flights gives the scores."""
    rows = flight_rows(read_flights())
    training, replayed = between(rows, *TRAINING_DATES), between(rows, *REPLAY_DATES)
    model = train(training)
    trained, served = (
        table.select(["at", *FEATURES])
        .append_column("score", pa.array(scores := model.scores(table)))
        .append_column("class", classes(scores))
        for table in (training, replayed)
    )
    trained = trained.append_column("label", pc.if_else(training["label"], LATE, ON_TIME))
    table = folder / "train.parquet"
    pq.write_table(trained, table)
    outputs: dict[str, Any] = {"score": "score", "class_": "class", "label": "label", "latency": None}
    roles = Roles(time="at", slices=("origin", "carrier"), critical=frozenset({"temp", "dewp"}), **outputs)
    named: dict[str, Any] = {"table": table, "model": MODEL, "version": VERSION, "timezone": "America/New_York"}
    infer_file(InferOptions(**named, roles=roles, pane_s=3600, windows=WINDOWS)).write_contract(folder, force=True)
    contract = load_contract(folder / f"{MODEL}.yaml")
    baseline = load_baseline((folder / f"{MODEL}.{VERSION}.baseline.json").read_bytes(), "flights")
    contract = msgspec.structs.replace(contract, slice_min_n=1, lateness_s=600, out_of_order_s=600)
    weeks = (datetime.now(UTC) - datetime(2014, 1, 2, tzinfo=UTC)) // timedelta(weeks=1)
    renamed = [f"features.{name}" if name in FEATURES else name for name in served.column_names]
    predictions = (
        served.rename_columns(renamed)
        .set_column(0, "at", pc.add(replayed["at"], timedelta(weeks=weeks)).cast(replayed["at"].type))
        .append_column("id", replayed["id"])
        .append_column("original_date", replayed["original_date"])
    )
    return Flights(trained, predictions, contract, baseline)


def as_events(table: pa.Table) -> list[dict[str, Any]]:
    features = [name for name in table.column_names if name.startswith("features.")]
    columns = {name: table[name].to_pylist() for name in table.column_names if name != "at"}
    at = table["at"].cast(pa.int64()).to_pylist()
    return [
        {
            **{"model": MODEL, "version": VERSION, "at": at[i]},
            **{name: columns[name][i] for name in ("id", "score", "class")},
            "features": {name.removeprefix("features."): columns[name][i] for name in features},
        }
        for i in range(table.num_rows)
    ]


def delayed(events: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    arrival = [event["at"] + (rng.randrange(3 * 3_600_000) if rng.random() < 0.1 else 0) for event in events]
    return [events[i] for i in np.argsort(arrival, kind="stable").tolist()]


@dataclass(frozen=True)
class Expected:
    panes: dict[tuple[str, str, int], tuple[int, int, tuple[int, ...]]]
    """(slice, field, pane start) → n, nulls, cells."""
    psi: dict[tuple[str, str, str, int], tuple[int, float]]
    """(slice, field, window name, window end) → n, PSI."""
    values: dict[tuple[str, int], Array]
    """(numeric field, pane start) → its values in the slice `all`, ascending."""


def oracle(flights: Flights, table: pa.Table) -> Expected:
    at_s = table["at"].cast(pa.int64()).to_numpy() // 1000
    pane = at_s // 3600 * 3600
    first, last = int(pane.min()), int(pane.max()) + 3600
    ends = {
        window.name: np.arange(
            -(-(first + 1) // window.hop_s) * window.hop_s,
            # A fiftieth of the last window may lie after the last event (docs/decisions/0013).
            (last + window.length_s // 50) // window.hop_s * window.hop_s + 1,
            window.hop_s,
        )
        for window in WINDOWS
    }
    trained = {f"{d.name}": list(d.values) for d in flights.baseline.dimensions}
    masks = {"all": (np.ones(len(at_s), bool), np.ones(flights.train.num_rows, bool))}
    for name, values in trained.items():
        served, training = table[f"features.{name}"].to_pylist(), flights.train[name].to_pylist()
        for value in [*values, "other"]:
            names = set(values) if value == "other" else {value}
            masks[f"{name}={value}"] = _among(served, names, value), _among(training, names, value)
    panes: dict[tuple[str, str, int], tuple[int, int, tuple[int, ...]]] = {}
    psi: dict[tuple[str, str, str, int], tuple[int, float]] = {}
    ordered: dict[tuple[str, int], Array] = {}
    distinct, at_pane = np.unique(pane, return_inverse=True)
    for field in flights.baseline.fields:
        served_name = field.name if field.name in ("score", "class") else f"features.{field.name}"
        cells = _bins(field).cells(table[served_name])
        if field.kind == "numeric":
            ordered |= _values_by_pane(field.name, table[served_name], distinct, at_pane)
        base_cells = _bins(field).cells(flights.train[field.name])
        width = field.n_cells
        for name, (mask, base_mask) in masks.items():
            counts = np.zeros((len(distinct), width), dtype=np.int64)
            np.add.at(counts, (at_pane[mask], cells[mask]), 1)
            for start, row in zip(distinct.tolist(), counts.tolist(), strict=True):
                if sum(row):
                    panes[name, field.name, start] = sum(row), row[-1], tuple(row)
            base = np.bincount(base_cells[base_mask], minlength=width)
            if not base.sum():
                continue
            for window in WINDOWS:
                for end in ends[window.name].tolist():
                    inside = (distinct >= end - window.length_s) & (distinct < end)
                    c = counts[inside].sum(axis=0)
                    if c.sum():
                        psi[name, field.name, window.name, end] = int(c.sum()), _psi(field.kind, base, c)
    return Expected(panes, psi, ordered)


def _values_by_pane(name: str, column: pa.ChunkedArray, panes: Array, at_pane: Array) -> dict[tuple[str, int], Array]:
    numbers = as_floats(column)
    result = {}
    for i, start in enumerate(panes.tolist()):
        of_pane = numbers[at_pane == i]
        of_pane = np.sort(of_pane[~np.isnan(of_pane)])
        if len(of_pane):
            result[name, start] = of_pane
    return result


def _among(column: list[Any], names: set[str], value: str) -> Array:
    return np.array([(v in names) != (value == "other") for v in column])


def _bins(field: FieldBaseline) -> ReferenceBins:
    return ReferenceBins(None if field.kind == "category" else np.array(field.edges), field.categories)


def _psi(kind: str, base: Array, window: Array) -> float:
    if kind == "category":
        rare = base[:-2] / base.sum() < RARE_CATEGORY
        base, window = (np.array([*c[:-2][~rare], c[:-2][rare].sum() + c[-2], c[-1]]) for c in (base, window))
    p, q, *_ = smoothed_shares(base, window)
    return float(((q - p) * np.log(q / p)).sum())
