import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from barograph import Guard
from barograph.guard.guard import HealthChange
from barograph.guard.health import HealthReason, HealthState, ModelHealth, encode_health
from barograph.guard.openfeature import GuardProvider
from barograph.publisher.observation import Observation
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from tests.support.fake_consumer import FakeMessage

REASON = HealthReason(rule="psi-major", field="temp", value=0.5)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class ManualReader:
    """Takes the place of a topic reader and its thread: a test passes messages on."""

    started = stopped = 0

    def open(self, settings: Any, topic: str, name: str, on_message: Any, on_tick: Any, **options: Any) -> Any:
        self.settings, self.topic, self.on_message = settings, topic, on_message
        self.tick: Callable[[], None] = on_tick
        self.confirm: Callable[[], None] = options.get("on_current", lambda: None)
        return self

    def start(self) -> None:
        self.started += 1

    restart_after_fork = start

    def stop(self, timeout_s: float) -> None:
        self.stopped += 1

    def receive(self, record: ModelHealth, is_new: bool = True) -> None:
        self.on_message(FakeMessage(5, encode_health(record), key_=record.model.encode()), is_new)


def open_guard(clock: Clock | None = None, **options: Any) -> tuple[Guard, ManualReader]:
    reader, clock = ManualReader(), clock or Clock()
    options |= {"bootstrap_servers": "kafka:9092", "monotonic": clock, "wall_clock": clock, "reader": reader.open}
    return Guard("m", **options), reader


def health_record(state: HealthState, sequence: int = 1, at_s: float = 1_000.0, **changes: Any) -> ModelHealth:
    changes |= dict.fromkeys(("at_ms", "evaluated_at_ms"), int(at_s * 1000))
    return ModelHealth(model="m", state=state, since_ms=0, sequence=sequence, **changes)


def test_the_state_is_unknown_until_a_record_arrives() -> None:
    guard, reader = open_guard(topic_prefix="eu-")
    assert (guard.state, guard.uses_fallback, guard.reasons) == ("unknown", False, ())
    assert (reader.topic, reader.settings["bootstrap.servers"]) == ("eu-model-health", "kafka:9092")
    reader.receive(health_record("degraded", reasons=(REASON,)))
    assert (guard.state, guard.uses_fallback, guard.reasons) == ("degraded", True, (REASON,))
    with pytest.raises(ValueError, match="stale_s is 0; it must be above 0"):
        open_guard(stale_s=0)


def test_a_state_becomes_unknown_when_records_stop_and_returns_with_them() -> None:
    clock = Clock()
    guard, reader = open_guard(clock, stale_s=60.0)
    reader.receive(health_record("healthy"))
    clock.now_s += 59
    reader.tick()
    assert guard.state == "healthy"
    clock.now_s += 1
    reader.tick()
    assert (guard.state, guard.reasons[0].rule) == ("unknown", "blind")
    reader.receive(health_record("healthy", 2, clock.now_s))
    assert guard.state == "healthy"


def test_the_contract_decides_what_happens_while_monitoring_is_blind() -> None:
    states: tuple[HealthState, ...] = ("healthy", "degraded")
    for state, when_unknown in itertools.product(states, ("keep", "degrade")):
        clock = Clock()
        guard, reader = open_guard(clock)
        expected = when_unknown == "degrade" or state == "degraded"
        reader.receive(health_record("unknown", known_state=state, when_unknown=when_unknown))
        assert (guard.state, guard.uses_fallback) == ("unknown", expected), (state, when_unknown)
        reader.receive(health_record(state, 2, when_unknown=when_unknown))
        assert (guard.state, guard.uses_fallback) == (state, state == "degraded"), (state, when_unknown)
        clock.now_s += 3_600
        reader.tick()
        assert (guard.state, guard.uses_fallback) == ("unknown", expected), (state, when_unknown)


