"""Two guards are killed, paused and started twice, Kafka and ClickHouse are unavailable: no state may flap.

`model-health` is compared with the planted verdicts, and a serving process must see what the topic says.
"""

import os
import signal
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from barograph.guard.health import decode_health
from confluent_kafka import Consumer, TopicPartition

from barograph_server.alerts.guard.model_guard import BLIND_AFTER_S
from barograph_server.alerts.guard.processor import QUERY_TIMEOUT_S, REPORT_S, STEP_S
from tests.faults import guarded_serving
from tests.faults.guard_oracle import Limits, Planted, Record, check_client, check_order, check_topic
from tests.faults.oracle import Verdict
from tests.faults.trial_run import World
from tests.support.guards import contract_every, insert_verdict
from tests.support.pipeline import configure_topic, wait_for

SERVING, GUARDS = "serving-0", ("guard-0", "guard-1")
POINT = "before-publish"
"""The leader has evaluated the rules, and its records are not yet sent."""
EVERY_S, RECOVER_S = 10, 2
PATIENCE_S = 120.0
wait = partial(wait_for, patience_s=PATIENCE_S)


@dataclass(frozen=True)
class Scale:
    blind_after_s: int
    report_s: float
    stale_s: float
    kafka_s: float
    """How long Kafka is unavailable, at least; it stays so until the serving process is unknown."""
    warehouse_s: float
    """How long ClickHouse is unavailable, at least; it stays so until the guard says unknown."""


LONG = Scale(BLIND_AFTER_S, REPORT_S, 60.0, 60.0, 600.0)
"""The times of the product."""
SHORT = Scale(4, 1.0, 10.0, 0.0, 0.0)
"""The guards and the client of the short form have shorter times, so that it takes about a minute."""


class Topic:
    """Reads the committed records of `model-health` as they arrive."""

    def __init__(self, world: World) -> None:
        self._topic = world.pipeline.topics.model_health
        self._consumer = Consumer({"bootstrap.servers": world.pipeline.bootstrap, "group.id": "oracle", "log_level": 0})
        self._consumer.assign([TopicPartition(self._topic, 0, 0)])
        self.records: list[Record] = []

    def read(self, timeout_s: float = 0.2) -> list[Record]:
        while (message := self._consumer.poll(timeout_s)) is not None:
            if message.error() is None:
                self.records.append(Record(message.timestamp()[1] / 1000, decode_health(message.value() or b"")))
        return self.records

    def newest(self) -> Record:
        return self.read()[-1]

    def close(self) -> None:
        self._consumer.close()


