"""Processors as in production, as child processes: their samples and their logs."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from benchmarks.process_stats import ProcessSample, sample_process
from benchmarks.stack import TIMEOUT_S, Testbed, start

SETTLE_S = 3.0
"""Time for one-time work after a processor has been assigned its partitions."""


class ProcessorProcess:
    """A processor as a child process with the settings of a benchmark."""

    def __init__(
        self, testbed: Testbed, kind: str, instance: str, *, database: str, prefix: str, **parameters: Any
    ) -> None:
        """Start it; it appends to the log of its instance.

        `parameters` are further settings of `benchmarks.production`.
        """
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

    def sample(self) -> ProcessSample:
        """Sample the process.

        Raises:
            RuntimeError: the process has ended; the message has the end of its log.
        """
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.kind} {self.instance} ended: {self._log_text()[-2000:]}")
        return sample_process(self._process.pid)

    def wait_assigned(self, partitions: int = 1) -> None:
        """Wait until the last assignment in its log has at least that many partitions."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            self.sample()
            assigned = [message["partitions"] for message in self._messages("assigned")]
            if assigned and len(assigned[-1]) >= partitions:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.kind} {self.instance} was assigned no partitions: {self._log_text()[-2000:]}")

    def wait_event(
        self, event: str, after: float, condition: Callable[[dict[str, Any]], bool] = lambda message: True
    ) -> float:
        """Wait until it logs an event after a moment, and return when (both Unix s)."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for message in self._messages(event):
                at = datetime.fromisoformat(message["timestamp"]).timestamp()
                if at > after and condition(message):
                    return at
            self.sample()
            time.sleep(0.02)
        raise RuntimeError(f"{self.kind} {self.instance} did not log {event!r} within {TIMEOUT_S:.0f} s")

    def end(self) -> None:
        """Send SIGTERM; `wait` waits for the exit."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, and wait for the exit."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        """Wait for the exit, and kill the process after 60 s."""
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()

    def _messages(self, event: str) -> Iterator[dict[str, Any]]:
        """The messages about an event in its log."""
        for line in self._log_text().splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict) and message.get("event") == event:
                yield message

    def _log_text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def terminating(processes: Iterable[ProcessorProcess]) -> Iterator[list[ProcessorProcess]]:
    """Terminate the processes of the list at the end of the block."""
    running = list(processes)
    try:
        yield running
    finally:
        for process in running:
            process.end()
        for process in running:
            process.wait()
