"""Clients: failed authentication is reported at once, fetched errors are returned, and transactions may hang."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from barograph_server.streams.broker.client import Admin, fetch
from barograph_server.streams.broker.transactions import Transactions
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.prompts.prompt_log import PromptLog
from barograph_server.streams.runtime.lifecycle import EXIT_STUCK
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address
from tests.support.fake_consumer import FakeConsumer, failure, fake_settings


class FakeAdminClient:
    """Stands for librdkafka's client: each poll takes a second, and reports one error or completes the request."""

    def __init__(self, clock: Clock, admin: Admin, *steps: Any) -> None:
        self.clock, self.admin, self.steps = clock, admin, list(steps)
        self.future: Future[str] = Future()

    def poll(self, _timeout_s: float) -> None:
        self.clock.now_s += 1.0
        if not self.steps:
            return
        step = self.steps.pop(0)
        if isinstance(step, KafkaError):
            self.admin._failure.record(step)
        elif isinstance(step, KafkaException):
            self.future.set_exception(step)
        else:
            self.future.set_result(step)


class Clock:
    """Seconds that only polls move."""

    now_s = 0.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admin(clock: Clock) -> Admin:
    return Admin("127.0.0.1:1", {}, monotonic=lambda: clock.now_s)


def request(clock: Clock, admin: Admin, *steps: Any) -> str:
    client: Any = FakeAdminClient(clock, admin, *steps)
    admin.client = client
    return str(admin.result(client.future, "describe topic t"))


WRONG_PASSWORD = KafkaError(KafkaError._AUTHENTICATION, "SASL authentication failed")
NO_TLS = KafkaError(KafkaError._SSL, "handshake failed")
DOWN = KafkaError(KafkaError._TRANSPORT, "refused")


@pytest.mark.parametrize(
    ("steps", "advice"),
    [
        ([WRONG_PASSWORD], "BAROGRAPH_KAFKA_SASL_PASSWORD"),
        ([NO_TLS], "ssl.ca.location"),
        ([WRONG_PASSWORD, KafkaException(KafkaError(KafkaError._TIMED_OUT))], "BAROGRAPH_KAFKA_SASL_PASSWORD"),
    ],
)
def test_failed_authentication_is_reported_before_and_after_the_request_times_out(
    clock: Clock, admin: Admin, steps: list[Any], advice: str
) -> None:
    with pytest.raises(ProcessorError, match=advice):
        request(clock, admin, *steps)


def test_an_earlier_failure_does_not_concern_a_later_request(clock: Clock, admin: Admin) -> None:
    assert request(clock, admin, NO_TLS, "answer") == "answer"
    assert request(clock, admin, DOWN, DOWN, DOWN, DOWN, DOWN, "slow") == "slow"
    missing = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    with pytest.raises(KafkaException) as caught:
        request(clock, admin, NO_TLS, missing)
    assert caught.value is missing


def test_a_client_is_destroyed_with_its_last_reference_names_unknown_settings_and_returns_errors() -> None:
    gc.disable()
    try:
        client = weakref.ref(Admin("127.0.0.1:1", {}).client)
        assert client() is None
    finally:
        gc.enable()
    with pytest.raises(ProcessorError, match=r"accept the client's settings.*no.such.property"):
        Admin("127.0.0.1:1", {"no.such.property": "1"})
    end = failure(KafkaError._PARTITION_EOF)
    assert fetch(cast(Any, FakeConsumer([[end]])), 10, 0.1, "read predictions") == [end]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)), "describe topic .*prompts"),
        (SimpleNamespace(topic_id="t", partitions=[0, 1]), "prompts has 2 partitions, .* delete the topic, run `barog"),
    ],
)
def test_prompts_are_not_read_from_a_topic_that_is_missing_or_has_several_partitions(
    monkeypatch: pytest.MonkeyPatch, answer: Any, problem: str
) -> None:
    class Described:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.client = self

        def describe_topics(self, topics: Any, request_timeout: float) -> dict[str, Any]:
            return {fake_settings().topics.prompts: answer}

        def result(self, future: Any, action: str) -> Any:
            if isinstance(future, KafkaException):
                raise future
            return future

    monkeypatch.setattr("barograph_server.streams.broker.client.Admin", Described)
    with pytest.raises(ProcessorError, match=problem):
        PromptLog(fake_settings()).read()


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
