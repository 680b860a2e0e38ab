"""The state in a serving process: fresh, stale, across restarts of the guard, and after a fork."""

import itertools
import os
import threading
from typing import Any

import pytest
from barograph.guard.health import HealthState
from barograph.publisher.observation import Observation

from tests.unit.client.guard.guards import REASON, Clock, health_record, open_guard


def test_the_state_is_unknown_until_a_record_arrives() -> None:
    guard, reader = open_guard(topic_prefix="eu-")
    assert (guard.state, guard.uses_fallback, guard.reasons) == ("unknown", False, ())
    assert (reader.topic, reader.settings["bootstrap.servers"]) == ("eu-model-health", "kafka:9092")
    reader.receive(health_record("degraded", reasons=(REASON,)), True)
    assert (guard.state, guard.uses_fallback, guard.reasons) == ("degraded", True, (REASON,))
    with pytest.raises(ValueError, match="stale_s is 0; it must be above 0"):
        open_guard(stale_s=0)


def test_a_state_becomes_unknown_when_records_stop_and_returns_with_them() -> None:
    clock = Clock()
    guard, reader = open_guard(clock, stale_s=60.0)
    reader.receive(health_record("healthy"), True)
    clock.now_s += 59
    reader.tick()
    assert guard.state == "healthy"
    clock.now_s += 1
    reader.tick()
    assert (guard.state, guard.reasons[0].rule) == ("unknown", "blind")
    reader.receive(health_record("healthy", 2, clock.now_s), True)
    assert guard.state == "healthy"


def test_the_contract_decides_what_happens_while_monitoring_is_blind() -> None:
    states: tuple[HealthState, ...] = ("healthy", "degraded")
    for state, when_unknown in itertools.product(states, ("keep", "degrade")):
        clock = Clock()
        guard, reader = open_guard(clock)
        expected = when_unknown == "degrade" or state == "degraded"
        reader.receive(health_record("unknown", known_state=state, when_unknown=when_unknown), True)
        assert (guard.state, guard.uses_fallback) == ("unknown", expected), (state, when_unknown)
        reader.receive(health_record(state, 2, when_unknown=when_unknown), True)
        assert (guard.state, guard.uses_fallback) == (state, state == "degraded"), (state, when_unknown)
        clock.now_s += 3_600
        reader.tick()
        assert (guard.state, guard.uses_fallback) == ("unknown", expected), (state, when_unknown)


def test_an_old_record_of_the_topic_is_stale_and_a_new_one_is_fresh_whatever_the_clocks_say() -> None:
    guard, reader = open_guard()
    reader.receive(health_record("degraded", at_s=0.0), False)
    assert (guard.state, guard.uses_fallback) == ("unknown", True)
    reader.receive(health_record("healthy", 2, at_s=0.0), True)
    assert guard.state == "healthy"
    reader.receive(health_record("degraded", 1), False)
    assert guard.state == "healthy", "a known record, after a lost connection"
    reader.receive(health_record("degraded", 2**40), True)
    reader.receive(health_record("healthy", 3), True)
    assert guard.state == "healthy", "a forged number"


def test_the_prediction_says_which_one_answered() -> None:
    guard, reader = open_guard()
    answer = guard.use(lambda x: x + 1, lambda x: 0)
    published: list[dict[str, Any]] = []

    def observe() -> Observation:
        return Observation(
            lambda **event: published.append(event), id="r", features=None, arm=None, context={"origin": "JFK"}, at=1
        )

    with observe() as p:
        p.score = answer(1)
    reader.receive(health_record("degraded"), True)
    with observe() as p:
        p.score = answer(1)
    with observe() as p:
        p.score = 5
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


def test_threads_do_not_see_the_observation_of_another() -> None:
    guard, _ = open_guard()
    answer = guard.use(lambda: 1, lambda: 0)
    published: list[dict[str, Any]] = []
    publish = lambda **event: published.append(event)  # noqa: E731 - one line
    with Observation(publish, id="r", features=None, arm=None, context=None, at=1) as p:
        thread = threading.Thread(target=answer)
        thread.start()
        thread.join()
        p.score = 1
    assert published[0]["context"] is None


def test_a_forked_child_reads_with_a_thread_of_its_own() -> None:
    guard, reader = open_guard()
    reader.receive(health_record("degraded"), True)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if reader.started == 2 and guard.state == "degraded" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert reader.started == 1
    guard.close()
    assert reader.stopped == 1
