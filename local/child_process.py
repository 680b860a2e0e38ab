"""Child processes that are found again: log file, pid file, readiness, an orderly end.

Every child leads a session of its own, so a Ctrl-C in the terminal reaches the command alone, which then ends
its children in the order that it wants (processors before the broker). The price is that nothing would end
them if the command itself were killed; two things make up for it:

* a **guard**: a shell that waits on a pipe whose other end this process holds. When this process ends,
  however it ends, the pipe closes and the guard sends SIGTERM to the child. (PR_SET_PDEATHSIG of Linux is no
  substitute: it needs code between fork and exec, which is unsafe with threads, and it fires when the
  *thread* that forked ends.)
* a **pid file** with the child's start time, so that a child which outlived its guard is found by the next
  start and no reused pid is ever taken for it.

A data folder has one owner at a time, who holds an advisory lock on it; the system drops the lock when the
owner dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

LOOPBACK = "127.0.0.1"

# One generation is kept beside the current log; a dev machine needs no more.
_LOG_LIMIT_BYTES = 16 * 2**20

# Waits are loops over cheap tests (a signal 0, a connect to loopback): 20 ms is short beside every start here
# and costs nothing.
_POLL_S = 0.02

# `read` returns when the pipe closes. The mark comes first, so that whoever finds the child still alive
# knows that it is on its way out.
_GUARD_SCRIPT = 'read -r _; : > "$2"; kill -TERM "$1" 2> /dev/null'


class LocalStackError(Exception):
    """The local stack cannot do what was asked; the message says what to do about it."""


class PartMissingError(LocalStackError):
    """A part that the local stack is made of is neither on this machine nor to be had."""


def started_at(pid: int) -> str | None:
    """Tell when process `pid` was started, as an opaque string; None when there is no such process.

    Two processes that were given the same pid, one after the other, differ in it. A process that has ended
    and was not yet collected by its parent counts as gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if Path("/proc/self/stat").exists() else _started_at_by_ps(pid)
    # The second field is the command's name in parentheses, which may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    state, start_ticks = fields[0], fields[19]
    return None if state in "ZX" else start_ticks


