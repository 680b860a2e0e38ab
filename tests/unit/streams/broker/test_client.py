"""Errors of a consumer that can do no more are never dropped with what it fetched."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError

from streams.broker.client import fetch
from streams.broker.transactions import Transactions
from streams.errors import ProcessorError
from streams.events.arrow_decoder import ArrowDecoder
from streams.events.json_decoder import JsonDecoder
from streams.registry.registry import Registry
from streams.runtime.lifecycle import EXIT_STUCK
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from streams.sketcher.sketcher import Sketcher
from warehouse.client import Address


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
    sketcher._topic, sketcher._consumer, sketcher._poll_messages = "predictions", Fenced(revoke), 10
    registry = Registry()
    sketcher._decoders = registry, JsonDecoder(registry), ArrowDecoder(registry)
    sketcher._settings = SimpleNamespace(flush_events=1, clock="live")
    sketcher._open = lambda metadata: SimpleNamespace(events=0, dead=[])
    sketcher._due = lambda flush, stop: False
    with pytest.raises(ProcessorError, match="give each its own --instance"):
        sketcher.flush_once(threading.Event())


def test_errors_of_single_partitions_are_handed_on() -> None:
    class Reading:
        def consume(self, *_: Any) -> list[Message]:
            return [Message(KafkaError._PARTITION_EOF)]

    found = fetch(cast(Any, Reading()), 10, 0.1, "read predictions")
    assert [message.error().code() for message in found] == [KafkaError._PARTITION_EOF]


class Hanging:
    """A producer whose call does not come back before somebody lets it."""

    def __init__(self, let: threading.Event) -> None:
        self._let = let

    def begin_transaction(self) -> None: ...

    def commit_transaction(self, *_: Any) -> None: ...

    def send_offsets_to_transaction(self, *_: Any) -> None:
        assert self._let.wait(30)


@pytest.mark.parametrize("hangs", [True, False])
def test_a_transaction_that_hangs_ends_its_process(hangs: bool) -> None:
    let, ended = threading.Event(), list[int]()

    def end(code: int) -> None:
        ended.append(code)
        let.set()

    settings = ProcessorSettings(instance="a", bootstrap_servers="127.0.0.1:1", warehouse=Address())
    transactions = Transactions(settings, "sketcher", Report("sketcher", "a"), stuck_s=0.05 if hangs else 30.0, end=end)
    transactions._producer = cast(Any, Hanging(let))
    if not hangs:
        let.set()
    transactions.commit([], [], None)
    assert ended == ([EXIT_STUCK] if hangs else [])
