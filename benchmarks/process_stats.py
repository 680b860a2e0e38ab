"""Processors as child processes, sampled from outside: CPU, memory, open files, committed offsets.

CPU time comes from /proc/PID/stat in ticks of 10 ms, for all threads of the process together. Callers that compute a
rate must measure over a time that is long compared with a tick.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from benchmarks.stack import Testbed, start
from streams.broker.client import Admin
from streams.topics import Topics

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
TIMEOUT_S = 240.0
PROC = Path("/proc")
SETTLE_S = 3.0
"""Time for one-time work after a processor has been assigned its partitions."""


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """CPU time and resources of a process at one moment."""

    cpu_s: float
    rss_mib: float
    files: int
    """Open file descriptors without those of /proc, of which the engine has three per thread."""
    threads: int


def sample_process(pid: int) -> ProcessSample:
    """Sample a process of this user.

    Raises:
        OSError: the process has ended.
    """
    # After the command name, which may contain spaces: state is the first field, utime and stime the 12th and 13th.
    fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) * TICK_S
    rss_mib = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    files = sum(1 for each in (PROC / str(pid) / "fd").iterdir() if not _target(each).startswith("/proc/"))
    return ProcessSample(cpu_s, rss_mib, files, int(fields[17]))


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return "/proc/"  # The process has closed it.


def find_pid(folder: Path, *words: str) -> int:
    """Find the process whose command line contains a folder and some words.

    Raises:
        LookupError: no process matches, or several do.
    """
    result = []
    for each in PROC.iterdir():
        if each.name.isdigit():
            try:
                line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # The process has ended, or belongs to another user.
            if str(folder) in line and all(word in line for word in words):
                result.append(int(each.name))
    if len(result) != 1:
        raise LookupError(f"{len(result)} processes have {words} and {folder} in their command line")
    return result[0]


class ProcessorProcess:
    """A processor as a child process with the settings of a benchmark."""

    def __init__(
        self, testbed: Testbed, kind: str, instance: str, *, database: str, prefix: str, **parameters: Any
    ) -> None:
        """Start it; `parameters` are further settings of `benchmarks.production`."""
        address = testbed.address(database)
        arguments = {
            "bootstrap_servers": testbed.bootstrap_servers,
            "host": address.host,
            "port": address.port,
            "database": database,
            "prefix": prefix,
            "instance": instance,
            **parameters,
        }
        self.kind, self.instance = kind, instance
        self._log = testbed.folder / f"{prefix}{kind}-{instance}.log"
        self._process: subprocess.Popen[bytes] = start(
            "benchmarks.production", kind, json.dumps(arguments), log=self._log
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def sample(self) -> ProcessSample:
        """Sample the process.

        Raises:
            RuntimeError: the process has ended; the message has the end of its log.
        """
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.kind} {self.instance} ended: {self._log_text()[-2000:]}")
        return sample_process(self.pid)

    def wait_assigned(self, partitions: int = 1) -> list[int]:
        """Wait until the last assignment in its log has at least that many partitions, and return them."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            self.sample()
            result: list[int] = []
            for line in self._log_text().splitlines():
                try:
                    message = json.loads(line)
                except ValueError:
                    continue
                if isinstance(message, dict) and message.get("event") == "assigned":
                    result = message["partitions"]
            if len(result) >= partitions:
                return result
            time.sleep(0.1)
        raise RuntimeError(f"{self.kind} {self.instance} was assigned no partitions: {self._log_text()[-2000:]}")

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Pause the process during the block, which must be shorter than the session timeout."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Send SIGTERM; `wait` waits for the exit."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait for the exit, and kill the process after 60 s."""
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _log_text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def terminating(processes: Iterable[ProcessorProcess]) -> Iterator[list[ProcessorProcess]]:
    """Terminate processes at the end of the block."""
    running = list(processes)
    try:
        yield running
    finally:
        for process in running:
            process.end()
        for process in running:
            process.wait()


class Cluster:
    """Topics of several partitions on the run's broker."""

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self._admin = Admin(testbed.bootstrap_servers, {})

    def create_topics(self, prefix: str, *, sources: int = 1, partials: int = 1) -> Topics:
        """Create the topics of a prefix with the configuration of `barograph apply`."""
        topics = Topics(prefix)
        source = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(1 << 20)}
        expected = [
            NewTopic(topics.predictions, sources, 1, config=source),
            NewTopic(topics.labels, 1, 1, config=source),
        ]
        expected.append(NewTopic(topics.partials, partials, 1))
        expected += [
            NewTopic(name, 1, 1) for name in (topics.predictions_dead, topics.labels_dead, topics.partials_dead)
        ]
        for future in self._admin.client.create_topics(expected).values():
            future.result(60)
        return topics

    def committed(self, group: str, topic: str, partitions: int = 1) -> int:
        """Messages of a topic that a group has committed, over all partitions, which start at offset 0."""
        result = self._admin.committed(group, [(topic, p) for p in range(partitions)])
        return sum(max(0, int(each.offset)) for each in result)

    def log_bytes(self, topic: str) -> int:
        """Bytes of a topic's log segments on the broker's disk, compressed."""
        folders = self._testbed.folder.rglob(f"{topic}-*")
        return sum(file.stat().st_size for folder in folders if folder.is_dir() for file in folder.glob("*.log"))

    def producer(self) -> Producer:
        """A producer with the publisher's compression and batching."""
        return Producer(
            {
                "bootstrap.servers": self._testbed.bootstrap_servers,
                "compression.type": "lz4",
                "linger.ms": 50,
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": 200_000,
            }
        )


def send_all(
    producer: Producer,
    topic: str,
    messages: Iterable[bytes],
    *,
    partitions: Sequence[int] = (0,),
    headers: list[tuple[str, bytes]] | None = None,
) -> int:
    """Write messages, a thousand per partition in turn, and wait until the broker has acknowledged them.

    Raises:
        RuntimeError: the broker did not acknowledge all messages in time.
    """
    n = 0
    for n, message in enumerate(messages, 1):
        while True:
            try:
                producer.produce(
                    topic, message, partition=partitions[n // 1_000 % len(partitions)], headers=list(headers or ())
                )
                break
            except BufferError:
                producer.poll(0.1)
        if n % 1_000 == 0:
            producer.poll(0)
    if left := producer.flush(120):
        raise RuntimeError(f"Kafka did not acknowledge {left} messages for {topic}")
    return n


def wait_until(condition: Callable[[], bool], message: str, timeout_s: float = TIMEOUT_S, pause_s: float = 0.1) -> None:
    """Wait until a condition is true. Raises RuntimeError after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {timeout_s:.0f} s: {message}")
        time.sleep(pause_s)
