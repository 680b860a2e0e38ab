"""One row per flight as known at its scheduled departure: the features of the model, and the label that follows later.

`dep_delay` is not a feature because it is unknown at the scheduled departure. The month is not a feature because the
training data covers only one summer. The day of the week is not a feature because a window of a day always contains
only one or two of its seven values. Nulls come from the source: weather stations fail, and a sixth of the flights have
no row in the register of planes.
"""

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

YEAR = 2013
LATE_MIN = 15
"""A flight is late if it arrives more than this many minutes after its scheduled arrival."""

WEATHER = ("temp", "dewp", "humid", "visib", "wind_speed", "wind_gust", "pressure", "wind_dir", "precip")
SCHEDULE = ("time_of_day", "block_min", "distance")
PLANE = ("age", "seats", "engines", "engine", "manufacturer")
ROUTE = ("carrier", "origin", "dest")
FEATURES = WEATHER + SCHEDULE + PLANE + ROUTE


def flight_rows(flights: pa.Table) -> pa.Table:
    """Convert the flights of `data.read_flights` into the rows for training and predictions.

    Returns:
        One row per flight, in order of `at`, then `id`:

        - `id`: `CARRIER-FLIGHT-YYYYMMDD-ORIGIN`, unique in the year;
        - `at`: the scheduled departure; `landed_at`: null without a label;
        - `original_date`: the local date of departure, `YYYY-MM-DD`;
        - `label`: whether the flight arrived late; null if it was canceled or diverted;
        - the weather at the origin in the scheduled hour: `temp`, `dewp` (°F), `humid` (%), `visib` (miles),
          `wind_speed`, `wind_gust` (mph), `pressure` (mbar), `wind_dir` (degrees), `precip` (inches);
        - `time_of_day` (local minute, 0–1439), `block_min` (minutes from scheduled departure to scheduled arrival),
          `distance` (miles);
        - `age` (years), `seats`, `engines`, `engine`, `manufacturer` of the plane; `carrier`, `origin`, `dest`.
    """
    dates = pa.array(
        [date(YEAR, m, d) for m, d in zip(flights["month"].to_pylist(), flights["day"].to_pylist(), strict=True)]
    )
    original_date = pc.strftime(dates, format="%Y-%m-%d")
    ids = pc.binary_join_element_wise(
        flights["carrier"],
        flights["flight"].cast(pa.string()),
        pc.strftime(dates, format="%Y%m%d"),
        flights["origin"],
        "-",
    )
    departure_ms, arrival_ms = (flights[column].cast(pa.int64()) for column in ("scheduled_at", "scheduled_arrival_at"))
    derived = {
        "time_of_day": pc.add(pc.multiply(flights["hour"], 60), flights["minute"]),
        "block_min": pc.divide(pc.subtract(arrival_ms, departure_ms), 60_000),
        "age": pc.subtract(YEAR, flights["plane_year"]),
    }
    rows = pa.table(
        {
            "id": ids,
            "at": flights["scheduled_at"],
            "landed_at": flights["landed_at"],
            "original_date": original_date,
            "label": pc.greater(flights["arr_delay"], LATE_MIN),
        }
        | {name: derived[name] if name in derived else flights[name] for name in FEATURES}
    )
    return rows.sort_by([("at", "ascending"), ("id", "ascending")])
