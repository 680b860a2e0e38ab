"""The flights with a candidate as shadow: the primary answers every flight, and the candidate answers them, too.

The primary (version 1) has all features, the candidate (version 2) none of the weather. A second copy of the primary
(version 1-copy) shows how often the primary disagrees with itself. The candidate has faults at known places, so that
the account of its requests can be checked: some answers time out, some calls raise, and for three hours its process
publishes nothing. A hash of the flight's id selects the faults.
"""

import zlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.examples.flights.data import read_flights
from barograph_server.examples.flights.features import FEATURES, flight_rows
from barograph_server.examples.flights.model import DelayModel, classes, out_of_fold_scores, train
from barograph_server.examples.flights.replay import (
    CANDIDATE,
    CANDIDATE_FEATURES,
    CONTROL,
    REPLAY_DATES,
    TRAINING_DATES,
    answers,
    between,
    check_time_zone,
    label_table,
    shifted,
    training_table,
    whole_weeks_before,
)

COPY = "1-copy"
TIMEOUT, ERROR = "shadow-timeout", "ValueError"
"""`error` of the predictions that have no answer."""
FAULTS = ((TIMEOUT, 0.004), (ERROR, 0.002))
"""Shares of flights that end in each fault."""
OUTAGE = ("2013-10-24T12", "2013-10-24T13", "2013-10-24T14")
"""Hours (UTC) of 2013 in which the candidate publishes nothing."""


@dataclass(frozen=True)
class ShadowFlights:
    """The tables of the comparison and facts about them."""

    train: pa.Table
    """Training table of the primary, as in `examples.flights.replay`."""
    predictions: pa.Table
    """Answers of the primary: `id`, `at`, `version`, `context.original_date`, `features.NAME`, `score`, `class`,
    `latency_ms`; in order of `at`."""
    shadows: pa.Table
    """Predictions of the candidate and of the copy: `id`, `at`, `version`, `role`, `score`, `class`, `latency_ms`,
    `error`; in order of `at`. Without an answer, `error` says why and the others are null."""
    labels: pa.Table
    """`id`, `label`, `at` (the landing); in order of `at`."""
    shift_weeks: int
    """Weeks by which the event times were moved forward."""


def build_shadow(now: datetime) -> ShadowFlights:
    """Train both models and score August to December with both.

    Args:
        now: the time after which there are no events; with a time zone.

    Raises:
        DemoDataMissingError: the data set is not installed.
        ValueError: `now` has no time zone.
    """
    check_time_zone(now)
    rows = flight_rows(read_flights())
    training, served = between(rows, *TRAINING_DATES), between(rows, *REPLAY_DATES)
    primary, candidate = train(training), train(training, CANDIDATE_FEATURES)
    baseline_scores = out_of_fold_scores(training)
    weeks = whole_weeks_before(now, served)
    scores, latency_ms = answers(primary, served)
    is_outage = pc.is_in(pc.strftime(served["at"], "%Y-%m-%dT%H"), pa.array(OUTAGE))
    mirrored = _shadow_table(candidate, CANDIDATE, served, weeks, faults(served["id"]))
    published, no_error = mirrored.filter(pc.invert(is_outage)), pa.nulls(served.num_rows, pa.string())
    return ShadowFlights(
        train=training_table(training, baseline_scores),
        predictions=pa.table(
            {
                "id": served["id"],
                "at": shifted(served["at"], weeks),
                "version": pa.repeat(CONTROL, served.num_rows),
                "context.original_date": served["original_date"],
            }
            | {f"features.{name}": served[name] for name in FEATURES}
            | {"score": scores, "class": classes(scores), "latency_ms": latency_ms}
        ),
        shadows=pa.concat_tables([published, _shadow_table(primary, COPY, served, weeks, no_error)]).sort_by(
            [("at", "ascending"), ("id", "ascending"), ("version", "ascending")]
        ),
        labels=label_table(served, weeks),
        shift_weeks=weeks,
    )


def _shadow_table(model: DelayModel, version: str, served: pa.Table, weeks: int, error: pa.Array) -> pa.Table:
    scores, latency_ms = answers(model, served)
    failed = error.is_valid()
    return pa.table(
        {
            "id": served["id"],
            "at": shifted(served["at"], weeks),
            "version": pa.repeat(version, served.num_rows),
            "role": pa.repeat("shadow", served.num_rows),
            "score": pc.if_else(failed, None, scores),
            "class": pc.if_else(failed, None, classes(scores)),
            "latency_ms": pc.if_else(failed, None, latency_ms),
            "error": error,
        }
    )


def faults(ids: pa.ChunkedArray) -> pa.Array:
    """Return the error of each flight's candidate, null for an answer."""
    position: NDArray[np.float64] = np.array([zlib.crc32(each.encode()) for each in ids.to_pylist()]) / 2**32
    errors = np.full(len(position), None, dtype=object)
    end = 0.0
    for name, share in FAULTS:
        errors[(position >= end) & (position < end + share)] = name
        end += share
    return pa.array(errors, pa.string())
