"""Facts derived from the flights, on a record small enough to check by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from cli.demo.source_data import SourceData

THURSDAY_S = 1_785_369_600
"""2026-07-30, the beginning of a week."""
HOURS = (1, 2, 2, 5, 7 * 24, 7 * 24 + 1)


def at(*hours: float) -> pa.Array:
    return pa.array([int((THURSDAY_S + hour * 3600) * 1000) for hour in hours]).cast(pa.timestamp("ms", "UTC"))


def sql_time(hours: float) -> datetime:
    return datetime.fromtimestamp(THURSDAY_S + hours * 3600, UTC)


SOURCE = SourceData(
    train=pa.table({"dest": ["BOS"]}),
    predictions=pa.table(
        {
            "id": list("abcdef"),
            "at": at(*HOURS),
            "version": ["1", "1", "1", "1", "1", "2"],
            "arm": ["a", "a", "a", "a", "a", "b"],
            "features.dest": ["BOS", "ILM", "BOS", "CHO", "ILM", None],
            "score": [0.9, 0.4, 0.4, 0.3, 0.2, 0.6],
            "class": ["late", "on time", "on time", "on time", "on time", "late"],
        }
    ),
    labels=pa.table(
        {"id": list("abde"), "label": ["late", "on time", "late", "late"], "at": at(2, 5, 7, 7 * 24 + 9)},
    ),
)


def test_hours_without_a_flight_are_silent_between_the_first_and_the_last() -> None:
    silent = SOURCE.silent_hours()
    assert {sql_time(3), sql_time(4), sql_time(6), sql_time(7 * 24 - 1)} <= silent
    assert len(silent) == 7 * 24 + 2 - 1 - 5  # from the second hour on, less the five with flights
    assert SOURCE.record_end == sql_time(7 * 24 + 2)


def test_values_that_training_lacked_are_counted_and_nulls_are_none() -> None:
    assert SOURCE.unseen("dest") == {"ILM": 2, "CHO": 1}


def test_flights_without_a_label_are_counted() -> None:
    assert SOURCE.unlabelled == 2
    assert SOURCE.answered("2") == 1


def test_a_week_is_measured_where_both_classes_came() -> None:
    # Of the first week a (0.9, late), b (0.4, on time) and d (0.3, late) have a label: one of two pairs in order.
    [week] = SOURCE.weeks("1")
    assert (week.end, week.n, week.auc) == (sql_time(7 * 24), 3, 0.5)
    assert week.accuracy == pytest.approx(2 / 3)
    assert SOURCE.weeks("2") == []


def test_labels_have_an_age_from_their_flights_schedule() -> None:
    # 1, 3, 2 and 9 hours.
    assert SOURCE.label_age_s(0.0) == 3600
    assert SOURCE.label_age_s(0.5) == 2.5 * 3600
    assert SOURCE.label_age_s(1.0) == 9 * 3600


def test_mean_scores_are_those_of_one_week() -> None:
    assert SOURCE.mean_scores(sql_time(14 * 24)) == (0.2, 0.6)
