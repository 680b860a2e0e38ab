"""Times of a live drill: the move to the present, and the order of arrival of each fault of delivery."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from drills.faults import InjectionRequest, find_fault, plan_injection
from drills.faults.fault import epoch_ms
from drills.live_times import label_arrivals, move_to, prediction_arrivals
from tests.support.drill_events import CONTRACT, PERIOD, baseline, make_events

NOW_MS = 1_800_000_000_000


def faulty(name: str, magnitude: float | None = None) -> pa.Table:
    injection = plan_injection(InjectionRequest(find_fault(name), magnitude=magnitude), CONTRACT, baseline(), PERIOD)
    return injection.apply(make_events()).predictions


def test_all_times_move_by_the_same_amount() -> None:
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


def test_a_fast_clock_changes_times_and_not_arrivals() -> None:
    recorded, table = make_events().predictions, faulty("clock-fast")
    assert (epoch_ms(table) > epoch_ms(recorded)).any()
    assert (prediction_arrivals(table, recorded) == epoch_ms(recorded)).all()


def test_late_events_arrive_with_the_events_before_them() -> None:
    recorded, table = make_events().predictions, faulty("late-events", 6.0)
    arrivals = prediction_arrivals(table, recorded)
    delay_ms = arrivals - epoch_ms(table)
    assert (np.diff(arrivals) >= 0).all()
    assert 5.9 * 3_600_000 < delay_ms.max() <= 6 * 3_600_000
    assert (delay_ms == 0).mean() > 0.9


def test_duplicates_arrive_twice() -> None:
    recorded, table = make_events().predictions, faulty("duplicates")
    assert len(prediction_arrivals(table, recorded)) == table.num_rows > recorded.num_rows


def test_labels_arrive_at_the_times_that_they_state() -> None:
    labels = make_events().labels
    assert (label_arrivals(labels) == epoch_ms(labels)).all()
