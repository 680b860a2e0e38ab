"""Environments and processes of the peers. Each peer is installed from its own lock file into its own folder."""

import json
import os
import signal
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measured_process import JsonObject

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
INSTALL_TIMEOUT_S = 600.0
RUN_TIMEOUT_S = 300.0
NO_TELEMETRY = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "WHYLOGS_NO_ANALYTICS": "True"}
"""Environment variables by which peers send no usage statistics: they would wait for servers out of reach."""


class PeerError(Exception):
    """A peer could not be installed, or its program failed; the message says why."""


def install(name: str) -> None:
    """Install a peer from its lock file, unless it is installed."""
    try:
        run_uv(FOLDER / name, "sync", "--locked", "--quiet", timeout_s=INSTALL_TIMEOUT_S)
    except PeerError as error:
        raise PeerError(f"does not install: {error}") from None


def version(name: str) -> str:
    """Return the version of a peer, which its project requires first."""
    project = tomllib.loads((FOLDER / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["dependencies"][0].rpartition("=")[2])


def run(name: str, parameters: JsonObject, program: str = "program", timeout_s: float = RUN_TIMEOUT_S) -> JsonObject:
    """Run a program of a peer, a module of its folder, and return its result."""
    module = f"{name}.{program}"
    command = ("run", "--locked", "--quiet", "python", "-m", "benchmarks.peers.child", module, json.dumps(parameters))
    try:
        lines = run_uv(FOLDER / name, *command, environ=NO_TELEMETRY, timeout_s=timeout_s).splitlines()
        result: Any = json.loads(lines[-1]) if lines else None
    except (PeerError, ValueError) as error:
        raise PeerError(f"failed: {error}") from None
    if not isinstance(result, dict):
        raise PeerError("failed: it printed no result")
    return result


def run_uv(
    project: Path, command: str, *arguments: str, timeout_s: float, environ: Mapping[str, str] | None = None
) -> str:
    """Run `sync` or `run` of uv in a project with an environment of its own, and return its output."""
    # uv must not use this repository's environment for the project.
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    # The package `benchmarks` imports this repository's package, which needs the standard library only.
    environment |= {"PYTHONPATH": str(ROOT / "src"), "UV_PROJECT_ENVIRONMENT": str(project / ".venv")} | dict(
        environ or {}
    )
    process = subprocess.Popen(
        [str(ROOT / "tools" / "uv"), command, "--project", str(project), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # uv runs the program as its child; a new process group allows to kill both.
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise PeerError(f"it did not finish within {timeout_s:.0f} s") from None
    if process.returncode:
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        raise PeerError(" ".join(lines[-3:])[-300:] or f"it exited with status {process.returncode}")
    return output
