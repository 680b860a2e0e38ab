"""Base class of the servers of the local stack: one folder, one owner, one port, one child process."""

import abc
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from barograph_server.local.child_process import (
    LOOPBACK,
    ChildProcess,
    LocalStackError,
    OwnerLock,
    choose_port,
    port_is_free,
)
from barograph_server.local.private_files import write_private

# Both servers start within seconds on an idle machine; a broker took 18 s on two cores shared with five busy processes.
# Only a hanging start waits this long, because a failed start is detected at once.
START_TIMEOUT_S = 120

# Another process may take the port between our choice and the server's bind.
_PORT_TRIES = 3


class LocalServer(abc.ABC):
    """A server of the local stack; also a context manager that starts and stops it.

    Attributes:
        host: The address that it listens on.
        data_dir: The folder with its data, settings and records, which persist after it stops.
    """

    host: ClassVar[str] = LOOPBACK
    _name: ClassVar[str]
    _title: ClassVar[str]
    _preferred_port: ClassVar[int]

    def __init__(self, data_dir: Path, *, port: int | None = None, log_dir: Path | None = None) -> None:
        """Describe the server; nothing is started.

        Args:
            data_dir: Its folder; made when it is missing.
            port: The port to listen on. Without it, and with 0: the one it had last if that is free, else the
                usual one (not with 0), else any free one.
            log_dir: Where its log is written; by default `data_dir`.
        """
        self.data_dir = data_dir.absolute()
        self._requested_port = port
        self._port = 0
        log_path = (log_dir or data_dir).absolute() / f"{self._name}.log"
        self._child = ChildProcess(self._name, run_dir=self.data_dir, log_path=log_path)
        self._lock = OwnerLock(self.data_dir / "owner.lock", self._title, owns_contents=True)
        self._state_path = self.data_dir / f"{self._name}.json"

    @property
    def port(self) -> int:
        if not self._port:
            raise LocalStackError(f"{self._title} has no address yet; start it first.")
        return self._port

    @property
    def pid(self) -> int | None:
        """Its process id, None when it does not run."""
        return self._child.pid

    @property
    def log_path(self) -> Path:
        return self._child.log_path

    @property
    def is_running(self) -> bool:
        return self._child.is_running

    def start(self) -> None:
        """Start the server, or take over the one left by a crashed owner, and wait until it answers."""
        if self._lock.is_held and self._child.is_running:
            return
        self._lock.acquire()
        try:
            if not self._take_over():
                self._start_new()
        except BaseException:
            self._child.kill()
            self._lock.release()
            raise

    def stop(self, timeout_s: float = 30) -> None:
        """Stop the server; kill it if that takes longer than `timeout_s`."""
        if self._lock.is_held:
            self._child.terminate(timeout_s)
            self._lock.release()

    def kill(self) -> None:
        """Kill the server (SIGKILL), as in a crash; its data persist."""
        if self._lock.is_held:
            self._child.kill()
            self._lock.release()

    def end_leftover(self) -> None:
        """Stop a server left by a crashed owner, if there is one."""
        self._lock.acquire()
        if self._child.find():
            self._child.terminate(timeout_s=30)
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abc.abstractmethod
    def _prepare(self, state: dict[str, Any]) -> None:
        """Prepare a start, and add to `state` what must be recorded."""

    @abc.abstractmethod
    def _command(self, state: dict[str, Any]) -> tuple[Sequence[str | Path], Mapping[str, str] | None]:
        """Return command line and environment (None for ours) of a server that listens on `state["port"]`.

        It may add further ports to `state`, under names that end in `port`.
        """

    @abc.abstractmethod
    def _answers(self, state: Mapping[str, Any]) -> bool:
        """Whether our own child answers as `state` describes it."""

    def _take_over(self) -> bool:
        """Whether a server left by a previous owner runs, answers, and has the requested port."""
        if not self._child.find():
            return False
        state = self._state()
        self._port = int(state.get("port", 0))
        is_requested = self._port > 0 and self._requested_port in (None, 0, self._port)
        if is_requested and self._answers(state):
            return True
        self._child.terminate(timeout_s=30)
        return False

    def _start_new(self) -> None:
        if self._requested_port and not port_is_free(self._requested_port):
            raise LocalStackError(
                f"Port {self._requested_port} is taken, so {self._title} cannot listen on it. Free it or choose "
                "another."
            )
        state = self._state()
        self._prepare(state)
        preferred = (int(state.get("port", 0)), self._preferred_port if self._requested_port is None else 0)
        for tries_left in reversed(range(_PORT_TRIES)):
            self._port = self._requested_port or choose_port(*preferred)
            state["port"] = self._port
            argv, environ = self._command(state)
            self._child.spawn(argv, environ=environ)
            try:
                self._child.wait_ready(lambda: self._answers(state), START_TIMEOUT_S)
            except LocalStackError:
                ports = [value for name, value in state.items() if name.endswith("port")]
                lost_a_port = not self._child.is_running and not all(map(port_is_free, ports))
                if self._requested_port or not lost_a_port or not tries_left:
                    raise
            else:
                # Only now: a port on which it never listened must not be recorded.
                self._write_state(state)
                return

    def _state(self) -> dict[str, Any]:
        """The record of this folder, with at least the last port; empty before the first start."""
        try:
            state = json.loads(self._state_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            state = None
        if not isinstance(state, dict):
            raise LocalStackError(f"{self._state_path} is damaged; delete {self.data_dir} to start from scratch.")
        return state

    def _write_state(self, state: Mapping[str, Any]) -> None:
        write_private(self._state_path, json.dumps(state))
