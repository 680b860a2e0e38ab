"""When a partition counts as read to its end."""

from __future__ import annotations

from streams.sketcher.end_probe import PROBE_S, EndProbe


class Broker:
    """Ends of partitions and a clock, both set by hand."""

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


def test_the_broker_is_not_queried_at_every_poll() -> None:
    broker = Broker()
    broker.ends = {0: 0}
    for _ in range(50):
        broker.probe.update({0: 0})
    queries = broker.queries
    assert queries <= 3
    broker.now_s += PROBE_S + 0.1
    broker.probe.update({0: 0})
    broker.probe.update({0: 0})
    assert broker.queries > queries
    assert broker.probe.caught_up_ms[0] > 1_000_000


def test_a_boundary_that_has_passed_is_queried_at_once() -> None:
    broker = Broker(boundary_ms=1_000_200)
    broker.ends = {0: 0}
    broker.probe.update({0: 0})
    broker.now_s += 0.1
    broker.probe.update({0: 0})
    queries = broker.queries
    broker.now_s += 0.1
    broker.probe.update({0: 0})
    assert broker.queries == queries + 1
    broker.probe.update({0: 0})
    assert broker.probe.caught_up_ms == {0: 1_000_200}


def test_before_a_commit_partitions_without_an_answer_are_queried() -> None:
    broker = Broker()
    broker.ends = {0: 0, 1: 7}
    broker.probe.finish({0: 0, 1: 0})
    assert broker.probe.caught_up_ms == {0: 1_000_000}
    broker.now_s += 1
    broker.probe.finish({0: 0, 1: 7})
    assert broker.probe.caught_up_ms == {0: 1_001_000, 1: 1_000_000}, "partition 1 as of its first query"


def test_without_an_answer_of_the_broker_no_partition_is_caught_up() -> None:
    broker = Broker()
    broker.is_down = True
    broker.probe.update({0: 0})
    broker.probe.finish({0: 0})
    assert broker.probe.caught_up_ms == {}