def _started_at_by_ps(pid: int) -> str | None:
    """The same for systems without /proc, to the second."""
    done = subprocess.run(  # noqa: S603
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, start = done.stdout.strip().partition(" ")
    return start.strip() if state and not state.startswith("Z") else None


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Ask `condition` again and again until it holds; False when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def port_answers(port: int) -> bool:
    """Whether something accepts connections on this loopback port now."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def choose_port(*preferred: int) -> int:
    """Return the first free port of `preferred` (zeros are passed over), else any that the system gives.

    Nothing holds the port until its server listens, so whoever uses it must be ready to choose again.
    """
    for port in preferred:
        if port and port_is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


class OwnerLock:
    """The exclusive right to run something in a folder, held by one process until it lets go or dies."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._file: IO[str] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LocalStackError: A living process holds it.
        """
        if self._file is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise LocalStackError(
                f"{self._what} in {self._path.parent} is run by another process (pid {owner}). "
                "Use that one, stop it first, or choose another folder with BAROGRAPH_HOME."
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let go of the lock; harmless when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None


class ChildProcess:
    """One named child, started by this process or by a predecessor that is gone."""

    def __init__(self, name: str, *, run_dir: Path, log_path: Path) -> None:
        """Describe the child; nothing is started.

        Args:
            name: What messages call it; also the stem of its files in `run_dir`.
            run_dir: Where its pid file lives.
            log_path: Where its standard output and error go.
        """
        self.name = name
        self.log_path = log_path
        self._pid_path = run_dir / f"{name}.pid"
        self._leaving_path = run_dir / f"{name}.leaving"
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: tuple[int, str] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, None when it does not run."""
        return self._identity[0] if self._identity and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether the child lives."""
        if self._process is not None:
            return self._process.poll() is None
        return self._identity is not None and started_at(self._identity[0]) == self._identity[1]

    @property
    def exit_code(self) -> int | None:
        """The child's exit code; None while it runs, and when it was started by a predecessor."""
        return self._process.poll() if self._process else None

    def find(self) -> bool:
        """Look for the child that a predecessor left, and take it over if it lives and means to stay."""
        if self.is_running:
            return True
        try:
            pid_text, start = self._pid_path.read_text(encoding="utf-8").split()
            identity = int(pid_text), start
        except (OSError, ValueError):
            return False
        if started_at(identity[0]) != start:
            return False
        self._process, self._identity = None, identity
        if self._leaving_path.exists():
            # Its guard has already told it to end: see that it does, then say there is none.
            self._wait_gone(10)
            self.kill()
            return False
        self._watch()
        return True

    def spawn(
        self,
        argv: Sequence[str | Path],
        *,
        environ: Mapping[str, str] | None = None,
        working_dir: Path | None = None,
    ) -> None:
        """Start the child; its output is appended to the log file.

        Raises:
            LocalStackError: It runs already, or the program cannot be executed.
        """
        if self.is_running:
            raise LocalStackError(f"{self.name} runs already (pid {self.pid}).")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._pid_path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > _LOG_LIMIT_BYTES:
                self.log_path.replace(self.log_path.with_name(self.log_path.name + ".1"))
        self._leaving_path.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            try:
                process = subprocess.Popen(  # noqa: S603
                    [str(word) for word in argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=None if environ is None else dict(environ),
                    cwd=working_dir,
                    start_new_session=True,
                )
            except OSError as error:
                raise LocalStackError(f"{self.name} cannot be started: {argv[0]}: {error.strerror}.") from error
        start = started_at(process.pid)
        self._process = process
        # A child that is gone already has no start time; wait_ready reports it with its last words.
        self._identity = (process.pid, start) if start else None
        if start:
            scratch = self._pid_path.with_suffix(".new")
            scratch.write_text(f"{process.pid} {start}\n", encoding="utf-8")
            scratch.replace(self._pid_path)
            self._watch()

    def wait_ready(self, answers: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `answers` holds.

        Raises:
            LocalStackError: The child ended before, or did not answer in time (it is left running).
        """
        if wait_until(lambda: not self.is_running or answers(), timeout_s) and self.is_running:
            return
        if self.is_running:
            happened = f"does not answer after {timeout_s:.0f} s"
        else:
            code = self.exit_code
            happened = "ended" if code is None else f"ended with exit code {code}"
        raise LocalStackError(
            f"{self.name} {happened}. Its log is {self.log_path}; the end of it:\n{self.last_lines()}"
        )

    def last_lines(self, count: int = 15) -> str:
        """The end of the child's log, each line indented by two spaces."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 16_384))
                lines = log.read().decode("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        return "\n".join(f"  {line}" for line in lines[-count:]) or "  (empty)"

    def terminate(self, timeout_s: float) -> bool:
        """Ask the child to end, and kill it when it has not after `timeout_s`.

        Returns:
            Whether it ended by itself.
        """
        self._signal(signal.SIGTERM, group=False)
        ended = self._wait_gone(timeout_s)
        self.kill()
        return ended

    def kill(self) -> None:
        """End the child, and whatever it started, at once (SIGKILL); harmless when it does not run."""
        self._unwatch()
        if self.is_running:
            self._signal(signal.SIGKILL, group=True)
            self._wait_gone(10)
        if not self.is_running:
            self._pid_path.unlink(missing_ok=True)
            self._leaving_path.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals, *, group: bool) -> None:
        if self._identity is None or not self.is_running:
            return
        # The child leads its session, so its pid is also its process group's.
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self._identity[0], number)

    def _wait_gone(self, timeout_s: float) -> bool:
        return wait_until(lambda: not self.is_running, timeout_s)

    def _watch(self) -> None:
        """Set a guard on the child: it gets SIGTERM when this process ends."""
        assert self._identity is not None
        self._unwatch()
        self._guard = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _GUARD_SCRIPT, "guard", str(self._identity[0]), str(self._leaving_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _unwatch(self) -> None:
        if self._guard is not None:
            # Killed before its pipe is closed: it must not take the closing for our death.
            self._guard.kill()
            self._guard.wait()
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard = None
