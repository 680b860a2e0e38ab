"""Functions that are called after a change of the state: in order, on threads of their own."""

import logging
import os
import queue
import threading
import time

import pytest
from barograph.guard.change_notifier import HealthChange

from tests.unit.client.guard.guards import REASON, health_record, open_guard

WAIT_S = 30.0


def test_a_function_receives_each_change_in_order_with_its_reasons() -> None:
    guard, reader = open_guard()
    changes: queue.SimpleQueue[HealthChange] = queue.SimpleQueue()
    guard.on_change(changes.put)
    reader.receive(health_record("healthy", 1), True)
    reader.receive(health_record("healthy", 2), True)
    reader.receive(health_record("degraded", 3, reasons=(REASON,)), True)
    reader.receive(health_record("unknown", 4), True)
    reader.receive(health_record("unknown", 5, when_unknown="degrade"), True)
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
    others: queue.SimpleQueue[str] = queue.SimpleQueue()
    slow: list[str] = []
    is_called, release = threading.Event(), threading.Event()

    def block(change: HealthChange) -> None:
        slow.append(change.state)
        is_called.set()
        release.wait(WAIT_S)

    guard.on_change(block)
    guard.on_change(lambda change: others.put(change.state))
    reader.receive(health_record("healthy", 1), True)
    assert is_called.wait(WAIT_S)
    reader.receive(health_record("degraded", 2), True)
    reader.receive(health_record("healthy", 3), True)
    assert guard.state == "healthy"
    assert [others.get(timeout=WAIT_S) for _ in range(3)] == ["healthy", "degraded", "healthy"]
    assert slow == ["healthy"]
    release.set()
    guard.close(WAIT_S)
    assert slow == ["healthy", "degraded", "healthy"]


def test_close_abandons_a_function_that_blocks_and_a_function_may_close() -> None:
    guard, reader = open_guard()
    is_called, release, is_closed = threading.Event(), threading.Event(), threading.Event()

    def block(_: HealthChange) -> None:
        is_called.set()
        release.wait(WAIT_S)

    guard.on_change(block)
    reader.receive(health_record("healthy"), True)
    assert is_called.wait(WAIT_S)
    began_s = time.monotonic()
    guard.close(0.05)
    assert time.monotonic() - began_s < WAIT_S, "it did not wait for the function"
    assert not release.is_set()
    release.set()

    def close(_: HealthChange) -> None:
        other.close()
        is_closed.set()

    other, reader = open_guard()
    other.on_change(close)
    reader.receive(health_record("healthy"), True)
    assert is_closed.wait(WAIT_S)


def test_a_function_that_raises_is_logged_and_called_again(caplog: pytest.LogCaptureFixture) -> None:
    guard, reader = open_guard()
    states: list[str] = []

    def fail(change: HealthChange) -> None:
        states.append(change.state)
        raise RuntimeError("no")

    guard.on_change(fail)
    with caplog.at_level(logging.ERROR, "barograph.guard"):
        reader.receive(health_record("healthy", 1), True)
        reader.receive(health_record("degraded", 2), True)
        guard.close(WAIT_S)
    assert states == ["healthy", "degraded"]
    assert [each.message for each in caplog.records] == ["a callback on the state of model m failed"] * 2


def test_a_forked_child_passes_on_its_own_changes() -> None:
    """The parent's function blocks at the fork, with a change behind it in the queue: the child gets neither."""
    guard, reader = open_guard()
    received: queue.SimpleQueue[str] = queue.SimpleQueue()
    is_called, release = threading.Event(), threading.Event()

    def receive(change: HealthChange) -> None:
        received.put(change.state)
        is_called.set()
        release.wait(WAIT_S)

    guard.on_change(receive)
    reader.receive(health_record("healthy", 1), True)
    assert is_called.wait(WAIT_S)
    reader.receive(health_record("degraded", 2), True)
    assert received.get(timeout=WAIT_S) == "healthy"
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            reader.receive(health_record("healthy", 3), True)
            code = 0 if received.get(timeout=WAIT_S) == "healthy" else 1
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    release.set()
    assert received.get(timeout=WAIT_S) == "degraded"
    guard.close()
