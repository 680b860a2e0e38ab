"""Order and times of a drill's events: of a replay by day, and of a live drill after its move to the present."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from barograph_server.drills.faults import EventTables, InjectionRequest, find_fault, plan_injection
from barograph_server.drills.faults.fault import epoch_ms
from barograph_server.drills.live_times import label_arrivals, move_to, prediction_arrivals
from barograph_server.drills.run.run import arrival_days, publish
from tests.support.drill_events import CONTRACT, PERIOD, baseline, make_events

NOW_MS = 1_800_000_000_000


def faulty(name: str, magnitude: float | None = None) -> EventTables:
    injection = plan_injection(InjectionRequest(find_fault(name), magnitude=magnitude), CONTRACT, baseline(), PERIOD)
    return injection.apply(make_events())


class Sink:
    def __init__(self) -> None:
        self.tables: dict[str, list[pa.Table]] = {"predictions": [], "labels": []}

    def predictions(self, table: pa.Table) -> int:
        self.tables["predictions"].append(table)
        return int(table.num_rows)

    def labels(self, table: pa.Table) -> int:
        self.tables["labels"].append(table)
        return int(table.num_rows)


@pytest.mark.parametrize("name", ["mean-shift", "late-events", "clock-fast", "silence", "label-stop", "label-delay"])
def test_a_replay_publishes_every_event_once_and_in_order(name: str) -> None:
    events, sink = faulty(name), Sink()
    assert publish(events, sink) == (events.predictions.num_rows, events.labels.num_rows)
    assert pa.concat_tables(sink.tables["predictions"]) == events.predictions
    assert pa.concat_tables(sink.tables["labels"]) == events.labels


def test_a_replay_interleaves_predictions_and_labels_by_day() -> None:
    parts = list(arrival_days(make_events()))
    assert len(parts) == 4, "the last labels arrive on the day after"
    assert [predictions.num_rows > 0 for predictions, _ in parts] == [True, True, True, False]


def test_all_times_of_a_live_drill_move_by_the_same_amount() -> None:
    events = make_events()
    moved = move_to(events, CONTRACT, NOW_MS)
    delta_ms = NOW_MS - int(epoch_ms(events.predictions)[0])
    for before, after in ((events.predictions, moved.predictions), (events.labels, moved.labels)):
        assert (epoch_ms(after) - epoch_ms(before) == delta_ms).all()
    before_age, after_age = (
        epoch_ms(each.predictions) - each.predictions["features.updated"].to_numpy(zero_copy_only=False)
        for each in (events, moved)
    )
    assert np.array_equal(before_age, after_age, equal_nan=True), "the age of a timestamp stays"


def test_arrivals_of_a_live_drill_follow_the_fault() -> None:
    events = make_events()
    recorded = events.predictions
    fast = faulty("clock-fast").predictions
    assert (epoch_ms(fast) > epoch_ms(recorded)).any()
    assert (prediction_arrivals(fast, recorded) == epoch_ms(recorded)).all(), "times change and arrivals do not"
    late = faulty("late-events", 6.0).predictions
    arrivals = prediction_arrivals(late, recorded)
    delay_ms = arrivals - epoch_ms(late)
    assert (np.diff(arrivals) >= 0).all()
    assert 5.9 * 3_600_000 < delay_ms.max() <= 6 * 3_600_000
    assert (delay_ms == 0).mean() > 0.9
    twice = faulty("duplicates").predictions
    assert len(prediction_arrivals(twice, recorded)) == twice.num_rows > recorded.num_rows
    assert (label_arrivals(events.labels) == epoch_ms(events.labels)).all()