def test_an_old_record_of_the_topic_is_stale_and_a_new_one_is_fresh_whatever_the_clocks_say() -> None:
    guard, reader = open_guard()
    reader.receive(health_record("degraded", at_s=0.0), False)
    assert (guard.state, guard.uses_fallback) == ("unknown", True)
    reader.receive(health_record("healthy", 2, at_s=0.0))
    assert guard.state == "healthy"
    reader.receive(health_record("degraded", 1), False)
    assert guard.state == "healthy", "a known record, after a lost connection"
    reader.receive(health_record("degraded", 2**40))
    reader.receive(health_record("healthy", 3))
    assert guard.state == "healthy", "a forged number"


def test_the_prediction_says_which_one_answered() -> None:
    guard, reader = open_guard()
    answer = guard.use(lambda x: x + 1, lambda x: 0)
    published: list[dict[str, Any]] = []

    def publish(**event: Any) -> None:
        published.append(event)

    def observe() -> Observation:
        return Observation(publish, id="r", features=None, arm=None, context={"origin": "JFK"}, at=1)

    with observe() as p:
        p.score = answer(1)
    reader.receive(health_record("degraded"))
    with observe() as p:
        p.score = answer(1)
    with observe() as p:
        thread = threading.Thread(target=answer, args=(1,))
        thread.start()
        thread.join()
        p.score = 5  # the thread does not see the observation
    assert answer(1) == 0, "outside of an observation the answer is the same"

    def fail(x: int) -> int:
        raise KeyError(x)

    with pytest.raises(KeyError):
        guard.use(fail, fail)(1)
    assert [(event["score"], event["context"]) for event in published] == [
        (2, {"origin": "JFK", "answered_by": "primary"}),
        (0, {"origin": "JFK", "answered_by": "fallback"}),
        (5, {"origin": "JFK"}),
    ]


def test_a_forked_child_reads_with_a_thread_of_its_own() -> None:
    guard, reader = open_guard()
    reader.receive(health_record("degraded"))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if reader.started == 2 and guard.state == "degraded" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert reader.started == 1
    guard.close()
    assert reader.stopped == 1


WAIT_S = 30.0


class Blocking:
    """A function that receives changes and returns once it is released."""

    def __init__(self) -> None:
        self.states: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.is_called, self.release = threading.Event(), threading.Event()

    def __call__(self, change: HealthChange) -> None:
        self.states.put(change.state)
        self.is_called.set()
        self.release.wait(WAIT_S)


def test_a_function_receives_each_change_in_order_with_its_reasons() -> None:
    guard, reader = open_guard()
    changes: queue.SimpleQueue[HealthChange] = queue.SimpleQueue()
    guard.on_change(changes.put)
    reader.receive(health_record("healthy", 1))
    reader.receive(health_record("healthy", 2))
    reader.receive(health_record("degraded", 3, reasons=(REASON,)))
    reader.receive(health_record("unknown", 4))
    reader.receive(health_record("unknown", 5, when_unknown="degrade"))
    received = [changes.get(timeout=WAIT_S) for _ in range(4)]
    assert [(each.state, each.uses_fallback, each.reasons) for each in received] == [
        ("healthy", False, ()),
        ("degraded", True, (REASON,)),
        ("unknown", False, ()),
        ("unknown", True, ()),  # a change of the decision alone
    ]
    guard.close()


def test_a_function_that_blocks_delays_neither_the_state_nor_other_functions() -> None:
    guard, reader = open_guard()
    slow, others = Blocking(), Blocking()
    others.release.set()
    guard.on_change(slow)
    guard.on_change(others)
    reader.receive(health_record("healthy", 1))
    assert slow.is_called.wait(WAIT_S)
    reader.receive(health_record("degraded", 2))
    reader.receive(health_record("healthy", 3))
    assert guard.state == "healthy"
    assert [others.states.get(timeout=WAIT_S) for _ in range(3)] == ["healthy", "degraded", "healthy"]
    assert slow.states.qsize() == 1
    slow.release.set()
    guard.close(WAIT_S)
    assert [slow.states.get_nowait() for _ in range(3)] == ["healthy", "degraded", "healthy"]


