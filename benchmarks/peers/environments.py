"""The peers' environments and processes: each installed from its own lock at its first use, in its own folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.measured_process import JsonObject

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
INSTALL_TIMEOUT_S = 600.0
RUN_TIMEOUT_S = 300.0


class PeerError(Exception):
    """A peer that does not install here, or whose program failed; the message says why."""


def install(name: str) -> None:
    """Install a peer exactly as its lock says; nothing happens where it already is.

    Raises:
        PeerError: it cannot be installed on this Python.
    """
    try:
        _finish(_uv(name, "sync", "--locked", "--quiet"), INSTALL_TIMEOUT_S)
    except PeerError as error:
        raise PeerError(f"does not install: {error}") from None


def run(name: str, parameters: JsonObject) -> JsonObject:
    """Run a peer's program to its end and return what it told.

    Raises:
        PeerError: it failed or told nothing.
    """
    module = f"benchmarks.peers.{name}.program"
    process = _uv(name, "run", "--locked", "--quiet", "python", "-m", module, json.dumps(parameters))
    try:
        message = _finish(process, RUN_TIMEOUT_S).splitlines()
        result: Any = json.loads(message[-1]) if message else None
    except (PeerError, ValueError) as error:
        raise PeerError(f"failed: {error}") from None
    if not isinstance(result, dict):
        raise PeerError("failed: it told nothing")
    return result


def _uv(name: str, command: str, *arguments: str) -> subprocess.Popen[str]:
    project = FOLDER / name
    # This repository's own environment must not be taken for the peer's, whatever this process was started by.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["UV_PROJECT_ENVIRONMENT"] = str(project / ".venv")
    return subprocess.Popen(
        [str(ROOT / "tools" / "uv"), command, "--project", str(project), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # uv runs the program as its child: both are ended together.
        start_new_session=True,
    )


def _finish(process: subprocess.Popen[str], timeout_s: float) -> str:
    try:
        message, complained = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise PeerError(f"it was not done after {timeout_s:.0f} s") from None
    if process.returncode:
        lines = [line.strip() for line in complained.splitlines() if line.strip()]
        raise PeerError(" ".join(lines[-3:])[-300:] or f"it ended with {process.returncode}")
    return message
