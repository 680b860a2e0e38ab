"""The guard and serving processes that follow it: verdicts, rules, the topic `model-health`, hostile records, forks.

Guards that are killed or paused, and servers that do not answer, are part of the fault tests (`tests/faults/guard.py`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from barograph.guard.guard import Guard
from barograph.guard.health import HealthState, ModelHealth, encode_health
from confluent_kafka import Producer

from barograph_server.alerts.guard.health_log import HealthLog
from barograph_server.warehouse.client import connect
from tests.support.guards import WAIT_S, FastClock, insert_verdict, running, settings_of
from tests.support.pipeline import Pipeline, wait_for

HOSTILE = (
    b"no JSON",
    b"\xff\xfe",
    b'{"model": "m"}',
    b"[" * 100_000,
    b'{"model": "m", "x": ' + b"[" * 100_000,
    *(
        b'{"model": "%s", "state": "%s", "since_ms": 1, "at_ms": %s, "evaluated_at_ms": 1, "sequence": %s}' % values
        for values in (
            (b"m", b"fine", b"1", b"1"),
            (b"m", b"healthy", b"1e400", b"1"),
            (b"m", b"healthy", b"1", b"9" * 20),
            (b"other", b"healthy", b"1", b"%d" % 2**53),
            (b"m", b"degraded", b"1", b"%d" % 2**53),
        )
    ),
)
"""Values of records with the key `m`."""


def health(state: HealthState, sequence: int) -> ModelHealth:
    now_ms = int(time.time() * 1000)
    return ModelHealth(model="m", state=state, since_ms=now_ms, at_ms=now_ms, evaluated_at_ms=now_ms, sequence=sequence)


@pytest.fixture
def log(pipeline: Pipeline) -> Iterator[HealthLog]:
    """The topic, written by a test."""
    pipeline.create(1)
    result = HealthLog(settings_of(pipeline, "writer"))
    result.lead()
    yield result
    result.close()


def follow(pipeline: Pipeline, **options: Any) -> Guard:
    return Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix, **options)


@pytest.mark.smoke
def test_a_serving_process_follows_the_verdicts(pipeline: Pipeline) -> None:
    pipeline.create(1)
    clock = FastClock()
    with connect(pipeline.address) as client, running(pipeline, "g1", clock):
        states: list[str] = []
        with follow(pipeline) as guard:
            assert guard.state == "unknown"
            guard.on_change(lambda changed: states.append(changed.state))
            answer = guard.use(lambda x: ("primary", x), lambda x: ("fallback", x))
            wait_for(lambda: guard.state == "healthy", "the first record", WAIT_S)
            assert answer(1) == ("primary", 1)
            insert_verdict(client, int(clock()) // 60 * 60, 0.5, 1)
            wait_for(lambda: guard.state == "degraded", "the drift", WAIT_S)
            assert answer(2) == ("fallback", 2)
            (reason,) = guard.reasons
            assert (reason.rule, reason.field, reason.value, reason.low) == ("psi-major", "temp", 0.5, 0.5)
            insert_verdict(client, int(clock()) // 60 * 60, 0.01, 2)
            wait_for(lambda: guard.state == "healthy", "the recovery", WAIT_S)
            assert answer(3) == ("primary", 3)
            history = "SELECT DISTINCT state, toString(rules), toString(fields) FROM model_health"
            stored = {("healthy", "[]", "[]"), ("degraded", "['psi-major']", "['temp']")}
            wait_for(lambda: stored <= set(client.rows(history)), "the rows of the table model_health", WAIT_S)
        assert states == ["healthy", "degraded", "healthy"]


def test_unreadable_records_are_ignored_and_reported_once(
    pipeline: Pipeline, log: HealthLog, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "barograph.guard"), follow(pipeline) as guard:
        log.publish([health("degraded", 1)])
        wait_for(lambda: guard.state == "degraded", "the first record", WAIT_S)
        producer = Producer({"bootstrap.servers": pipeline.bootstrap})
        topic = pipeline.topics.model_health
        for value in HOSTILE:
            producer.produce(topic, value, b"m")
        producer.produce(topic, b"\x00", b"\xff\xfe")
        producer.produce(topic, encode_health(health("healthy", 9)), b"another model")
        assert producer.flush(30) == 0
        changes: list[str] = []
        guard.on_change(lambda change: changes.append(change.state))
        assert log.publish([health("healthy", 2)])
        wait_for(lambda: changes, "the record after them", WAIT_S)
        assert changes == ["healthy"], "the state was kept"
    [warning] = [each.message for each in caplog.records]
    assert warning.startswith(f"an unreadable record of model m in topic {topic} is ignored, as are further ones: ")
    restored = log.lead()
    assert {model: record.sequence for model, record in restored.items()} == {"m": 2}, "a new leader ignores them too"


def test_a_forked_serving_process_follows_with_a_reader_of_its_own(pipeline: Pipeline, log: HealthLog) -> None:
    with follow(pipeline) as guard:
        log.publish([health("healthy", 1)])
        wait_for(lambda: guard.state == "healthy", "the first record", WAIT_S)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert str(guard.state) == "healthy", "until it has read, the state of the parent holds"
                end_s = time.monotonic() + WAIT_S
                while guard.state != "degraded" and time.monotonic() < end_s:
                    time.sleep(0.01)
                answer = guard.use(lambda: "primary", lambda: "fallback")
                code = 0 if answer() == "fallback" else 2
                guard.close()
            finally:
                os._exit(code)
        log.publish([health("degraded", 2)])
        assert os.waitpid(pid, 0)[1] == 0
        wait_for(lambda: guard.state == "degraded", "the parent follows too", WAIT_S)
