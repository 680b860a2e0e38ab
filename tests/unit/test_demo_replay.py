"""The replay keeps the order of events, loses none, and ends with the mark."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa

from cli.demo.replay import DAY_MS, days, replay

TIMES = pa.timestamp("ms", "UTC")


def table(*at_ms: int) -> pa.Table:
    return pa.table({"at": pa.array(at_ms, pa.int64()).cast(TIMES), "id": [str(at) for at in at_ms]})


class Recorder:
    """A publisher that remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def predictions(self, rows: pa.Table) -> int:
        self.calls.append(("predictions", rows["id"].to_pylist()))
        return int(rows.num_rows)

    def labels(self, rows: pa.Table) -> int:
        self.calls.append(("labels", rows["id"].to_pylist()))
        return int(rows.num_rows)

    def mark(self) -> None:
        self.calls.append(("mark", None))


def test_labels_are_published_on_the_day_on_which_they_came() -> None:
    sink = Recorder()
    made = table(1, DAY_MS - 1, DAY_MS, 3 * DAY_MS)
    landed = table(DAY_MS - 1, DAY_MS + 5, 3 * DAY_MS + 7, 4 * DAY_MS)
    assert replay(made, landed, sink, threading.Event()) == (4, 4)
    told = [(kind, [int(at) for at in ids]) for kind, ids in sink.calls[:-1] if ids]
    assert told == [
        ("predictions", [1, DAY_MS - 1]),
        ("labels", [DAY_MS - 1]),
        ("predictions", [DAY_MS]),
        ("labels", [DAY_MS + 5]),
        ("predictions", [3 * DAY_MS]),
        ("labels", [3 * DAY_MS + 7]),
        ("labels", [4 * DAY_MS]),
    ]
    assert sink.calls[-1] == ("mark", None)


def test_a_replay_that_is_stopped_writes_no_mark() -> None:
    stop, sink = threading.Event(), Recorder()

    class Stopper(Recorder):
        def predictions(self, rows: pa.Table) -> int:
            stop.set()
            return super().predictions(rows)

    sink = Stopper()
    assert replay(table(1, DAY_MS), table(2, DAY_MS + 1), sink, stop) == (1, 1)
    assert [kind for kind, _ in sink.calls] == ["predictions", "labels"]


def test_no_events_are_no_days() -> None:
    assert list(days(table(), table())) == []
    assert [[t.num_rows for t in day] for day in days(table(), table(5))] == [[0, 1]]
