"""The replay keeps the order of events, loses none, and ends with the mark."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from cli.demo.replay import DAY_MS, Pace, days, replay
from tests.support.pipeline import wait_for

TIMES = pa.timestamp("ms", "UTC")


def table(*at_ms: int) -> pa.Table:
    return pa.table({"at": pa.array(at_ms, pa.int64()).cast(TIMES), "id": [str(at) for at in at_ms]})


class Recorder:
    """A publisher that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def predictions(self, rows: pa.Table) -> int:
        self.calls.append(("predictions", rows["id"].to_pylist()))
        return int(rows.num_rows)

    def labels(self, rows: pa.Table) -> int:
        self.calls.append(("labels", rows["id"].to_pylist()))
        return int(rows.num_rows)

    def publish_end_marker(self) -> None:
        self.calls.append(("mark", None))


def test_labels_are_published_on_the_day_on_which_they_came() -> None:
    sink = Recorder()
    result = table(1, DAY_MS - 1, DAY_MS, 3 * DAY_MS)
    landed = table(DAY_MS - 1, DAY_MS + 5, 3 * DAY_MS + 7, 4 * DAY_MS)
    assert replay(result, landed, sink, Pace(100)) == (4, 4)
    sent = [(kind, [int(at) for at in ids]) for kind, ids in sink.calls[:-1] if ids]
    assert sent == [
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
    pace = Pace(100)

    class Stopper(Recorder):
        def predictions(self, rows: pa.Table) -> int:
            pace.stop()
            return super().predictions(rows)

    sink = Stopper()
    assert replay(table(1, DAY_MS), table(2, DAY_MS + 1), sink, pace) == (1, 1)
    assert [kind for kind, _ in sink.calls] == ["predictions", "labels"]


def test_a_replay_waits_for_its_readers() -> None:
    pace, sink = Pace(2), Recorder()
    result = table(1, 2, DAY_MS, DAY_MS + 1, 2 * DAY_MS)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(replay, result, table(), sink, pace)
        wait_for(lambda: len(sink.calls) == 2, "the first day")
        pace.note(1)
        wait_for(lambda: len(sink.calls) == 4, "the second day, once one of the first was read")
        pace.stop()
        assert running.result(30) == (4, 0)


def test_a_day_waits_until_its_act_is_opened() -> None:
    pace, sink = Pace(100, until_ms=2 * DAY_MS), Recorder()
    result = table(1, DAY_MS, 2 * DAY_MS, 3 * DAY_MS)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(replay, result, table(), sink, pace)
        wait_for(lambda: len(sink.calls) == 4, "both days before the act's end")
        pace.note(2)
        pace.open(3 * DAY_MS)
        wait_for(lambda: len(sink.calls) == 6, "the day of the next act")
        assert ("mark", None) not in sink.calls
        pace.open(None)
        assert running.result(30) == (4, 0)
    assert [ids for kind, ids in sink.calls if kind == "predictions"] == [
        [str(at)] for at in result["at"].cast("int64").to_pylist()
    ]
    assert sink.calls[-1] == ("mark", None)


def test_no_events_are_no_days() -> None:
    assert list(days(table(), table())) == []
    assert [(at, [t.num_rows for t in day]) for at, day in days(table(), table(DAY_MS + 5))] == [(DAY_MS, [0, 1])]


def test_shadows_of_a_day_follow_its_predictions() -> None:
    recorder = Recorder()
    assert replay(table(1, 2, DAY_MS), table(), recorder, Pace(ahead=10), table(3, DAY_MS + 1)) == (3, 0)
    published = [ids for kind, ids in recorder.calls if kind == "predictions"]
    assert published == [["1", "2"], ["3"], [str(DAY_MS)], [str(DAY_MS + 1)]]
