"""The testbed of the benchmarks: broker and engine, topics, registered models, child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from barograph_server.drills.run.live_models import register
from barograph_server.drills.run.plan import DrillModel
from barograph_server.local.stack import LocalStack
from barograph_server.provisioning.topics import TopicAdmin, topic_specs
from barograph_server.settings import Settings
from barograph_server.streams.topics import Topics
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Address, Client, connect
from benchmarks.measured_process import PASSWORD_VARIABLE, ProcessSample, sample_process
from benchmarks.processors import run_processor
from benchmarks.workload import Workload

ROOT = Path(__file__).resolve().parents[1]
CHILD_TIMEOUT_S = 600.0
TIMEOUT_S = 240.0
"""How long a benchmark waits for a processor."""
SETTLE_S = 3.0
"""Time for one-time work after a processor has been assigned its partitions."""
Measured = Callable[[dict[str, Any]], dict[str, Any]]
"""What a measured process does with its parameters; it returns what it measured."""


class Testbed:
    """A running broker and engine, with the operations between measurements."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.folder = folder
        self.bootstrap_servers = stack.addresses.bootstrap_servers
        self._clickhouse = stack.addresses.clickhouse("default")
        # Measured processes inherit it; their other parameters are on their command lines.
        os.environ[PASSWORD_VARIABLE] = self._clickhouse.password
        engine_pid = stack.clickhouse.pid
        assert engine_pid is not None
        self.engine_pid = engine_pid
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        self._children = 0

    def address(self, database: str) -> Address:
        return replace(self._clickhouse, database=database)

    def client(self, database: str) -> Client:
        return connect(self.address(database), create=True)

    def settings(self, database: str = "default", prefix: str = "") -> Settings:
        return Settings(bootstrap_servers=self.bootstrap_servers, warehouse=self.address(database), topic_prefix=prefix)

    def engine_cpu_s(self) -> float:
        """CPU time of the engine's process so far, user and system."""
        return sample_process(self.engine_pid).cpu_s

    def create_topics(self, prefix: str, partitions: int = 1, *, partials: int = 1) -> Topics:
        """Create the topics of a prefix as `barograph apply` does; `partitions` are those of the topics of events."""
        settings = replace(
            self.settings("default", prefix),
            predictions_partitions=partitions,
            labels_partitions=partitions,
            partials_partitions=partials,
        )
        admin, specs = TopicAdmin(settings), topic_specs(settings)
        for spec in specs:
            admin.create(spec)
        admin.wait(specs)
        return settings.topics

    def delete_topics(self, topics: Topics) -> None:
        """Delete topics, so that a run needs no more disk space than its largest measurement."""
        names = [topics.predictions, topics.labels, topics.partials]
        names += [topics.predictions_dead, topics.labels_dead, topics.partials_dead]
        for future in self._admin.delete_topics(names).values():
            future.result(30)

    def register(self, database: str, workload: Workload) -> None:
        """Create a database with the contracts and baselines of a workload's models."""
        with self.client(database) as client:
            migrate.apply(client)
            register(client, [DrillModel(contract, baseline, ()) for contract, baseline in workload.each()])

    def fill(
        self,
        topic: str,
        messages: Iterable[bytes],
        headers: list[tuple[str, bytes]] | None = None,
        *,
        key: bytes | None = None,
    ) -> tuple[int, int]:
        """Write messages to the first partition as the publisher does (lz4, 50 ms batches); return number and bytes."""
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "compression.type": "lz4",
                "linger.ms": 50,
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": 200_000,
            }
        )
        n = size = 0
        for message in messages:
            while True:
                try:
                    producer.produce(topic, message, key, partition=0, headers=list(headers or ()))
                    break
                except BufferError:
                    producer.poll(0.1)
            n, size = n + 1, size + len(message)
            if n % 1000 == 0:
                producer.poll(0)
        if left := producer.flush(120):
            raise RuntimeError(f"Kafka did not acknowledge {left} messages for {topic}")
        return n, size

    def end_offset(self, topic: str) -> int:
        at = TopicPartition(topic, 0)
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return int(self._admin.list_offsets({at: latest})[at].result(30).offset)

    def log_bytes(self, topic: str) -> int:
        """Bytes of a topic's log segments on the broker's disk, compressed."""
        folders = self.folder.rglob(f"{topic}-*")
        return sum(file.stat().st_size for folder in folders if folder.is_dir() for file in folder.glob("*.log"))

    def committed(self, group: str, topic: str) -> int:
        """Messages of a topic's only partition that a group has committed."""
        requested = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
        [at] = self._admin.list_consumer_group_offsets([requested])[group].result(30).topic_partitions
        return max(0, int(at.offset))

    def forget_group(self, group: str) -> None:
        """Delete a group, so that its next member reads from the start."""
        deadline = time.monotonic() + 60
        while True:
            try:
                for future in self._admin.delete_consumer_groups([group]).values():
                    future.result(30)
                return
            except KafkaException as error:
                if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                    return
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def run_child(self, work: Measured, **parameters: Any) -> dict[str, Any]:
        return self.start_child(work, **parameters).finish()

    def start_child(self, work: Measured, **parameters: Any) -> Child:
        """Start a process that calls a function of a module."""
        name = f"{work.__module__}.{work.__qualname__}"
        self._children += 1
        out = self.folder / f"{self._children:03d}-{name}.json"
        shared_parameters = {
            "bootstrap_servers": self.bootstrap_servers,
            "host": self._clickhouse.host,
            "port": self._clickhouse.port,
            "folder": str(self.folder),
            "out": str(out),
            "stop": str(out.with_suffix(".stop")),
        }
        command = [sys.executable, "-m", "benchmarks.measured_process", name]
        with out.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen(
                [*command, json.dumps({**shared_parameters, **parameters})], cwd=ROOT, stdout=log, stderr=log
            )
        return Child(" ".join(filter(None, (name, parameters.get("kind")))), process, out)

    def start_processor(self, kind: str, instance: str, **parameters: Any) -> Child:
        """Start a processor as in production; `database` and `prefix` are parameters that it needs."""
        return self.start_child(run_processor, kind=kind, instance=instance, **parameters)


