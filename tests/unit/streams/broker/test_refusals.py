"""An admin client that is refused says so, and one that was refused once does not say it for ever."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.broker import client as kafka_module
from streams.broker.client import Admin
from streams.errors import ProcessorError


class Answering:
    """Stands for librdkafka's client: each poll hands one error to the callback, or answers."""

    def __init__(self, admin: Admin, *steps: Any) -> None:
        self.admin, self.steps = admin, list(steps)
        self.future: Future[str] = Future()

    def poll(self, _timeout_s: float) -> None:
        if not self.steps:
            return
        step = self.steps.pop(0)
        if isinstance(step, KafkaError):
            self.admin._on_error(step)
        elif isinstance(step, KafkaException):
            self.future.set_exception(step)
        else:
            self.future.set_result(step)


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    monkeypatch.setattr(kafka_module, "REFUSED_S", 0.3)
    return Admin("127.0.0.1:1", {})


def ask(admin: Admin, *steps: Any) -> str:
    client: Any = Answering(admin, *steps)
    admin.client = client
    return str(admin.result(client.future, "ask"))


WRONG_PASSWORD = KafkaError(KafkaError._AUTHENTICATION, "SASL authentication failed")
NO_TLS = KafkaError(KafkaError._SSL, "handshake failed")
AWAY = KafkaError(KafkaError._TRANSPORT, "refused")


@pytest.mark.parametrize(
    ("error", "advice"), [(WRONG_PASSWORD, "BAROGRAPH_KAFKA_SASL_PASSWORD"), (NO_TLS, "ssl.ca.location")]
)
def test_a_refusal_is_told_before_the_request_times_out(admin: Admin, error: KafkaError, advice: str) -> None:
    with pytest.raises(ProcessorError, match=advice):
        ask(admin, error)


def test_a_request_that_times_out_is_explained_by_the_refusal(admin: Admin) -> None:
    timed_out = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    with pytest.raises(ProcessorError, match="BAROGRAPH_KAFKA_SASL_PASSWORD"):
        ask(admin, WRONG_PASSWORD, timed_out)


def test_an_answer_after_a_refusal_is_an_answer(admin: Admin) -> None:
    assert ask(admin, NO_TLS, "answer") == "answer"
    # Later, a slow answer is no refusal, and another error is itself.
    assert ask(admin, AWAY, AWAY, AWAY, AWAY, AWAY, "slow") == "slow"
    missing = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    with pytest.raises(KafkaException) as caught:
        ask(admin, NO_TLS, missing)
    assert caught.value is missing


def test_settings_that_the_client_does_not_know_are_told() -> None:
    with pytest.raises(ProcessorError, match=r"accept the client's settings.*no.such.property"):
        Admin("127.0.0.1:1", {"no.such.property": "1"})
