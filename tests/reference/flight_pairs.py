"""Real pairs of answers: two classifiers of the flights example, trained on two months and scored on the next five.

The primary lacks weather, which makes the pairs of a day alike and the days correlated.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.examples.flights.data import read_flights
from barograph_server.examples.flights.features import FEATURES, flight_rows
from barograph_server.examples.flights.model import THRESHOLD, train
from barograph_server.examples.flights.replay import CANDIDATE_FEATURES, REPLAY_DATES, TRAINING_DATES, between

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    label: BoolArray
    primary: FloatArray
    """Scores of the model without weather."""
    candidate: FloatArray
    """Scores of the model with weather."""
    hour: IntArray
    """Number of the hour, from 0, ascending."""
    day: IntArray
    """Number of the local day, from 0."""
    day_of_hour: IntArray
    slice_index: IntArray
    """Number of the slice: origin, carrier and half of the day."""
    origin: IntArray
    carrier: IntArray
    unit_index: IntArray
    """Number of the unit of an A/B test: origin, carrier, destination and hour of the schedule. Units return."""

    @property
    def days(self) -> int:
        return int(self.day[-1]) + 1

    def by_day(self, values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(self.day, values, self.days), np.float64)

    @property
    def right(self) -> tuple[BoolArray, BoolArray]:
        return (self.primary >= THRESHOLD) == self.label, (self.candidate >= THRESHOLD) == self.label

    @property
    def accuracy(self) -> FloatArray:
        primary, candidate = self.right
        return candidate.astype(np.float64) - primary

    @property
    def brier(self) -> FloatArray:
        return (self.primary - self.label) ** 2 - (self.candidate - self.label) ** 2


@cache
def flight_pairs() -> Pairs:
    rows = flight_rows(read_flights())
    training, served = between(rows, *TRAINING_DATES), between(rows, *REPLAY_DATES)
    served = served.filter(served["label"].is_valid())
    primary, candidate = (train(training, names).scores(served) for names in (CANDIDATE_FEATURES, FEATURES))
    dates = served["original_date"].to_numpy().astype("datetime64[D]")
    day = (dates - dates.min()).astype(np.int64)
    at = served["at"].cast(pa.int64()).to_numpy() // 3_600_000
    order = np.lexsort((at, day))
    hours, hour = np.unique(day[order] * 10**7 + at[order], return_inverse=True)
    half = (served["time_of_day"].to_numpy() >= 720).astype(int).astype(str)
    names = np.char.add(
        np.char.add(served["origin"].to_numpy().astype(str), served["carrier"].to_numpy().astype(str)), half
    )
    hours_of_schedule = (served["time_of_day"].to_numpy() // 60).astype(np.int64).astype(str)
    units = np.char.add(
        np.char.add(served["origin"].to_numpy().astype(str), served["carrier"].to_numpy().astype(str)),
        np.char.add(served["dest"].to_numpy().astype(str), hours_of_schedule),
    )
    return Pairs(
        label=served["label"].to_numpy().astype(np.bool_)[order],
        primary=primary[order],
        candidate=candidate[order],
        hour=hour,
        day=day[order],
        day_of_hour=hours // 10**7,
        slice_index=np.unique(names[order], return_inverse=True)[1],
        origin=np.unique(served["origin"].to_numpy().astype(str)[order], return_inverse=True)[1],
        carrier=np.unique(served["carrier"].to_numpy().astype(str)[order], return_inverse=True)[1],
        unit_index=np.unique(units[order], return_inverse=True)[1],
    )
