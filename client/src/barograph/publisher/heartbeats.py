"""Heartbeats of a serving process: its last sequence number, and how many events wait, on a connection of their own.

The last heartbeat is the *farewell*. A process that is killed sends none. If it has a state folder, another process
with this folder sends it: a file holds the last number, and its lock shows whether the process lives.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from barograph.events import HEARTBEAT_MARK, MARK_HEADER, MAX_SEQ, PublisherHeartbeat
from barograph.publisher import lifetime

STATE_VARIABLE = "BAROGRAPH_STATE_DIR"
HEARTBEAT_INTERVAL_S = 1.0
"""Time between two heartbeats while events wait, and how long they wait before the first one."""
SCAN_INTERVAL_S = 10.0
"""Time between two searches for files of processes that ended."""
MAX_FAREWELLS = 100
"""The most farewells of other processes that wait for Kafka at once."""
_SETTINGS = {
    "enable.idempotence": False,  # a heartbeat that arrives twice changes nothing
    "linger.ms": 0,
    "message.timeout.ms": 5_000,  # a newer one follows
    "compression.type": "none",
    "on_delivery": lambda _error, _message: None,
    "error_cb": lambda _error: None,
}
_MAGIC = b"barogr 1"
"""The first bytes of a file. Eight of the last number follow, in the machine's order, then the farewell in JSON."""
_HEAD_BYTES, _MAX_BYTES = 16, 4_096
_LOG = logging.getLogger("barograph")
_FAREWELL = msgspec.json.Decoder(PublisherHeartbeat)


class StateFile:
    """The last sequence number of this process, in a file that survives it. The kernel frees its lock at any end."""

    def __init__(self, folder: Path, topic: str, farewell: PublisherHeartbeat) -> None:
        """Create the file.

        Raises:
            OSError: The folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{topic}.{farewell.producer}.state"
        self._lock = _lock(self._path, os.O_CREAT | os.O_EXCL)
        number = (-1).to_bytes(8, sys.byteorder, signed=True)
        os.pwrite(self._lock, _MAGIC + number + msgspec.json.encode(farewell), 0)
        # A descriptor of its own: the map keeps it open, and it must not hold the lock.
        with self._path.open("r+b") as file:
            self.cells = memoryview(mmap.mmap(file.fileno(), _HEAD_BYTES)).cast("q")

    def close(self, *, remove: bool) -> None:
        """Free the lock of this process, and with `remove` delete the file: nobody needs to send the farewell."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._lock)


class RecordedNumbers:
    """Sequence numbers, each written to a state file before it is used."""

    def __init__(self, numbers: Iterator[int], cells: memoryview) -> None:
        self._numbers, self._cells = numbers, cells

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        seq = self._cells[1] = next(self._numbers)  # one store of eight bytes: a kill leaves no half of a number
        return seq