class GuardRun:
    def __init__(self, world: World, scale: Scale) -> None:
        self.world, self.scale = world, scale
        self.began_s = time.time()
        self.record_seq = 0
        self.guard: dict[str, Any] = {"blind_after_s": scale.blind_after_s, "guard_report_s": scale.report_s}
        """Settings of a guard."""

    def begin(self) -> float:
        pipeline = self.world.pipeline
        pipeline.create(1)
        configure_topic(pipeline.bootstrap, pipeline.topics.model_health, message_timestamp_type="LogAppendTime")
        pipeline.register(contract_every(EVERY_S, RECOVER_S), [])
        drift_s = self.plant(0.5)
        self.topic = Topic(self.world)
        for name in GUARDS:
            self.world.fleet.add("guard", name, **self.guard)
        self.world.fleet.add("guarded", SERVING, model="m", stale_s=self.scale.stale_s)
        self.world.fleet.begin()
        wait(lambda: "degraded" in self.client_states(), "the serving process to be degraded")
        return drift_s

    def plant(self, psi: float) -> float:
        self.record_seq += 1
        with self.world.pipeline.client as client:
            insert_verdict(client, int(time.time()) // 60 * 60, psi, self.record_seq)
        return time.time()

    def kill(self) -> None:
        leader = self.leader()
        self.world.fleet.kill(leader)
        self.world.kills["guard at a random moment"] += 1
        self.after("kill -9", f"{leader}", 2)

    def pause(self) -> None:
        """Suspend the leader with evaluated records in its hands until another leads, and resume it."""
        fleet = self.world.fleet
        leader, ends = self.leader(), fleet.ends.total()
        fleet.arm(leader, POINT)
        if not fleet.wait_reached(leader, POINT, PATIENCE_S):
            raise AssertionError(f"{leader} did not reach {POINT}")
        fleet.send(leader, signal.SIGSTOP)
        wait(lambda: self.topic.newest().health.guard != leader, "another leader")
        written = len(self.topic.read())
        wait(lambda: len(self.topic.read()) >= written + 2, "its records")
        fleet.release(leader, POINT)
        fleet.send(leader, signal.SIGCONT)
        if not self.world.sabotage:
            wait(lambda: fleet.ends.total() > ends, "the end of the fenced guard")
        self.after("guard paused", f"{leader} {POINT}", 3)

    def start_twice(self) -> None:
        leader, ends = self.leader(), self.world.fleet.ends.total()
        self.world.fleet.add("guard", "twin", twin_of=leader, **self.guard)
        wait(lambda: self.world.fleet.ends.total() > ends, "the end of one of the two")
        self.world.fleet.stop_member("twin", signal.SIGTERM)
        self.after("guard started twice", leader, 2)

    def kafka_unavailable(self) -> None:
        pid = self.world.servers.broker.pid
        assert pid is not None
        began_s, before = time.time(), len(self.client_states())
        os.kill(pid, signal.SIGSTOP)
        try:
            wait(lambda: "unknown" in self.client_states()[before:], "the serving process to be unknown")
            time.sleep(max(0.0, began_s + self.scale.kafka_s - time.time()))
        finally:
            os.kill(pid, signal.SIGCONT)
        unavailable_s = time.time() - began_s
        wait(lambda: self.client_states()[-1] == "degraded", "the serving process to be degraded again")
        self.after("broker unreachable", f"for {unavailable_s:.0f} s", 2)

    def warehouse_unavailable(self) -> tuple[tuple[float, float], float]:
        """Cut the guards off from ClickHouse until they say so, and end the drift meanwhile; return when."""
        began_s = time.time()
        self.world.proxy.mode = "down"
        try:
            patience_s = self.limits().blind_after_s + PATIENCE_S
            wait(lambda: self.topic.newest().health.state == "unknown", "unknown", patience_s=patience_s)
            time.sleep(max(0.0, began_s + self.scale.warehouse_s - time.time()))
            calm_s = self.plant(0.01)
        finally:
            ended_s = time.time()
            self.world.proxy.mode = "open"
        wait(lambda: self.client_states()[-1] == "healthy", "the serving process to be healthy")
        self.after("warehouse down", f"for {ended_s - began_s:.0f} s", 2)
        return (began_s, ended_s), calm_s

    def finish(self) -> list[Record]:
        for name in (*GUARDS, SERVING):
            self.world.fleet.stop_member(name, signal.SIGTERM)
        records = list(self.topic.read(2.0))
        self.topic.close()
        self.world.source.n = len(records)
        return records

    def limits(self) -> Limits:
        session_s = self.world.pipeline.settings["session_timeout_s"]
        return Limits(
            EVERY_S, self.scale.blind_after_s, RECOVER_S, self.scale.stale_s, STEP_S + QUERY_TIMEOUT_S + session_s
        )

    def client_states(self) -> list[str]:
        journal = guarded_serving.read_journal(self.world.fleet.folder)
        return ["", *(line.value for line in journal if line.what == "state")]

    def leader(self) -> str:
        return self.topic.newest().health.guard

    def after(self, name: str, description: str, records: int) -> None:
        self.world.done[name] += 1
        self.world.say(f"{time.time() - self.began_s:5.0f} s: {name}: {description}")
        written = len(self.topic.read())
        wait(lambda: len(self.topic.read()) >= written + records, "records after it")


def run_guard(world: World, *, short: bool) -> Verdict:
    run = GuardRun(world, SHORT if short else LONG)
    drift_s = run.begin()
    for _ in range(1 if short else 5):
        run.kill()
        run.pause()
        run.start_twice()
    run.kafka_unavailable()
    blind_s, calm_s = run.warehouse_unavailable()
    records = run.finish()
    verdict = Verdict()
    check_topic(verdict, records, Planted(drift_s, blind_s, calm_s), run.limits())
    check_client(verdict, guarded_serving.read_journal(world.fleet.folder), records, run.scale.stale_s)
    return verdict


def run_paused_guard(world: World) -> Verdict:
    """Pause a leader only, and check the order of the records: the trial of the fence."""
    run = GuardRun(world, replace(SHORT, stale_s=LONG.stale_s))
    run.begin()
    run.pause()
    records = run.finish()
    verdict = Verdict()
    verdict.compared["records of model-health"] += len(records)
    check_order(verdict, records)
    return verdict
