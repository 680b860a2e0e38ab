"""How a sketcher reads: decode batches, rejected events, and partitions that are far ahead."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import Clock
from barograph_server.streams.sketcher import decode_batch
from barograph_server.streams.sketcher.sketcher import MAX_AHEAD_MS, POLL_MESSAGES, Sketcher
from tests.support.fake_consumer import TOPIC, FakeConsumer, FakeMessage, assigned_consumer, failure, fake_settings


class FakeTopics:
    """Every topic has two partitions."""

    def describe(self, topic: str) -> tuple[str, int]:
        return f"id of {topic}", 2


class Bench:
    """A sketcher without a broker; its clocks are set by hand, and a fetch takes no time unless a test says so."""

    def __init__(self, clock: Clock = "live", partitions: int = 1, **settings: Any) -> None:
        self.now_s, self.fetch_s = 1000.0, 0.0
        self.fake = FakeConsumer(during_fetch=self.tick)
        topics: Any = FakeTopics()
        report = Report("sketcher", "s")
        positions = {(TOPIC, partition): 0 for partition in range(partitions)}
        self.consumer = assigned_consumer(self.fake, positions, report, poll_messages=POLL_MESSAGES)
        self.sketcher = Sketcher(
            fake_settings(clock=clock, **settings),
            Registry,
            report,
            clock=lambda: self.now_s,
            monotonic=lambda: self.now_s,
            consumer=self.consumer,
            topics=topics,
        )
        self.flush, _ = self.sketcher.open()

    def tick(self) -> None:
        self.now_s += self.fetch_s

    def fill(self, *sizes: int) -> None:
        offset = 0
        for size in sizes:
            self.fake.fetches.append([FakeMessage(offset + i) for i in range(size)])
            offset += size

    def read(self) -> int:
        """Read one decode batch; return how many events the flush has rejected: no message here is an event."""
        self.sketcher.read(self.flush)
        return len(self.flush.rejected)


def test_messages_of_a_portion_are_read_before_its_error_is_handled() -> None:
    bench = Bench()
    bench.fake.starts = {(TOPIC, 0): 40}
    bench.fake.fetches = [[FakeMessage(0), failure(KafkaError._AUTO_OFFSET_RESET)]]
    assert bench.read() == 1
    assert bench.flush.must_end, "a flush has one range per partition"
    assert bench.flush.start == {0: 0}
    assert bench.consumer.positions == {(TOPIC, 0): 1}
    # A flush that has read nothing starts behind lost offsets.
    bench = Bench()
    bench.fake.starts = {(TOPIC, 0): 40}
    bench.fake.fetches = [[failure(KafkaError._AUTO_OFFSET_RESET)]]
    bench.read()
    assert not bench.flush.must_end
    assert (bench.flush.start, bench.consumer.positions) == ({0: 40}, {(TOPIC, 0): 40})


def test_messages_are_summarised_together_until_no_more_wait_and_rejected_bytes_counted() -> None:
    bench = Bench()
    bench.fill(*[POLL_MESSAGES] * 3, 1, 1)
    assert bench.read() == 3 * POLL_MESSAGES + 1, "a fetch that is not full ends the batch"
    assert bench.read() == 3 * POLL_MESSAGES + 2
    assert [rejected.offset for rejected in bench.flush.rejected] == list(range(3 * POLL_MESSAGES + 2))
    bench = Bench()
    bench.fake.fetches = [[FakeMessage(0, b"{" * 100), FakeMessage(1, b"x" * 50), FakeMessage(2, None)]]
    assert (bench.read(), bench.flush.rejected_bytes) == (3, 150)


@pytest.mark.parametrize(("limit", "value"), [("BATCH_MESSAGES", POLL_MESSAGES), ("MAX_REJECTED_BYTES", POLL_MESSAGES)])
def test_a_batch_ends_at_each_limit_of_its_size(limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_batch, limit, value)
    assert first_batch(Bench()) == POLL_MESSAGES


def first_batch(bench: Bench) -> int:
    bench.fill(*[POLL_MESSAGES] * 3)
    return bench.read()


@pytest.mark.parametrize(
    ("clock", "newest_ms", "caught_up", "paused"),
    [
        ("replay", {0: 0, 1: MAX_AHEAD_MS + 1}, set(), {1}),
        ("replay", {0: 0, 1: MAX_AHEAD_MS}, set(), set()),
        ("replay", {0: 0, 1: MAX_AHEAD_MS + 1}, {0}, set()),
        ("live", {0: 0, 1: MAX_AHEAD_MS + 1}, set(), set()),
    ],
)
def test_a_partition_far_ahead_of_one_that_is_still_read_is_paused(
    clock: Clock, newest_ms: dict[int, int], caught_up: set[int], paused: set[int]
) -> None:
    bench = Bench(clock, partitions=2)
    bench.flush.newest_ms = {(partition, "m"): at_ms for partition, at_ms in newest_ms.items()}
    bench.flush.ends.caught_up_ms.update(dict.fromkeys(caught_up, 1))
    bench.sketcher.pause_ahead(bench.flush)
    assert bench.fake.paused == {(TOPIC, partition) for partition in paused}
    assert set(bench.sketcher.assigned_partitions()) == {(TOPIC, partition) for partition in {0, 1} - paused}
