"""Processors as processes that are watched from outside: CPU, memory, open files, committed offsets.

CPU time comes from /proc/PID/stat in ticks of a hundredth of a second, all threads of the process together; who asks
for a rate lets so much time pass that a tick is little.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
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
"""After a processor said that it reads, until what it does once is done."""


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """A process at one moment."""

    cpu_s: float
    rss_mib: float
    files: int
    """Open file descriptors; what it holds open of /proc (the engine three for each thread) goes with the threads."""
    threads: int


def sample_process(pid: int) -> ProcessSample:
    """Look at a process of this user.

    Raises:
        OSError: it has ended.
    """
    # Behind the command's name, which may hold spaces: state is the first field, utime and stime the 12th and 13th.
    fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) * TICK_S
    rss_mib = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    files = sum(1 for each in (PROC / str(pid) / "fd").iterdir() if not _target(each).startswith("/proc/"))
    return ProcessSample(cpu_s, rss_mib, files, int(fields[17]))


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return "/proc/"  # It was closed meanwhile.


def find_pid(folder: Path, *words: str) -> int:
    """Find the process whose command line names a folder and some words.

    Raises:
        LookupError: none or several do.
    """
    result = []
    for each in PROC.iterdir():
        if each.name.isdigit():
            try:
                line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # It has ended meanwhile, or is another's.
            if str(folder) in line and all(word in line for word in words):
                result.append(int(each.name))
    if len(result) != 1:
        raise LookupError(f"{len(result)} processes have {words} and {folder} in their command line")
    return result[0]


class ProcessorProcess:
    """One processor, started with the settings of a benchmark."""

    def __init__(
        self, testbed: Testbed, kind: str, instance: str, *, database: str, prefix: str, **parameters: Any
    ) -> None:
        """Start it; `told` are further settings that `benchmarks.production` knows."""
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
        """Of the process."""
        return self._process.pid

    def sample(self) -> ProcessSample:
        """Look at it.

        Raises:
            RuntimeError: it has ended; with the end of what it said.
        """
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.kind} {self.instance} ended: {self._said()[-2000:]}")
        return sample_process(self.pid)

    def wait_assigned(self, partitions: int = 1) -> list[int]:
        """Wait until the last thing it said of its partitions is that it has at least so many; return those."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            self.sample()
            result: list[int] = []
            for line in self._said().splitlines():
                try:
                    message = json.loads(line)
                except ValueError:
                    continue
                if isinstance(message, dict) and message.get("event") == "assigned":
                    result = message["partitions"]
            if len(result) >= partitions:
                return result
            time.sleep(0.1)
        raise RuntimeError(f"{self.kind} {self.instance} was given no partitions: {self._said()[-2000:]}")

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop the process for as long as this lasts, which must be less than its session's time-out."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ask it to end; `wait` waits for it."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait for its end, and kill it where that takes too long."""
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def terminating(processes: Iterable[ProcessorProcess]) -> Iterator[list[ProcessorProcess]]:
    """End processes when this is over."""
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
        self._world = testbed
        self._admin = Admin(testbed.bootstrap_servers, {})

    def create_topics(self, prefix: str, *, sources: int = 1, partials: int = 1) -> Topics:
        """Make the topics of a prefix as `barograph apply` sets them up."""
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
        """How many messages of a topic a group has committed, over all partitions that begin at offset 0."""
        result = self._admin.committed(group, [(topic, p) for p in range(partitions)])
        return sum(max(0, int(each.offset)) for each in result)

    def log_bytes(self, topic: str) -> int:
        """Bytes of a topic's log, as batches lie on the broker's disk, compressed."""
        folders = self._world.folder.rglob(f"{topic}-*")
        return sum(file.stat().st_size for folder in folders if folder.is_dir() for file in folder.glob("*.log"))

    def producer(self) -> Producer:
        """A producer with the publisher's compression and batches."""
        return Producer(
            {
                "bootstrap.servers": self._world.bootstrap_servers,
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
    """Write messages, partition after partition in turns of a thousand, and wait until the broker has them.

    Raises:
        RuntimeError: it does not take them.
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
        raise RuntimeError(f"{left} messages could not be written to {topic}")
    return n


def wait_until(done: Any, message: str, timeout_s: float = TIMEOUT_S, pause_s: float = 0.1) -> None:
    """Wait until a callable is true. Raises RuntimeError where that does not happen in time."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not in {timeout_s:.0f} s: {message}")
        time.sleep(pause_s)
