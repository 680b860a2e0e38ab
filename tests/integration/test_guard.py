"""The guard: verdicts in ClickHouse, rules, the topic `model-health`, and the state in a serving process."""

from __future__ import annotations

import itertools
import signal
import time
from pathlib import Path

import pytest
from barograph.guard.guard import Guard
from barograph.guard.health import ModelHealth, decode_health
from confluent_kafka.admin import AdminClient, NewPartitions

from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from streams.errors import ProcessorError
from tests.support.guards import CONTRACT, WAIT_S, FastClock, insert_verdict, running
from tests.support.operation import held_up
from tests.support.pipeline import Pipeline, wait_for
from warehouse.client import connect


def test_a_serving_process_follows_the_verdicts(pipeline: Pipeline) -> None:
    pipeline.create(1)
    clock = FastClock()
    with connect(pipeline.address) as client, running(pipeline, "g1", clock):
        states: list[str] = []
        with Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix) as guard:
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


@pytest.mark.long
def test_a_new_leader_continues_where_the_one_before_ended(pipeline: Pipeline) -> None:
    pipeline.create(1)
    clock = FastClock()
    with connect(pipeline.address) as client:
        insert_verdict(client, int(clock()) // 60 * 60, 0.5, 1)
    with (
        running(pipeline, "g1", clock) as first,
        Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix) as guard,
    ):
        states: list[str] = []
        wait_for(lambda: guard.state == "degraded", "the drift", WAIT_S)
        guard.on_change(lambda changed: states.append(changed.state))
        with running(pipeline, "g2", clock):
            first.set()
            wait_for(lambda: guard._record is not None and guard._record.guard == "g2", "the second leader", WAIT_S)
            before = guard._record
            wait_for(lambda: guard._record is not before, "another record", WAIT_S)
        assert guard.state == "degraded"
        assert not states, "the state must not flap when the leader changes"


def published(pipeline: Pipeline) -> list[ModelHealth]:
    """Every record of the topic, in order."""
    return [decode_health(message.value()) for message in pipeline.read_all(pipeline.topics.model_health)]


@pytest.mark.long
def test_killed_and_paused_leaders_never_make_the_state_flap(pipeline: Pipeline) -> None:
    pipeline.create(1)
    pipeline.register(CONTRACT, [])
    with connect(pipeline.address) as client:
        insert_verdict(client, int(time.time()) // 60 * 60, 0.5, 1)
    pipeline.start("guard", "g1", clock="live")
    with Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix) as guard:

        def leads(instance: str) -> bool:
            return guard._record is not None and guard._record.guard == instance

        wait_for(lambda: guard.state == "degraded", "the drift", WAIT_S)
        states: list[str] = []
        guard.on_change(lambda changed: states.append(changed.state))
        pipeline.kill("g1")
        pipeline.start("guard", "g2", clock="live")
        wait_for(lambda: leads("g2"), "the guard after the killed one", WAIT_S)
        paused = pipeline.processes.pop("g2")
        paused.send_signal(signal.SIGSTOP)
        pipeline.start("guard", "g3", clock="live")
        wait_for(lambda: leads("g3"), "the guard after the paused one", WAIT_S)
        paused.send_signal(signal.SIGCONT)
        # It joins the group again, or its transaction is fenced and it ends. The group may make it the leader again.
        later = int(time.time() * 1000) + 15_000
        wait_for(lambda: guard._record is not None and guard._record.at_ms > later, "further records", WAIT_S)
        paused.send_signal(signal.SIGKILL)
        paused.wait(WAIT_S)
        assert not states
    records = published(pipeline)
    sequences = [record.sequence for record in records]
    assert sequences == sorted(set(sequences)), "each record has a higher number than the one before"
    assert {record.state for record in records} <= {"degraded", "healthy"}
    order = [key for key, _ in itertools.groupby(record.guard for record in records)]
    assert order[:3] == ["g1", "g2", "g3"]


@pytest.mark.long
def test_without_clickhouse_the_state_is_unknown_and_returns_by_itself(
    broker: LocalKafka, topic_prefix: str, tmp_path: Path
) -> None:
    with LocalClickHouse(tmp_path / "clickhouse", port=0) as engine:
        pipeline = Pipeline(broker.bootstrap_servers, engine.address("guard"), topic_prefix, tmp_path)
        pipeline.create(1)
        clock = FastClock()
        with (
            running(pipeline, "g1", clock),
            Guard("m", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.topics.prefix) as guard,
        ):
            states: list[str] = []
            wait_for(lambda: guard.state == "healthy", "the first record", WAIT_S)
            guard.on_change(lambda changed: states.append(changed.state))
            with held_up(engine.pid):
                wait_for(lambda: guard.state == "unknown", "blindness", WAIT_S)
                assert not guard.uses_fallback
                (reason,) = guard.reasons
                assert reason.rule == "blind"
            wait_for(lambda: guard.state == "healthy", "sight", WAIT_S)
        assert states == ["unknown", "healthy"]


def test_several_partitions_are_rejected(pipeline: Pipeline) -> None:
    pipeline.create(1)
    topic = pipeline.topics.model_health
    admin = AdminClient({"bootstrap.servers": pipeline.bootstrap})
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
    with (
        pytest.raises(ProcessorError, match=f"Topic {topic} has 2 partitions, .* run `barograph apply`"),
        running(pipeline, "g1", time.time),
    ):
        pass
