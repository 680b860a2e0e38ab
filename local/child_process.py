"""Child processes with a log file, a pid file, a readiness check and orderly shutdown.

Every child leads its own session, so Ctrl-C in the terminal reaches only the command, which then stops its children in
the right order (processors before the broker). The drawback is that nothing stops the children if the command itself is
killed. Two mechanisms prevent that:

* A **guard**: a shell that waits on a pipe whose other end this process holds. When this process ends for any reason,
  the pipe closes and the guard sends SIGTERM to the child. (PR_SET_PDEATHSIG of Linux does not work here: it needs code
  between fork and exec, which is unsafe with threads, and it fires when the *thread* that forked ends.)
* A **pid file** with the child's start time. The next start finds a child that outlived its guard, and never mistakes a
  reused pid for it.

A data folder has one owner at a time, which holds an advisory lock. The system releases the lock when the owner dies.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO

from barograph_server.local.private_files import UMASK, make_private, open_private, write_private

LOOPBACK = "127.0.0.1"

# One older log is kept; a development machine needs no more.
_LOG_LIMIT_BYTES = 16 * 2**20

# Waits poll cheap checks (signal 0, a loopback connect). 20 ms is short compared with any start and costs nothing.
_POLL_S = 0.02

# `read` returns when the pipe closes. The marker file is written first, so that a process that still finds the child
# alive knows that it is shutting down.
_GUARD_SCRIPT = 'read -r _; : > "$2"; kill -TERM "$1" 2> /dev/null'


class LocalStackError(Exception):
    """The local stack cannot perform an operation; the message says what to do."""


class PartMissingError(LocalStackError):
    """A component of the local stack is missing on this machine and cannot be installed."""


def started_at(pid: int) -> str | None:
    """Return the start time of process `pid` as an opaque string; None if there is no such process.

    The start time distinguishes two processes that had the same pid. A zombie process counts as ended.
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
    """The same for systems without /proc, with a resolution of one second."""
    done = subprocess.run(  # noqa: S603
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, start = done.stdout.strip().partition(" ")
    return start.strip() if state and not state.startswith("Z") else None


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll `condition` until it is true; return False if it is not within `timeout_s`."""
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


def choose_port(*preferred: int, besides: Collection[int] = ()) -> int:
    """Return the first free port of `preferred` (ignoring zeros), otherwise any free port, but none of `besides`.

    The port is not reserved until a server listens on it: the caller must be able to choose another, and names in
    `besides` the ports that it has chosen already.
    """
    for port in preferred:
        if port and port not in besides and port_is_free(port):
            return port
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in besides:
            return port


class OwnerLock:
    """An exclusive lock on a folder, held by one process until it releases the lock or dies."""

    def __init__(self, path: Path, what: str, *, owns_contents: bool = False) -> None:
        """Describe the lock.

        Args:
            what: What uses the folder, for messages.
            owns_contents: Whether everything in the folder is closed to other users too.
        """
        self._path = path
        self._what = what
        self._owns_contents = owns_contents
        self._file: IO[str] | None = None

    @property
    def is_held(self) -> bool:
        return self._file is not None

    def acquire(self) -> None:
        """Take the lock.

        The folder is closed to other users of the machine first.
        """
        if self._file is not None:
            return
        folder = self._path.parent
        try:
            make_private(folder, contents=self._owns_contents)
            file = open_private(self._path, "a+")
        except OSError as error:
            raise LocalStackError(
                f"{self._what} cannot use the folder {folder}: {error.strerror}. It must belong to you alone; choose "
                "another folder with BAROGRAPH_HOME."
            ) from error
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
        """Release the lock; does nothing if it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None


class ChildProcess:
    """One named child process, started by this process or by a previous owner."""

    def __init__(self, name: str, *, run_dir: Path, log_path: Path) -> None:
        """Describe the child; nothing is started.

        Args:
            name: Name in messages; also the stem of its files in `run_dir`.
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
        if self._process is not None:
            return self._process.poll() is None
        return self._identity is not None and started_at(self._identity[0]) == self._identity[1]

    @property
    def exit_code(self) -> int | None:
        """The child's exit code; None while it runs, and when it was started by a predecessor."""
        return self._process.poll() if self._process else None

    def find(self) -> bool:
        """Find a child left by a previous owner, and take it over if it runs and is not shutting down."""
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
            # Its guard has already sent SIGTERM: wait for the end, then report that there is no child.
            self._wait_gone(10)
            self.kill()
            return False
        self._watch()
        return True

    def spawn(
        self, argv: Sequence[str | Path], *, environ: Mapping[str, str] | None = None, working_dir: Path | None = None
    ) -> None:
        """Start the child; its output is appended to the log file."""
        if self.is_running:
            raise LocalStackError(f"{self.name} runs already (pid {self.pid}).")
        self.log_path.parent.mkdir(0o700, parents=True, exist_ok=True)
        self._pid_path.parent.mkdir(0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > _LOG_LIMIT_BYTES:
                self.log_path.replace(self.log_path.with_name(self.log_path.name + ".1"))
        self._leaving_path.unlink(missing_ok=True)
        with open_private(self.log_path, "a") as log:
            try:
                process = subprocess.Popen(  # noqa: S603
                    [str(word) for word in argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=None if environ is None else dict(environ),
                    cwd=working_dir,
                    umask=UMASK,
                    start_new_session=True,
                )
            except OSError as error:
                raise LocalStackError(f"{self.name} cannot be started: {argv[0]}: {error.strerror}.") from error
        start = started_at(process.pid)
        self._process = process
        # A child that has already exited has no start time; wait_ready reports it with the end of its log.
        self._identity = (process.pid, start) if start else None
        if start:
            write_private(self._pid_path, f"{process.pid} {start}\n")
            self._watch()

    def wait_ready(self, answers: Callable[[], bool], timeout_s: float) -> None:
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
        """Send SIGTERM to the child, and SIGKILL after `timeout_s`; return whether it exited before that."""
        self._signal(signal.SIGTERM, group=False)
        ended = self._wait_gone(timeout_s)
        self.kill()
        return ended

    def kill(self) -> None:
        """Kill the child and its process group (SIGKILL); does nothing if it does not run."""
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
        """Start the guard, which sends SIGTERM to the child when this process ends."""
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
            # Kill the guard before its pipe closes; otherwise it would take that for the end of this process.
            self._guard.kill()
            self._guard.wait()
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard = None