def test_close_abandons_a_function_that_blocks_and_a_function_may_close() -> None:
    guard, reader = open_guard()
    slow, is_closed = Blocking(), threading.Event()
    guard.on_change(slow)
    reader.receive(health_record("healthy"))
    assert slow.is_called.wait(WAIT_S)
    began_s = time.monotonic()
    guard.close(0.05)
    assert time.monotonic() - began_s < WAIT_S, "it did not wait for the function"
    slow.release.set()

    def close(_: HealthChange) -> None:
        other.close()
        is_closed.set()

    other, reader = open_guard()
    other.on_change(close)
    reader.receive(health_record("healthy"))
    assert is_closed.wait(WAIT_S)


def test_a_function_that_raises_is_logged_and_called_again(caplog: pytest.LogCaptureFixture) -> None:
    guard, reader = open_guard()
    states: list[str] = []

    def fail(change: HealthChange) -> None:
        states.append(change.state)
        raise RuntimeError("no")

    guard.on_change(fail)
    with caplog.at_level(logging.ERROR, "barograph.guard"):
        reader.receive(health_record("healthy", 1))
        reader.receive(health_record("degraded", 2))
        guard.close(WAIT_S)
    assert states == ["healthy", "degraded"]
    assert [each.message for each in caplog.records] == ["a callback on the state of model m failed"] * 2


def test_a_forked_child_passes_on_its_own_changes() -> None:
    """The parent's function blocks at the fork, with a change behind it in the queue: the child gets neither."""
    guard, reader = open_guard()
    slow = Blocking()
    guard.on_change(slow)
    reader.receive(health_record("healthy", 1))
    assert slow.states.get(timeout=WAIT_S) == "healthy"
    reader.receive(health_record("degraded", 2))
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            reader.receive(health_record("healthy", 3))
            code = 0 if slow.states.get(timeout=WAIT_S) == "healthy" else 1
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    slow.release.set()
    assert slow.states.get(timeout=WAIT_S) == "degraded"
    guard.close()


@pytest.fixture
def flags() -> Iterator[tuple[OpenFeatureClient, ManualReader]]:
    guard, reader = open_guard()
    api.set_provider(GuardProvider([guard]))
    yield api.get_client(), reader
    api.clear_providers()
    guard.close()


def test_a_flag_follows_the_state(flags: tuple[OpenFeatureClient, ManualReader]) -> None:
    client, reader = flags
    changes: queue.SimpleQueue[EventDetails] = queue.SimpleQueue()
    client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, changes.put)
    assert client.get_boolean_value("m.uses_primary", False)
    assert client.get_boolean_details("m.uses_primary", False).reason == Reason.STALE
    reader.receive(health_record("degraded", reasons=(REASON,)))
    details = client.get_boolean_details("m.uses_primary", True)
    assert (details.value, details.variant, details.reason) == (False, "degraded", Reason.DEFAULT)
    assert details.flag_metadata == {"state": "degraded", "reasons": "psi-major temp"}
    assert client.get_string_value("m.state", "?") == "degraded"
    assert changes.get(timeout=30).flags_changed == ["m.uses_primary", "m.state"]


def test_other_flags_give_the_default_and_an_error(flags: tuple[OpenFeatureClient, ManualReader]) -> None:
    client, _ = flags
    missing = client.get_boolean_details("other.uses_primary", True)
    assert (missing.value, missing.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
    for details in (
        client.get_boolean_details("m.state", True),
        client.get_string_details("m.uses_primary", "x"),
        client.get_integer_details("m.state", 1),
        client.get_object_details("m.state", {}),
    ):
        assert details.error_code == ErrorCode.TYPE_MISMATCH
        assert details.value in (True, "x", 1, {})
