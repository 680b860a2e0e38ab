"""The ClickHouse engine as a child process behind ClickHouse's HTTP interface, its data kept between runs.

The child is `local.door`: the engine (chDB) can be opened by one process at a time, so that one serves all.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from pathlib import Path
from types import TracebackType

from local.processes import (
    LOOPBACK,
    ChildProcess,
    LocalStackError,
    OwnerLock,
    choose_port,
    port_answers,
    port_is_free,
)

PREFERRED_PORT = 28123

PID_HEADER = "X-Barograph-Pid"

# Up in 1.5 s on an idle machine, plus the loading of the tables that it finds.
_START_TIMEOUT_S = 60

# A port may be taken between our choice and the door's bind.
_PORT_TRIES = 3


class LocalClickHouse:
    """An engine whose data lives in `data_dir`; also a context manager that starts and stops it."""

    host = LOOPBACK

    def __init__(self, data_dir: Path, *, port: int | None = None, log_dir: Path | None = None) -> None:
        """Describe the engine; nothing is started.

        Args:
            data_dir: Its folder; made when it is missing.
            port: The port to listen on; 0 for any free one; None for the one it had last, else 28123, else
                any free one.
            log_dir: Where `clickhouse.log` is written; by default `data_dir`.
        """
        self.data_dir = data_dir.absolute()
        self._port_wanted = port
        self._port = 0
        self._child = ChildProcess(
            "clickhouse", run_dir=self.data_dir, log_path=(log_dir or data_dir).absolute() / "clickhouse.log"
        )
        self._lock = OwnerLock(self.data_dir / "owner.lock", "The local ClickHouse")
        self._state_path = self.data_dir / "clickhouse.json"

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the first start."""
        return self._port

    @property
    def url(self) -> str:
        """The address of its HTTP interface.

        Raises:
            LocalStackError: It was not started yet.
        """
        if not self._port:
            raise LocalStackError("The local ClickHouse has no address yet; start it first.")
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id of the door, None when it does not run."""
        return self._child.pid

    @property
    def log_path(self) -> Path:
        """The door's log."""
        return self._child.log_path

    @property
    def is_running(self) -> bool:
        """Whether the door's process lives."""
        return self._child.is_running

    def start(self) -> None:
        """Start the engine, or take over the one that a crashed owner left, and wait until it answers.

        Raises:
            LocalStackError: Another process runs it, the port is taken, or the engine does not come up; in
                the last case the message ends with the last lines of its log.
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
        """End the engine in order; kill it when it takes longer than `timeout_s`."""
        if self._lock.is_held:
            self._child.terminate(timeout_s)
            self._lock.release()

    def kill(self) -> None:
        """End the engine at once, as a crash would (SIGKILL); its data stays."""
        if self._lock.is_held:
            self._child.kill()
            self._lock.release()

    def __enter__(self) -> LocalClickHouse:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_over(self) -> bool:
        """Whether an engine that a predecessor left runs on, answers, and is the one wanted."""
        if not self._child.find():
            return False
        self._port = self._last_port()
        if self._port_wanted in (None, 0, self._port) and door_pid(self._port) == self._child.pid:
            return True
        self._child.terminate(30)
        return False

    def _start_anew(self) -> None:
        if self._port_wanted and not port_is_free(self._port_wanted):
            raise LocalStackError(
                f"Port {self._port_wanted} is taken, so the local ClickHouse cannot listen on it. "
                "Free it or choose another."
            )
        preferred = (self._last_port(), PREFERRED_PORT) if self._port_wanted is None else (self._port_wanted,)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        for tries_left in reversed(range(_PORT_TRIES)):
            self._port = choose_port(preferred)
            self._state_path.write_text(json.dumps({"port": self._port}), encoding="utf-8")
            self._child.spawn(
                [sys.executable, "-m", "local.door", "--path", self.data_dir / "engine", "--port", str(self._port)],
                # The embedded engine takes its server's time zone from here.
                environ={**os.environ, "TZ": "UTC", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            try:
                self._child.wait_ready(self._answers, _START_TIMEOUT_S)
            except LocalStackError:
                lost_the_port = not self._child.is_running and port_answers(self._port)
                if not (lost_the_port and tries_left and not self._port_wanted):
                    raise
            else:
                return

    def _answers(self) -> bool:
        return door_pid(self._port) == self._child.pid

    def _last_port(self) -> int:
        try:
            return int(json.loads(self._state_path.read_text(encoding="utf-8"))["port"])
        except (OSError, ValueError, KeyError, TypeError):
            # Only a preference: whatever is wrong with the file, another port does as well.
            return 0


def door_pid(port: int) -> int | None:
    """The process id of the door that answers on this loopback port, None when none does."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/ping")
        reply = connection.getresponse()
        pid = reply.headers.get(PID_HEADER, "")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return int(pid) if pid.isdigit() else None
