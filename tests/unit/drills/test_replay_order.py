"""Events are published in the order of their arrival, and every event once."""

from __future__ import annotations

import pyarrow as pa
import pytest

from drills.faults import FAULTS, InjectionRequest, plan_injection
from drills.replay_order import arrival_days, publish
from tests.support.drill_events import CONTRACT, PERIOD, baseline, make_events


class Sink:
    def __init__(self) -> None:
        self.calls: list[tuple[str, pa.Table]] = []

    def predictions(self, table: pa.Table) -> int:
        self.calls.append(("predictions", table))
        return int(table.num_rows)

    def labels(self, table: pa.Table) -> int:
        self.calls.append(("labels", table))
        return int(table.num_rows)


@pytest.mark.parametrize("name", ["mean-shift", "late-events", "clock-fast", "silence", "label-stop", "label-delay"])
def test_every_event_is_published_once_and_in_order(name: str) -> None:
    injection = plan_injection(InjectionRequest(FAULTS[name]), CONTRACT, baseline(), PERIOD)
    events = injection.apply(make_events())
    sink = Sink()
    assert publish(events, sink) == (events.predictions.num_rows, events.labels.num_rows)
    for kind, table in (("predictions", events.predictions), ("labels", events.labels)):
        assert pa.concat_tables([part for which, part in sink.calls if which == kind]) == table


def test_days_interleave_predictions_and_labels() -> None:
    parts = list(arrival_days(make_events()))
    assert len(parts) == 4, "the last labels arrive on the day after"
    assert all(predictions.num_rows for predictions, _ in parts[:3])
    assert parts[3][0].num_rows == 0
