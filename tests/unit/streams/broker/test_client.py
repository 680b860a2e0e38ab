"""Fetched errors, and transactions that hang."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError

from streams.broker.client import fetch
from streams.broker.transactions import Transactions
from streams.runtime.lifecycle import EXIT_STUCK
from streams.runtime.metrics_report import Report
from streams.settings import ProcessorSettings
from tests.support.fake_consumer import FakeConsumer, failure
from warehouse.client import Address


def test_errors_of_single_partitions_are_returned() -> None:
    end = failure(KafkaError._PARTITION_EOF)
    assert fetch(cast(Any, FakeConsumer([[end]])), 10, 0.1, "read predictions") == [end]


class Hanging:
    """A producer whose call blocks until it is released."""

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
