"""Errors of a consumer that can do no more are never dropped with what it fetched."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError

from streams.kafka import fetch
from streams.process import ProcessorError
from streams.sketcher import Sketcher


class Message:
    """An error as a consumer hands it over."""

    def __init__(self, code: int) -> None:
        self._error = KafkaError(code, "Static consumer fenced by other consumer with same group.instance.id")

    def error(self) -> KafkaError:
        return self._error


class Fenced:
    """A consumer that is shut out: its partitions are taken away while it fetches, and it says so once."""

    def __init__(self, revoke: Any) -> None:
        self._revoke, self._said = revoke, False

    def consumer_group_metadata(self) -> None: ...

    def consume(self, *_: Any) -> list[Message]:
        if self._said:
            return []
        self._said = True
        self._revoke()
        return [Message(KafkaError._FATAL)]


def test_a_consumer_that_can_do_no_more_stops_its_processor_although_its_partitions_are_gone() -> None:
    sketcher: Any = Sketcher.__new__(Sketcher)

    def revoke() -> None:
        sketcher._generation += 1
        sketcher._assigned = []

    sketcher._generation, sketcher._assigned, sketcher._overtaken, sketcher._early = 1, [0], set(), []
    sketcher._topic, sketcher._consumer = "predictions", Fenced(revoke)
    sketcher._open = lambda metadata: None
    sketcher._due = lambda flush, stop: False
    with pytest.raises(ProcessorError, match="give each its own --instance"):
        sketcher.flush_once(threading.Event())


def test_errors_of_single_partitions_are_handed_on() -> None:
    class Reading:
        def consume(self, *_: Any) -> list[Message]:
            return [Message(KafkaError._PARTITION_EOF)]

    found = fetch(Reading(), 10, 0.1, "read predictions")
    assert [message.error().code() for message in found] == [KafkaError._PARTITION_EOF]