@dataclass(frozen=True, slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]
    out: Path

    def stop(self) -> None:
        """Create the stop file, at which measured processors exit."""
        self.out.with_suffix(".stop").touch()

    def finish(self) -> dict[str, Any]:
        self.wait(CHILD_TIMEOUT_S)
        if self.process.returncode or not self.out.exists():
            raise RuntimeError(f"{self.name} exited with status {self.process.returncode}:\n{self._log()[-3000:]}")
        result: dict[str, Any] = json.loads(self.out.read_text(encoding="utf-8"))
        return result

    def sample(self) -> ProcessSample:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self._log()[-2000:]}")
        return sample_process(self.process.pid)

    def wait_event(
        self, event: str, after: float = 0.0, condition: Callable[[dict[str, Any]], bool] = lambda message: True
    ) -> float:
        """Wait until it logs an event after a moment, and return when (both Unix s)."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for line in self._log().splitlines():
                if f'"{event}"' in line and line.endswith("}"):
                    message = json.loads(line)
                    at = datetime.fromisoformat(message["timestamp"]).timestamp()
                    if message["event"] == event and at > after and condition(message):
                        return at
            self.sample()
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not log {event!r} within {TIMEOUT_S:.0f} s: {self._log()[-2000:]}")

    def wait_assigned(self, partitions: int = 1, after: float = 0.0) -> float:
        """Wait until it logs after a moment that it has at least that many partitions; return when (both Unix s)."""
        return self.wait_event("assigned", after, lambda message: len(message["partitions"]) >= partitions)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, timeout_s: float) -> None:
        """Wait for the exit, and kill the process after a time-out."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def _log(self) -> str:
        return self.out.with_suffix(".log").read_text(encoding="utf-8", errors="replace")


@contextmanager
def terminating(children: Iterable[Child]) -> Iterator[list[Child]]:
    """Terminate the processes of the list at the end of the block."""
    running = list(children)
    try:
        yield running
    finally:
        for child in running:
            child.process.terminate()
        for child in running:
            child.wait(60)


def wait_until(
    condition: Callable[[], bool], message: str, *, children: Sequence[Child] = (), pause_s: float = 0.1
) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if failed := [child.name for child in children if child.process.poll()]:
            raise RuntimeError(f"{', '.join(failed)} failed before {message}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {TIMEOUT_S:.0f} s: {message}")
        time.sleep(pause_s)