class Heartbeats:
    """Sends the heartbeats of one process, and the farewells of others that could not. Its owner calls `poll` often."""

    def __init__(
        self,
        topic: str,
        heartbeat: PublisherHeartbeat,
        folder: str | os.PathLike[str] | None,
        build: Callable[[dict[str, Any]], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the state file, if there is a folder for it.

        Args:
            folder: The state folder; None for none.
            build: Creates a Kafka producer with these settings beside the usual ones.

        Raises:
            OSError: The state folder cannot be written.
        """
        self._topic, self._heartbeat, self._build, self._clock = topic, heartbeat, build, clock
        self._folder = None if folder is None else Path(folder)
        self._kafka: Any = None
        self._next_scan_s = float("-inf")
        self._locks: set[int] = set()
        """Descriptors of the files of other processes whose farewells wait for Kafka."""
        self.is_farewell_due = False
        """Whether processors heard of this process and not yet of its end."""
        farewell = msgspec.structs.replace(heartbeat, ended=True)
        self._file = None if self._folder is None else StateFile(self._folder, topic, farewell)

    def record(self, numbers: Iterator[int], last: int) -> Iterator[int]:
        """Write the last sequence number to the state file, and return an iterator that writes each further one."""
        if self._file is None:
            return numbers
        self._file.cells[1] = last
        return RecordedNumbers(numbers, self._file.cells)

    def beat(self, seq: int, queued: int) -> None:
        """Send a heartbeat, unless an earlier one still waits for Kafka."""
        if not self._kafka:  # none, or one whose queue is empty
            self.is_farewell_due = True
            self._send(msgspec.structs.replace(self._heartbeat, seq=seq, queued=queued))

    def say_farewell(self, seq: int, queued: int, discarded: dict[str, int]) -> None:
        """Send the last heartbeat; `close` waits for it."""
        self.is_farewell_due = True
        farewell = msgspec.structs.replace(self._heartbeat, seq=seq, queued=queued, ended=True, discarded=discarded)
        self._send(farewell, self._on_farewell)

    def poll(self) -> None:
        """Handle Kafka's answers, and now and then send the farewells of other processes that ended."""
        if self._kafka is not None:
            self._kafka.poll(0)
        if self._folder is None or self._clock() < self._next_scan_s:
            return
        self._next_scan_s = self._clock() + SCAN_INTERVAL_S
        for path in self._folder.glob(f"{self._topic}.*.state"):
            if len(self._locks) >= MAX_FAREWELLS:
                break
            with contextlib.suppress(OSError):  # locked by its living process, or not readable
                self._send_farewell_of(path, _lock(path))

    def _send_farewell_of(self, path: Path, lock: int) -> None:
        self._locks.add(lock)
        try:
            content = os.pread(lock, _MAX_BYTES, 0)
            seq = int.from_bytes(content[len(_MAGIC) : _HEAD_BYTES], sys.byteorder, signed=True)
            farewell = _FAREWELL.decode(content[_HEAD_BYTES:])
            if content.startswith(_MAGIC) and 0 <= seq <= MAX_SEQ:
                self._send(msgspec.structs.replace(farewell, seq=seq), partial(self._on_farewell_of, path, lock))
                return
            if content.startswith(_MAGIC) and seq == -1:
                path.unlink(missing_ok=True)
        except Exception as error:  # not a file of a publisher, or Kafka's client takes no message: leave it
            _LOG.debug("no farewell of %s: %s", path, error)
        self._release(lock)

    def _send(self, heartbeat: PublisherHeartbeat, on_delivery: Callable[[Any, Any], None] | None = None) -> None:
        if self._kafka is None:
            self._kafka = self._build(_SETTINGS)
        self._kafka.produce(
            self._topic,
            msgspec.json.encode(heartbeat),
            key=heartbeat.producer,  # one partition keeps their order
            headers=[(MARK_HEADER, HEARTBEAT_MARK)],
            on_delivery=on_delivery or _SETTINGS["on_delivery"],
        )

    def _on_farewell(self, error: Any, _message: Any) -> None:
        self.is_farewell_due = error is not None

    def _on_farewell_of(self, path: Path, lock: int, error: Any, _message: Any) -> None:
        if error is None:
            path.unlink(missing_ok=True)
        self._release(lock)

    def _release(self, lock: int) -> None:
        self._locks.discard(lock)
        os.close(lock)

    def close(self, timeout_s: float) -> None:
        """Wait for the farewell, and leave the state file to another process if Kafka did not get it."""
        if self._kafka is not None:
            self._kafka.flush(timeout_s)
            self._kafka.purge()
            self._kafka.flush(0)
            self._kafka = None
        if self._file is not None:
            self._file.close(remove=not self.is_farewell_due)

    def abandon(self) -> None:
        """In a forked child: leave the file, the locks and the connection to the parent."""
        if self._kafka is not None:
            lifetime.leak(self._kafka)
        for lock in self._locks:
            os.close(lock)
        if self._file is not None:
            self._file.close(remove=False)


def _lock(path: Path, flags: int = 0) -> int:
    """Open a file and lock it; return the descriptor.

    Raises:
        OSError: Another process holds the lock, or the file cannot be opened.
    """
    import fcntl  # not on Windows

    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o600)
    try:
        # A new file may be locked for a moment by a process that looks for others.
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if flags else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
