"""Revisions: each window at most once per interval, and no acknowledgement beyond its first late record."""

from __future__ import annotations

from barograph.contract import Window

from barograph_server.streams.monitor.state.model import RevisionQueue

SERIES = ("1", "baseline")
WINDOW = Window(3600, 300)


def test_windows_are_due_once_per_interval() -> None:
    queue = RevisionQueue()
    queue.mark((SERIES, WINDOW, 600), 7)
    queue.mark((SERIES, WINDOW, 300), 8)
    assert queue.pop_due(0.0, 60.0) == {(SERIES, WINDOW): [300, 600]}
    assert queue.first_offset() is None
    queue.mark((SERIES, WINDOW, 300), 9)
    queue.mark((SERIES, WINDOW, 900), 10)
    assert queue.pop_due(59.0, 60.0) == {(SERIES, WINDOW): [900]}
    assert queue.pop_due(60.0, 60.0) == {(SERIES, WINDOW): [300]}


def test_first_offset_is_that_of_the_earliest_late_record_or_of_a_window_beyond_the_ledger() -> None:
    queue = RevisionQueue()
    for offset in (5, 9):
        queue.mark((SERIES, WINDOW, 300), offset)
    queue.mark((SERIES, WINDOW, 600), 7)
    assert queue.first_offset() == 5
    # A window beyond the ledger stays queued.
    queue = RevisionQueue()
    for end_s in (3600, 7200):
        queue.mark((SERIES, WINDOW, end_s), 5)
    assert queue.pop_due(0.0, 60.0, 3600) == {(SERIES, WINDOW): [3600]}
    assert queue.first_offset() == 5
    assert queue.pop_due(0.0, 60.0, 7200) == {(SERIES, WINDOW): [7200]}
