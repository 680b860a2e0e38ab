"""A flush: what it records of event times, when it ends, and when a partition counts as read to its end."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from barograph_server.streams.broker.assigned_consumer import Membership
from barograph_server.streams.registry.registry import Registry, build_registry
from barograph_server.streams.sketcher.end_probe import EndProbe
from barograph_server.streams.sketcher.flush import Flush
from barograph_server.streams.sketcher.flush_policy import (
    BOUNDARY_S,
    MAX_PANE_BYTES,
    MAX_REJECTED_BYTES,
    MIN_FLUSH_S,
    FlushPolicy,
    next_boundary_s,
)
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.fake_consumer import fake_settings
from tests.support.monitor_schedule import Event, columns, contract


def make_flush() -> Flush:
    ends = EndProbe(lambda partition: None, clock=lambda: 0.0)
    return Flush(Membership(None, 1), {3: 10, 4: 20}, FlushSummaries(Registry()), ends)


def event(at_ms: int, received_ms: int, model: str = "m") -> Event:
    return Event(model, "1", at_ms, received_ms, None, None, "n", False)


def test_event_times_are_clipped_to_their_receipt_and_never_go_back() -> None:
    flush = make_flush()
    flush.note_times(columns("m", 3, [(0, event(5000, 4000))]))
    flush.note_times(columns("m", 3, [(i, event(at_ms, 9000)) for i, at_ms in enumerate([2000, 3000])]))
    flush.note_times(columns("b", 4, [(0, event(7000, 9000, "b"))]))
    assert flush.newest_ms == {(3, "m"): 4000, (4, "b"): 7000}
    assert flush.oldest_ms == {3: 2000, 4: 7000}
    other_partition = columns("m", 3, [(5, event(8000, 8500))])
    other_partition.partition = np.array([4], dtype=np.int32)
    flush.note_times(other_partition)
    assert flush.newest_ms == {(3, "m"): 4000, (4, "b"): 7000, (4, "m"): 8000}


def registry(*paces: tuple[int, int, int]) -> Registry:
    """Models with these pane lengths, latenesses and out-of-order allowances, in seconds."""
    contracts = [
        (msgspec.structs.replace(contract(f"m{i}", pane_s), lateness_s=late_s, out_of_order_s=ooo_s), 1)
        for i, (pane_s, late_s, ooo_s) in enumerate(paces)
    ]
    return build_registry(contracts, [])


class Open:
    """A policy with an open flush of two partitions, and a clock set by hand."""

    def __init__(self, now_s: float = 1000.0, models: Registry | None = None, **settings: Any) -> None:
        self.now_s = now_s
        self.policy = FlushPolicy(
            fake_settings(**settings), models or Registry(), clock=lambda: self.now_s, monotonic=lambda: self.now_s
        )
        self.flush = Flush(
            Membership(None, 1),
            {},
            FlushSummaries(Registry()),
            EndProbe(lambda partition: None, clock=lambda: self.now_s),
        )

    def is_due(self, assigned: tuple[int, ...] = (0, 1)) -> bool:
        return self.policy.is_due(self.flush, assigned)


def test_a_boundary_is_where_a_pane_ends_or_can_be_sealed() -> None:
    # Panes end at multiples of 60; they can be sealed 20 + 5 s later.
    boundaries_s = {0.0: 25, 24.999: 25, 25.0: 60, 59.0: 60, 60.0: 85, 90.0: 120}
    assert {now_s: next_boundary_s(registry((60, 20, 5)), now_s) for now_s in boundaries_s} == boundaries_s
    # The next boundary of all models counts.
    assert next_boundary_s(registry((60, 20, 5), (3600, 600, 600)), 100.0) == 120
    assert next_boundary_s(registry((3600, 0, 0), (86_400, 101, 0)), 100.0) == 101
    # Without models and on the replay clock there is none.
    assert next_boundary_s(Registry(), 100.0) == float("inf")
    assert Open(models=registry((60, 20, 5)), clock="replay").policy.boundary_ms == float("inf")


@pytest.mark.parametrize(
    ("attribute", "limit"), [("rejected_bytes", MAX_REJECTED_BYTES), ("n_bytes", MAX_PANE_BYTES), ("events", 1000)]
)
def test_a_flush_ends_at_each_limit_of_its_size(attribute: str, limit: int) -> None:
    opened = Open(flush_events=1000)
    owner: Any = opened.flush.summaries if attribute == "n_bytes" else opened.flush
    for size in (limit - 1, limit):
        setattr(owner, attribute, size)
        assert opened.is_due() == (size == limit)


def test_a_flush_ends_at_its_largest_age_and_where_retention_overtook_it() -> None:
    opened = Open(flush_s=15.0)
    opened.now_s += 14.9
    assert not opened.is_due()
    opened.now_s += 0.1
    assert opened.is_due()
    overtaken = Open()
    overtaken.flush.must_end = True
    assert overtaken.is_due()


def test_a_boundary_waits_until_everything_up_to_it_was_read() -> None:
    opened = Open(now_s=1019.5, models=registry((60, 0, 0)))
    assert opened.policy.boundary_ms == 1_020_000
    caught_up_ms = opened.flush.ends.caught_up_ms
    caught_up_ms.update({0: 1_020_100, 1: 1_020_100})
    opened.now_s = 1019.9
    assert not opened.is_due()
    opened.now_s = 1020.1
    assert opened.is_due()
    assert not opened.is_due(assigned=()), "without partitions only its age ends a flush"
    caught_up_ms[1] = 1_019_999
    assert not opened.is_due()
    # A lagging partition delays it no longer than this.
    opened.now_s = 1020 + BOUNDARY_S
    assert opened.is_due()
    # Boundaries do not make flushes too short.
    opened = Open(now_s=1019.9, models=registry((60, 0, 0)))
    opened.flush.ends.caught_up_ms.update({0: 1_020_100, 1: 1_020_100})
    opened.now_s = 1020.05
    assert not opened.is_due()
    opened.now_s = 1019.9 + MIN_FLUSH_S + 0.01
    assert opened.is_due()


def test_on_the_replay_clock_an_end_marker_ends_a_flush_once_all_partitions_are_read() -> None:
    opened = Open(clock="replay")
    opened.now_s += 1
    opened.flush.ends.caught_up_ms.update({0: 1, 1: 1})
    assert not opened.is_due()
    opened.flush.end_markers = {0}
    assert opened.is_due()
    del opened.flush.ends.caught_up_ms[1]
    assert not opened.is_due()


class Broker:
    def __init__(self, boundary_ms: float = float("inf")) -> None:
        self.now_s = 1000.0
        self.ends: dict[int, int] = {}
        self.queries = 0
        self.is_down = False
        self.probe = EndProbe(self.end_offset, clock=lambda: self.now_s, boundary_ms=boundary_ms)

    def end_offset(self, partition: int) -> int | None:
        self.queries += 1
        return None if self.is_down else self.ends[partition]


def test_a_partition_is_caught_up_as_of_the_moment_before_its_end_was_queried() -> None:
    broker = Broker()
    broker.ends = {0: 10}
    broker.probe.update({0: 0})
    broker.now_s += 5
    # The log has grown since; the earlier end counts.
    broker.ends = {0: 99}
    broker.probe.update({0: 9})
    assert broker.probe.caught_up_ms == {}, "an offset is still unread"
    broker.probe.update({0: 10})
    assert broker.probe.caught_up_ms == {0: 1_000_000}


def test_before_a_commit_partitions_without_an_answer_are_queried() -> None:
    broker = Broker()
    broker.ends = {0: 0, 1: 7}
    broker.probe.finish({0: 0, 1: 0})
    assert broker.probe.caught_up_ms == {0: 1_000_000}
    broker.now_s += 1
    broker.probe.finish({0: 0, 1: 7})
    assert broker.probe.caught_up_ms == {0: 1_001_000, 1: 1_000_000}, "partition 1 as of its first query"
    # Without an answer of the broker no partition is caught up.
    broker = Broker()
    broker.is_down = True
    broker.probe.update({0: 0})
    broker.probe.finish({0: 0})
    assert broker.probe.caught_up_ms == {}
