"""Mistakes planted in the data of real flights are identified, and fields without mistakes have no skew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from cli.main import main
from examples.flights.data import read_flights
from examples.flights.features import FEATURES, flight_rows

CONTRACT = """
contract: 1
model: flight-delay
fields:
  temp: {type: float, unit: °F}
  dewp: {type: float}
  humid: {type: float}
  visib: {type: float, unit: miles}
  wind_speed: {type: float}
  wind_gust: {type: float}
  pressure: {type: float}
  wind_dir: {type: int}
  precip: {type: float}
  time_of_day: {type: int}
  block_min: {type: int}
  distance: {type: int, unit: miles}
  age: {type: int}
  seats: {type: int}
  engines: {type: int}
  engine: {type: category}
  manufacturer: {type: category, pii: hash}
  carrier: {type: category}
  origin: {type: category}
  dest: {type: category}
  recent_block: {type: float}
  traffic: {type: int}
"""
WINDOW = 50
"""Flights of one origin over which training averages block times."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Flights:
    """The flights of June and July with two features over time, and variants with mistakes."""

    def __init__(self) -> None:
        rows = flight_rows(read_flights())
        months = pc.month(rows["at"])
        keep = pc.and_(pc.greater_equal(months, 6), pc.less_equal(months, 7))
        table = rows.filter(keep).select(["id", "at", *FEATURES])
        self.at_ms = table["at"].cast(pa.int64()).to_numpy()
        self.origin = np.array(table["origin"].to_pylist())
        self.block = table["block_min"].to_numpy().astype(np.float64)
        self.table = table.append_column("recent_block", [self.mean_block(WINDOW)]).append_column(
            "traffic", [self.departures(DAY_MS)]
        )
        # The weather of an hour ago: stations take one reading per hour.
        temps = table["temp"].to_pylist()
        stations = list(zip(self.origin.tolist(), (self.at_ms // HOUR_MS).tolist(), strict=True))
        readings = dict(zip(stations, temps, strict=True))
        self.temp_of_an_hour_ago = [
            readings.get((origin, hour - 1), temp) for (origin, hour), temp in zip(stations, temps, strict=True)
        ]

    def mean_block(self, rows: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Compute the mean block time of the last flights of the same origin, including the flight itself."""
        means = np.empty(len(self.block))
        for origin in ("EWR", "JFK", "LGA"):
            own = np.flatnonzero(self.origin == origin)
            padded = np.concatenate([np.full(rows - 1, np.nan), self.block[own]])
            means[own] = np.nanmean(sliding_window_view(padded, rows), axis=1)
        return means

    def departures(self, span_ms: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Count the flights of the same origin in the span up to this one, including itself."""
        counts = np.empty(len(self.block), np.int64)
        for origin in ("EWR", "JFK", "LGA"):
            own = np.flatnonzero(self.origin == origin)
            times = self.at_ms[own]
            counts[own] = np.arange(1, len(own) + 1) - np.searchsorted(times, times - span_ms, side="right")
        return counts


@pytest.fixture(scope="module")
def flights() -> Flights:
    return Flights()


Skewed = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def skew(
    flights: Flights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Skewed:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(CONTRACT)
    pq.write_table(flights.table, "train.parquet", row_group_size=10_000)

    def compared(served: pa.Table, *words: str) -> tuple[int, dict[str, Any]]:
        # Serving logs its answers in an order of its own.
        order = np.random.default_rng(3).permutation(served.num_rows)
        pq.write_table(served.take(pa.array(order)), "served.parquet")
        sides = ("--served", "served.parquet", "--recomputed", "train.parquet", "--contract", "m.yaml", "--json")
        with pytest.raises(SystemExit) as end:
            main(["skew", *sides, "--by", "origin", "--time", "at", *words])
        return int(end.value.code or 0), json.loads(capsys.readouterr().out)

    return compared


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, [pa.array(values)])


def numbers(table: pa.Table, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    values: np.ndarray[Any, np.dtype[np.float64]] = table[name].cast(pa.float64()).to_numpy()
    return values


def test_identical_sides_have_no_skew_and_32_bit_floats_are_noted(skew: Skewed, flights: Flights) -> None:
    code, report = skew(with_column(flights.table, "temp", numbers(flights.table, "temp").astype(np.float32)))
    assert (code, report["compared_rows"], report["not_compared"]) == (0, flights.table.num_rows, {})
    assert {each["field"] for each in report["fields"]} == {*FEATURES, "recent_block", "traffic"}
    assert not any(each["mismatched"] for each in report["fields"])
    ((field, precision),) = [(each["field"], each["precision"]) for each in report["fields"] if each["precision"]]
    assert field == "temp"
    assert "served values are 32-bit floats" in precision


Plant = tuple[str, str, str, Callable[[Flights], Any]]
"""Field, kind, the begin of the explanation, and the served values."""

PLANTS: tuple[Plant, ...] = (
    (
        "temp",
        "linear",
        "served = 0.5555556 · recomputed − 17.77778 (degrees Fahrenheit → degrees Celsius)",
        lambda f: (numbers(f.table, "temp") - 32) / 1.8,
    ),
    (
        "distance",
        "constant factor",
        "served = recomputed × 1609.344 (miles → metres)",
        lambda f: numbers(f.table, "distance") * 1609.344,
    ),
    (
        "wind_gust",
        "null handling",
        "served is 0 where recomputed is null",
        lambda f: np.nan_to_num(numbers(f.table, "wind_gust")),
    ),
    (
        "time_of_day",
        "constant offset",
        "served = recomputed + 240, wrapping at 1440 (+4 h: another time zone?)",
        lambda f: (numbers(f.table, "time_of_day") + 240) % 1440,
    ),
    (
        "traffic",
        "other window length",
        "served is the count of rows over the last 12 h",
        lambda f: f.departures(DAY_MS // 2),
    ),
    ("carrier", "category spelling", "case: ", lambda f: [c.lower() for c in f.table["carrier"].to_pylist()]),
    ("dest", "recoded", "", lambda f: [f"{hash(d) % 10**9:09}" for d in f.table["dest"].to_pylist()]),
)
PLANTS_IN_TIME: tuple[Plant, ...] = (
    ("temp", "lag in time", "served is the value of 1 h earlier", lambda f: f.temp_of_an_hour_ago),
    (
        "recent_block",
        "other window length",
        "served is the mean over the last 20 rows, recomputed is the mean over the last 50 rows",
        lambda f: f.mean_block(20),
    ),
)


@pytest.mark.parametrize("plants", [PLANTS, PLANTS_IN_TIME])
def test_each_mistake_is_identified(plants: tuple[Plant, ...], skew: Skewed, flights: Flights) -> None:
    served = flights.table
    for field, _, _, plant in plants:
        served = with_column(served, field, plant(flights))
    code, report = skew(served, "--underlying", "recent_block=block_min")
    assert code == 1
    mismatched = {each["field"]: each for each in report["fields"] if each["mismatched"]}
    assert mismatched.keys() == {field for field, *_ in plants}
    for field, kind, detail, _ in plants:
        planted = mismatched[field]
        assert planted["kinds"] == [kind], planted
        (named,) = planted["explanations"]
        assert named["detail"].startswith(detail), field
        assert named["named"], field
        assert named["share_low"] >= 0.95, field
        assert planted["rate_low"] <= planted["rate"] <= planted["rate_high"], field
        assert len(planted["samples"]) == 5, field
