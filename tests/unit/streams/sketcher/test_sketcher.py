"""The sketcher's decisions: when a flush ends, what time it has seen, when a partition counts as read to its end."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.events import encode_predictions
from confluent_kafka import KafkaError, KafkaException

from streams.events.arrow_decoder import ArrowDecoder
from streams.events.batch import MessageBatch
from streams.events.json_decoder import JsonDecoder
from streams.registry.registry import RegisteredBaseline, Registry, build_registry
from streams.runtime.metrics_report import Report
from streams.settings import Clock, ProcessorSettings
from streams.sketcher import sketcher
from streams.sketcher.sketcher import (
    BOUNDARY_S,
    DEAD_BYTES,
    PANE_BYTES,
    POLL_MESSAGES,
    PROBE_S,
    Sketcher,
    _Flush,
    _note_times,
)
from streams.sketcher.summarise import FlushSummaries
from tests.support.monitor_schedule import Event, columns, contract
from tests.support.pipeline import simple_baseline, simple_contract
from warehouse.client import Address


class FakeConsumer:
    """Says where partitions end."""

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}
        self.away = False
        self.asked = 0
        self.messages: list[list[Any]] = []

    def consume(self, most: int, timeout_s: float) -> list[Any]:
        return self.messages.pop(0) if self.messages else []

    def get_watermark_offsets(self, tp: Any, timeout: float, cached: bool) -> tuple[int, int]:
        assert not cached, "a remembered end may be an old one"
        self.asked += 1
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return 0, self.ends[tp.partition]


class Desk:
    """A sketcher without a broker, and its clock."""

    def __init__(self, clock: Clock = "live", partitions: int = 2) -> None:
        self.now_s = 1000.0
        self.consumer = FakeConsumer()
        sketcher = Sketcher.__new__(Sketcher)
        sketcher._settings = ProcessorSettings(
            instance="s",
            bootstrap_servers="b",
            warehouse=Address("h", 1, "d"),
            clock=clock,
        )
        sketcher._clock = lambda: self.now_s
        sketcher._consumer = cast(Any, self.consumer)
        sketcher._topic = "predictions"
        sketcher._report = Report("sketcher", "s")
        sketcher._log = SimpleNamespace(warning=lambda *_, **__: None)
        sketcher._generation, sketcher._early, sketcher._poll_messages = 1, [], POLL_MESSAGES
        sketcher._assigned = list(range(partitions))
        sketcher._position = dict.fromkeys(range(partitions), 0)
        self.sketcher = sketcher
        self.flush = _Flush({}, None, FlushSummaries(Registry()), 0.0, float("inf"))


def boundary_s(now_s: float, *paces: tuple[int, int, int], clock: Clock = "live") -> float:
    desk = Desk(clock)
    desk.now_s = now_s
    contracts = [
        (msgspec.structs.replace(contract(f"m{i}", pane_s), lateness_s=late_s, out_of_order_s=ooo_s), 1)
        for i, (pane_s, late_s, ooo_s) in enumerate(paces)
    ]
    return desk.sketcher._next_boundary(build_registry(contracts, [])) / 1000


@pytest.mark.parametrize(
    ("now_s", "wanted"),
    [
        # Panes end at multiples of 60; they can be sealed 20 + 5 s later.
        (0.0, 25),
        (24.999, 25),
        (25.0, 60),
        (59.0, 60),
        (60.0, 85),
        (90.0, 120),
    ],
)
def test_a_flush_ends_where_a_pane_ends_or_can_be_sealed(now_s: float, wanted: float) -> None:
    assert boundary_s(now_s, (60, 20, 5)) == wanted


def test_a_flush_ends_where_dead_letters_fill_it() -> None:
    desk = Desk()
    desk.flush.opened_s = time.monotonic()
    desk.flush.dead_bytes = DEAD_BYTES - 1
    assert not desk.sketcher._due(desk.flush, threading.Event())
    desk.flush.dead_bytes = DEAD_BYTES
    assert desk.sketcher._due(desk.flush, threading.Event())


def test_dead_letters_are_weighed_as_they_come() -> None:
    desk = Desk()
    registry = build_registry([], [])
    desk.sketcher._decoders = registry, JsonDecoder(registry), ArrowDecoder(registry)
    messages = [message(b"{" * 100, 0), message(b"x" * 50, 1), message(None, 2)]
    desk.consumer.messages = [messages]
    desk.sketcher._read(desk.flush, 1)
    assert (len(desk.flush.dead), desk.flush.dead_bytes) == (3, 150)


def message(value: bytes | None, offset: int = 0, partition: int = 0, error: KafkaError | None = None) -> Any:
    return SimpleNamespace(
        error=lambda: error,
        value=lambda: value,
        headers=lambda: None,
        partition=lambda: partition,
        offset=lambda: offset,
        timestamp=lambda: (1, 1_000_000),
    )


def test_what_was_read_before_and_what_belongs_to_others_is_not_read_again() -> None:
    desk = Desk()
    registry = build_registry([], [])
    desk.sketcher._decoders = registry, JsonDecoder(registry), ArrowDecoder(registry)
    desk.sketcher._position = {0: 5, 1: 0}
    end = message(None, 9, 1, KafkaError(KafkaError._PARTITION_EOF))
    # librdkafka may give out what it had fetched before it was told where to go on.
    places = [(4, 0), (5, 0), (0, 1), (5, 0), (7, 0), (3, 2), (2, 1), (6, 0)]
    desk.consumer.messages = [[*(message(b"x", *place) for place in places), end]]
    desk.sketcher._read(desk.flush, 1)
    assert [(dead.offset, dead.partition) for dead in desk.flush.dead] == [(5, 0), (0, 1), (7, 0), (2, 1)]
    assert desk.sketcher._position == {0: 8, 1: 9}, "what lies before a partition's end is given to nobody as read"
    assert desk.flush.fetched == {0, 1}


def test_messages_are_summarised_together_until_no_more_wait() -> None:
    desk = Desk(partitions=1)
    registry = build_registry([], [])
    desk.sketcher._decoders = registry, JsonDecoder(registry), ArrowDecoder(registry)
    polls = [[message(b"x", i * POLL_MESSAGES + j) for j in range(POLL_MESSAGES)] for i in range(3)]
    desk.consumer.messages = [*polls, [message(b"x", 3 * POLL_MESSAGES)], [message(b"x", 3 * POLL_MESSAGES + 1)]]
    desk.sketcher._read(desk.flush, 1)
    assert len(desk.flush.dead) == 3 * POLL_MESSAGES + 1, "a poll that is not full ends the turn"
    desk.sketcher._read(desk.flush, 1)
    assert [dead.offset for dead in desk.flush.dead] == list(range(3 * POLL_MESSAGES + 2))


@pytest.mark.parametrize(
    ("bound", "value"), [("TURN_MESSAGES", POLL_MESSAGES), ("TURN_S", 0.0), ("DEAD_BYTES", POLL_MESSAGES)]
)
def test_a_turn_ends_where_it_holds_enough(bound: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketcher, bound, value)
    assert first_turn(Desk(partitions=1)) == POLL_MESSAGES


def test_a_turn_of_history_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketcher, "REPLAY_TURN_MESSAGES", POLL_MESSAGES)
    assert first_turn(Desk("replay", partitions=1)) == POLL_MESSAGES
    assert first_turn(Desk("live", partitions=1)) == 3 * POLL_MESSAGES


def test_a_turn_ends_where_its_flush_is_full() -> None:
    desk = Desk(partitions=1)
    desk.sketcher._settings = replace(desk.sketcher._settings, flush_events=2 * POLL_MESSAGES)
    desk.flush.events = POLL_MESSAGES
    assert first_turn(desk) == POLL_MESSAGES


def first_turn(desk: Desk) -> int:
    """How many messages the first turn reads of three full polls."""
    registry = build_registry([], [])
    desk.sketcher._decoders = registry, JsonDecoder(registry), ArrowDecoder(registry)
    desk.consumer.messages = [[message(b"x", i * POLL_MESSAGES + j) for j in range(POLL_MESSAGES)] for i in range(3)]
    desk.sketcher._read(desk.flush, 1)
    return len(desk.flush.dead)


def test_a_turn_of_numbers_is_weighed() -> None:
    baseline = simple_baseline()
    registry = build_registry([(simple_contract(), 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])
    now = int(time.time() * 1000)
    event = msgspec.json.encode(
        {"model": "toy", "version": "1", "id": "a", "at": now, "features": {"x": 1.0, "k": 2, "flag": True}}
    )
    table = pa.table({"model": ["toy"] * 9, "version": ["1"] * 9, "id": list("abcdefghi"), "at": [now] * 9})
    arrow = encode_predictions(table)
    json_turn, arrow_turn = JsonDecoder(registry).accumulator(), ArrowDecoder(registry).accumulator()
    n = JsonDecoder(registry).chunk_messages
    json_turn.add(MessageBatch([event] * n, np.zeros(n, np.int32), np.arange(n), np.full(n, now)))
    arrow_turn.add(MessageBatch([arrow] * 2, np.zeros(2, np.int32), np.arange(2), np.full(2, now)))
    assert json_turn.messages == n
    assert json_turn.n_bytes >= 8 * 3 * n, "three numbers of each"
    assert (arrow_turn.messages, arrow_turn.rows) == (2, 18)
    assert arrow_turn.n_bytes >= 2 * len(arrow)
    assert sum(len(events) for events in json_turn.take().events) == n
    assert sum(len(events) for events in arrow_turn.take().events) == 18
    assert (json_turn.messages, json_turn.n_bytes, arrow_turn.rows, arrow_turn.n_bytes) == (0, 0, 0, 0)


def test_what_is_refused_is_weighed_in_every_encoding() -> None:
    registry = build_registry([], [])
    for turn in (JsonDecoder(registry).accumulator(), ArrowDecoder(registry).accumulator()):
        turn.add(MessageBatch([b"\xff" * 100] * 3, np.zeros(3, np.int32), np.arange(3), np.zeros(3, np.int64)))
        assert (turn.messages, turn.rejected_bytes) == (3, 300)
        assert len(turn.take().rejected) == 3
        assert (turn.messages, turn.rejected_bytes) == (0, 0)


def test_a_flush_ends_where_its_panes_take_much_memory() -> None:
    desk = Desk()
    desk.flush.opened_s = time.monotonic()
    desk.flush.summaries.n_bytes = PANE_BYTES - 1
    assert not desk.sketcher._due(desk.flush, threading.Event())
    desk.flush.summaries.n_bytes = PANE_BYTES
    assert desk.sketcher._due(desk.flush, threading.Event())


def test_the_next_boundary_of_all_models_counts() -> None:
    assert boundary_s(100.0, (60, 20, 5), (3600, 600, 600)) == 120
    assert boundary_s(100.0, (3600, 0, 0), (86_400, 101, 0)) == 101


def test_without_models_and_on_the_replay_clock_there_is_none() -> None:
    assert boundary_s(100.0) == float("inf")
    assert boundary_s(100.0, (60, 20, 5), clock="replay") == float("inf")


def test_a_partition_is_caught_up_as_of_the_moment_before_its_end_was_asked_for() -> None:
    desk = Desk(partitions=1)
    desk.consumer.ends = {0: 10}
    desk.sketcher._probe(desk.flush)
    desk.now_s += 5
    # The log has grown since: what matters is the end of then.
    desk.consumer.ends = {0: 99}
    desk.sketcher._position[0] = 9
    desk.sketcher._probe(desk.flush)
    assert desk.flush.caught_up_ms == {}, "an offset is still unread"
    desk.sketcher._position[0] = 10
    desk.sketcher._probe(desk.flush)
    assert desk.flush.caught_up_ms == {0: 1_000_000}


def test_the_broker_is_not_asked_at_every_poll() -> None:
    desk = Desk(partitions=1)
    desk.consumer.ends = {0: 0}
    for _ in range(50):
        desk.sketcher._probe(desk.flush)
    asked = desk.consumer.asked
    assert asked <= 3
    desk.now_s += PROBE_S + 0.1
    desk.sketcher._probe(desk.flush)
    desk.sketcher._probe(desk.flush)
    assert desk.consumer.asked > asked
    assert desk.flush.caught_up_ms[0] > 1_000_000


def test_before_a_commit_partitions_that_were_never_asked_about_are_asked() -> None:
    desk = Desk()
    desk.consumer.ends = {0: 0, 1: 7}
    desk.sketcher._probe_reached(desk.flush)
    assert desk.flush.caught_up_ms == {0: 1_000_000}


def test_a_broker_that_does_not_answer_makes_nothing_caught_up() -> None:
    desk = Desk()
    desk.consumer.away = True
    desk.sketcher._probe(desk.flush)
    desk.sketcher._probe_reached(desk.flush)
    assert desk.flush.caught_up_ms == {}
    assert desk.sketcher._report.retries > 0


def test_a_pane_that_ended_waits_until_everything_up_to_its_end_was_read() -> None:
    desk = Desk()
    desk.flush.boundary_ms = 1_000_500
    desk.flush.caught_up_ms = {0: 1_000_600, 1: 1_000_600}
    assert not desk.sketcher._boundary_passed(desk.flush)
    desk.now_s = 1000.6
    assert desk.sketcher._boundary_passed(desk.flush)
    desk.flush.caught_up_ms[1] = 1_000_499
    assert not desk.sketcher._boundary_passed(desk.flush)
    # Who lags does not wait for ever.
    desk.now_s = 1000.5 + BOUNDARY_S
    assert desk.sketcher._boundary_passed(desk.flush)


def test_event_times_are_clipped_to_their_receipt_and_never_go_back() -> None:
    flush = Desk().flush
    first = columns("m", 3, [(0, Event("m", "1", 5000, 4000, None, None, "n", False))])
    second = columns(
        "m",
        3,
        [(i, Event("m", "1", at, 9000, None, None, "n", False)) for i, at in enumerate([2000, 3000])],
    )
    other = columns("b", 4, [(0, Event("b", "1", 7000, 9000, None, None, "n", False))])
    for events in (first, second, other):
        _note_times(flush, events)
    assert flush.newest_ms == {(3, "m"): 4000, (4, "b"): 7000}
    assert flush.oldest_ms == {3: 2000, 4: 7000}
    both = columns("m", 3, [(5, Event("m", "1", 8000, 8500, None, None, "n", False))])
    both.partition = np.array([4], dtype=np.int32)
    _note_times(flush, both)
    assert flush.newest_ms == {(3, "m"): 4000, (4, "b"): 7000, (4, "m"): 8000}
