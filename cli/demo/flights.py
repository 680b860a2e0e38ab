"""The demo's model: its data, what `infer` is told about it, and the calendar that the replay moves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Arms, Window

from cli.infer import InferOptions, Roles

if TYPE_CHECKING:
    from examples.flights.replay import FlightsFiles

MODEL, VERSION, CANDIDATE = "flight-delay", "1", "2"
HOUR_S, DAY_S = 3600, 86_400
DAY = Window(DAY_S, HOUR_S)
WEEK = Window(7 * DAY_S, DAY_S)

WEATHER = ("temp", "dewp", "humid", "visib", "wind_speed", "wind_gust", "pressure", "wind_dir", "precip")
SCHEDULE = ("time_of_day", "block_min")
PLANE = ("age", "seats", "engines", "engine", "manufacturer")
ROUTE = ("distance", "origin", "dest", "carrier")
CRITICAL = frozenset({"temp", "dewp", *SCHEDULE, *PLANE, *ROUTE})


@dataclass(frozen=True, slots=True)
class Calendar:
    """Event times of the replay ↔ dates of 2013: they differ by whole weeks."""

    shift_weeks: int

    def original(self, at: datetime) -> datetime:
        """The moment of 2013 that an event time of the replay stands for."""
        return at - timedelta(weeks=self.shift_weeks)

    def replayed(self, at: datetime) -> datetime:
        """The event time that a moment of 2013 was moved to."""
        return at + timedelta(weeks=self.shift_weeks)

    def end_date(self, window_end: datetime) -> date:
        """The date of 2013 at whose first moment (UTC) or in whose course a window ends."""
        return self.original(window_end).date()


def prepare_flights(folder: Path) -> FlightsFiles:
    """Train the classifier and write training table, predictions and labels.

    Raises:
        DemoDataMissingError: the flights are not installed.
    """
    # Loads scikit-learn, which no other command needs.
    from examples.flights.replay import prepare

    return prepare(folder, datetime.now(UTC))


def infer_options(table: Path, version: str = VERSION) -> InferOptions:
    """What `barograph infer` is told: the options of a command line that anyone could write."""
    return InferOptions(
        table=table,
        model=MODEL,
        version=version,
        roles=Roles(
            time="at", score="score", class_="class", label="label", slices=("origin", "carrier"), critical=CRITICAL
        ),
        pane_s=HOUR_S,
        windows=(DAY, WEEK),
        timezone="America/New_York",
        arms=Arms(shares={"a": 0.9, "b": 0.1}),
    )


def last_pane_end(predictions: pa.Table) -> datetime:
    """The end of the hour that holds the last prediction."""
    last_ms = pc.max(predictions["at"].cast(pa.int64())).as_py()
    return datetime.fromtimestamp((last_ms // 1000 // HOUR_S + 1) * HOUR_S, UTC)
