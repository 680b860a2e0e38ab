"""An admin client reports failed authentication at once, and does not report an earlier failure for a later request."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.broker.client import Admin
from streams.errors import ProcessorError


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
    ("error", "advice"), [(WRONG_PASSWORD, "BAROGRAPH_KAFKA_SASL_PASSWORD"), (NO_TLS, "ssl.ca.location")]
)
def test_failed_authentication_is_reported_before_the_request_times_out(
    clock: Clock, admin: Admin, error: KafkaError, advice: str
) -> None:
    with pytest.raises(ProcessorError, match=advice):
        request(clock, admin, error)


def test_a_request_that_times_out_is_explained_by_failed_authentication(clock: Clock, admin: Admin) -> None:
    timed_out = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    with pytest.raises(ProcessorError, match="BAROGRAPH_KAFKA_SASL_PASSWORD"):
        request(clock, admin, WRONG_PASSWORD, timed_out)


def test_an_earlier_failure_does_not_concern_a_later_request(clock: Clock, admin: Admin) -> None:
    assert request(clock, admin, NO_TLS, "answer") == "answer"
    assert request(clock, admin, DOWN, DOWN, DOWN, DOWN, DOWN, "slow") == "slow"
    missing = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    with pytest.raises(KafkaException) as caught:
        request(clock, admin, NO_TLS, missing)
    assert caught.value is missing


def test_a_client_is_destroyed_with_its_last_reference_not_by_the_garbage_collector() -> None:
    gc.disable()
    try:
        client = weakref.ref(Admin("127.0.0.1:1", {}).client)
        assert client() is None
    finally:
        gc.enable()


def test_settings_that_the_client_does_not_know_are_named() -> None:
    with pytest.raises(ProcessorError, match=r"accept the client's settings.*no.such.property"):
        Admin("127.0.0.1:1", {"no.such.property": "1"})
