"""Replay tokens: only committed resolutions verify them, and ordinary messages read nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError

from barograph_server.streams.dead_letters.dead_letter import DeadLetterPosition, Resolution, resolution_key
from barograph_server.streams.dead_letters.replay_verifier import WAIT_S, ReplayVerifier
from barograph_server.streams.events.batch import ReplayedDeadLetter
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address

TOKENS = [f"{i:032x}" for i in range(10)]


class Record:
    """Test double of a consumed message, or of the end of a partition."""

    def __init__(self, offset: int, resolution: Resolution | None) -> None:
        self._offset, self._resolution = offset, resolution

    def error(self) -> Any:
        return None if self._resolution is not None else KafkaError(KafkaError._PARTITION_EOF)

    def key(self) -> bytes:
        return resolution_key("id", DeadLetterPosition("predictions.dead", 0, self._offset)).encode()

    def value(self) -> bytes:
        return msgspec.json.encode(self._resolution)

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


class Topic:
    """Test double of the topic `dead-letters`, with one partition, and of the consumer that reads it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.committed: list[Resolution] = []
        self.open = 0
        """Offsets at the end that belong to an undecided transaction."""
        self.assigned: list[int] = []
        self.position = 0

    def replay(self, *numbers: int, counted: bool = True) -> None:
        self.committed += [
            Resolution(state="replayed", at_ms=1, token=TOKENS[number], counted=counted) for number in numbers
        ]

    def ends(self) -> dict[int, int]:
        return {0: len(self.committed) + self.open}

    def assign(self, partitions: list[Any]) -> None:
        (start,) = partitions
        self.assigned.append(start.offset)
        self.position = 0 if start.offset == OFFSET_BEGINNING else start.offset

    def unassign(self) -> None:
        pass

    def consume(self, _n: int, timeout_s: float) -> list[Record]:
        self.now_s += timeout_s
        offset = self.position
        if offset == len(self.committed):
            return [Record(offset, None)]
        self.position += 1
        return [Record(offset, self.committed[offset])]


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def verifier(topic: Topic) -> ReplayVerifier:
    settings = ProcessorSettings(instance="a", bootstrap_servers="none:1", warehouse=Address("none", 1, "d"))
    return ReplayVerifier(
        settings, "sketcher", monotonic=lambda: topic.now_s, make_consumer=lambda _config: topic, end_offsets=topic.ends
    )


def name(i: int) -> str:
    return f"predictions.dead/0/{i}"


def test_a_token_is_verified_by_its_resolution_and_read_no_further(verifier: ReplayVerifier, topic: Topic) -> None:
    topic.replay(0, 1)
    topic.replay(2, counted=False)
    assert verifier.verify([TOKENS[1]]) == {TOKENS[1]: ReplayedDeadLetter(name(1), counted=True)}
    assert topic.position == 2
    assert set(verifier.verify([TOKENS[0], TOKENS[1]])) == {TOKENS[0], TOKENS[1]}
    assert topic.assigned == [OFFSET_BEGINNING], "known tokens need no read"
    assert verifier.verify([TOKENS[2]]) == {TOKENS[2]: ReplayedDeadLetter(name(2), counted=False)}
    assert topic.assigned == [OFFSET_BEGINNING, 2]


def test_malformed_tokens_are_not_looked_up_and_drops_and_invented_tokens_verify_nothing(
    verifier: ReplayVerifier, topic: Topic
) -> None:
    malformed = ("", "predictions.dead/0/0", "A" * 32, f"{TOKENS[0]} ", "é" * 32)
    topic.committed = [Resolution(state="replayed", at_ms=1, token=token) for token in malformed]
    assert verifier.verify(malformed) == {}
    assert topic.assigned == []
    topic.committed = []
    topic.replay(0)
    topic.committed.append(Resolution(state="dropped", at_ms=1, reason="no", token=TOKENS[1]))
    assert set(verifier.verify(TOKENS[:3])) == {TOKENS[0]}
    # At the end of the topic a forged token costs one query of the end.
    assert verifier.verify([TOKENS[4]]) == {}
    assert len(topic.assigned) == 1
    # A recreated topic is read from its start.
    topic.committed.clear()
    topic.replay(5)
    assert set(verifier.verify([TOKENS[5]])) == {TOKENS[5]}


def test_a_message_that_is_readable_before_its_resolution_waits_for_it(
    verifier: ReplayVerifier, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.open = 1
    consume = topic.consume

    def commit_after_a_second(n: int, timeout_s: float) -> list[Record]:
        if topic.open and topic.now_s >= 1:
            topic.open = 0
            topic.replay(0)
        return consume(n, timeout_s)

    monkeypatch.setattr(topic, "consume", commit_after_a_second)
    assert set(verifier.verify([TOKENS[0]])) == {TOKENS[0]}
    assert topic.now_s < WAIT_S


def test_an_undecided_transaction_delays_a_message_only_so_long(verifier: ReplayVerifier, topic: Topic) -> None:
    topic.open = 1
    assert verifier.verify([TOKENS[0]]) == {}
    assert WAIT_S <= topic.now_s < WAIT_S + 1
