"""The stack that is measured on: broker and engine in a folder of their own, topics, registered models, children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barograph.contract.file import dump_contract
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from benchmarks.workload import Workload
from local.clickhouse import PID_HEADER
from local.stack import LocalStack
from sketches.baseline.baseline import dump_baseline
from streams.topics import Topics
from warehouse import migrate
from warehouse.client import Address, Client, connect
from warehouse.tables import insert_rows

ROOT = Path(__file__).resolve().parents[1]
CHILD_TIMEOUT_S = 600.0


class Testbed:
    """A running stack and what is done with it between measurements."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.folder = folder
        self.bootstrap_servers = stack.addresses.bootstrap_servers
        self._host, self._port = stack.addresses.clickhouse_host, stack.addresses.clickhouse_port
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        self._children = 0
        self._engine_pid: int | None = None

    def address(self, database: str) -> Address:
        """Where a database is."""
        return Address(self._host, self._port, database)

    def client(self, database: str) -> Client:
        """A client of a database."""
        return connect(self.address(database), create=True)

    def engine_cpu_s(self) -> float:
        """CPU time of the engine's process so far, user and system."""
        if self._engine_pid is None:
            with urllib.request.urlopen(f"http://{self._host}:{self._port}/ping") as answer:
                self._engine_pid = int(answer.headers[PID_HEADER])
        # Behind the command's name, which may hold spaces: state is the first field, utime and stime the 12th and 13th.
        fields = Path(f"/proc/{self._engine_pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def create_topics(self, prefix: str, partitions: int = 1) -> Topics:
        """Make the topics of one prefix as `barograph apply` sets them up; those of events have some partitions."""
        topics = Topics(prefix)
        source = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(1 << 20)}
        expected = [NewTopic(name, partitions, 1, config=source) for name in (topics.predictions, topics.labels)]
        expected += [
            NewTopic(name, 1, 1)
            for name in (topics.partials, topics.predictions_dead, topics.labels_dead, topics.partials_dead)
        ]
        for future in self._admin.create_topics(expected).values():
            future.result(30)
        return topics

    def delete_topics(self, topics: Topics) -> None:
        """Delete what was filled, so that a run does not need more disk than its largest measurement."""
        names = [topics.predictions, topics.labels, topics.partials]
        names += [topics.predictions_dead, topics.labels_dead, topics.partials_dead]
        for future in self._admin.delete_topics(names).values():
            future.result(30)

    def register(self, database: str, workload: Workload) -> None:
        """Lay out a database and put contracts and baselines of a workload's models into it."""
        now = int(time.time() * 1000)
        contracts, baselines = [], []
        for contract, baseline in workload.each():
            contracts.append(
                {
                    "model": contract.model,
                    "contract_id": contract.id,
                    "yaml": dump_contract(contract),
                    "applied_at": now,
                }
            )
            baselines.append(
                {
                    "model": baseline.model,
                    "version": baseline.version,
                    "baseline_id": baseline.id,
                    "effective_from": 0,
                    "body": dump_baseline(baseline).decode(),
                    "reason": "benchmark",
                    "accepted_at": now,
                }
            )
        with self.client(database) as client:
            migrate.apply(client)
            insert_rows(client, "contracts", contracts)
            insert_rows(client, "baselines", baselines)

    def fill(
        self,
        topic: str,
        messages: Iterable[bytes],
        headers: list[tuple[str, bytes]] | None = None,
        *,
        partitions: int = 1,
        at_once: bool = False,
    ) -> tuple[int, int]:
        """Write messages as the publisher does (lz4, 50 ms batches); return how many, and their bytes.

        Args:
            topic: where to.
            messages: their values.
            headers: of each.
            partitions: they are laid on so many partitions in turn.
            at_once: in one transaction, so that consumers of committed messages see all of them at one moment.
        """
        settings: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "compression.type": "lz4",
            "linger.ms": 50,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 200_000,
        }
        if at_once:
            settings |= {"transactional.id": f"fill-{topic}", "transaction.timeout.ms": 600_000}
        producer = Producer(settings)
        if at_once:
            producer.init_transactions(60)
            producer.begin_transaction()
        n = size = 0
        for message in messages:
            while True:
                try:
                    producer.produce(topic, message, partition=n % partitions, headers=list(headers or ()))
                    break
                except BufferError:
                    producer.poll(0.1)
            n, size = n + 1, size + len(message)
            if n % 1000 == 0:
                producer.poll(0)
        if left := producer.flush(120):
            raise RuntimeError(f"{left} messages could not be written to {topic}")
        if at_once:
            producer.commit_transaction(60)
        return n, size

    def end_offset(self, topic: str) -> int:
        """The end of a topic's only partition."""
        at = TopicPartition(topic, 0)
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return int(self._admin.list_offsets({at: latest})[at].result(30).offset)

    def committed(self, group: str, topic: str, partitions: int = 1) -> int:
        """How many messages of a topic a group has committed, all partitions together."""
        expected = [TopicPartition(topic, p) for p in range(partitions)]
        requested = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, expected)])
        result = requested[group].result(30).topic_partitions
        return sum(max(0, at.offset) for at in result)

    def shares(self, group: str) -> list[int]:
        """How many partitions each member of a group has."""
        result = self._admin.describe_consumer_groups([group])[group].result(30)
        return [len(member.assignment.topic_partitions) for member in result.members]

    def forget_group(self, group: str) -> None:
        """Delete a group's offsets, so that the next of it reads from the start."""
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

    def run_child(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Run a measured process to its end and return what it found."""
        return self.start_child(name, **parameters).finish()

    def start_child(self, name: str, **parameters: Any) -> Child:
        """Start a measured process."""
        self._children += 1
        out = self.folder / f"{self._children:03d}-{name}.json"
        known = {
            "bootstrap_servers": self.bootstrap_servers,
            "host": self._host,
            "port": self._port,
            "folder": str(self.folder),
            "out": str(out),
            "stop": str(out.with_suffix(".stop")),
        }
        log = out.with_suffix(".log")
        return Child(name, start("benchmarks.children", name, json.dumps({**known, **parameters}), log=log), out, log)


@dataclass(frozen=True, slots=True)
class Child:
    """A measured process under way."""

    name: str
    process: subprocess.Popen[bytes]
    out: Path
    log: Path

    def stop(self) -> None:
        """Ask a child that looks for it to end."""
        self.out.with_suffix(".stop").touch()

    def finish(self) -> dict[str, Any]:
        """Wait for its end and return what it found.

        Raises:
            RuntimeError: it failed; with the end of what it said.
        """
        try:
            code = self.process.wait(CHILD_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if code or not self.out.exists():
            raise RuntimeError(f"{self.name} ended with {code}:\n{self.log.read_text(encoding='utf-8')[-3000:]}")
        result: dict[str, Any] = json.loads(self.out.read_text(encoding="utf-8"))
        return result


def start(module: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a module of this repository in a process of its own."""
    with log.open("ab") as out:
        return subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, stdout=out, stderr=out)
