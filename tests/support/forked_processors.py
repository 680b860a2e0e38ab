"""Processors as processes forked from a server that has loaded their modules, which saves one to two seconds of CPU.
Tests of startup or memory start them as users do."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Forked:
    def __init__(self, process: ForkServerProcess, name: str) -> None:
        self._process, self._name = process, name

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._name, timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


Running = Forked | subprocess.Popen[bytes]
"""Started by `fork` or in a fresh interpreter."""


def fork(main: Callable[[list[str]], int], arguments: list[str], log: Path, environ: Mapping[str, str]) -> Forked:
    """Run a function in a separate process, with its exit code; `environ` is the whole environment."""
    # Created before the start, so that a test that waits for a line can open it.
    log.touch()
    context = multiprocessing.get_context("forkserver")
    # Has no effect once the server runs.
    context.set_forkserver_preload(["tests.support.preload"])
    process = context.Process(target=_child, args=(main, arguments, str(log), dict(environ)), daemon=True)
    process.start()
    return Forked(process, f"{main.__module__} {' '.join(arguments)}")


def _child(main: Callable[[list[str]], int], arguments: list[str], log: str, environ: Mapping[str, str]) -> None:
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(written, number)
    os.close(written)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environ)
    sys.exit(main(arguments))
