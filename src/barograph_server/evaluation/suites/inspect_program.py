"""inspect-ai as a program in an environment of its own, which uv creates from a lock file with hashes."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from barograph_server.errors import CommandError
from barograph_server.evaluation.suites.suite import EvalSuite
from barograph_server.local.kafka_jars import cache_dir
from barograph_server.streams.runtime.http_exchange import HttpError, exchange_once

PROJECT = Path(__file__).resolve().parent / "inspect"
SHOWN_LINES = 6
"""Last lines of a failed program in the message."""
INSTALL_TIMEOUT_S = 900.0
ENDPOINT_TIMEOUT_S = 10.0
_OWN_VARIABLES = "BAROGRAPH_"
"""Prefix of the variables that hold our settings, passwords included."""
_KEYLESS = "openai-api"
"""Provider of inspect-ai for servers with the API of OpenAI; it needs a key, also if the server needs none."""


def install_inspect() -> Path:
    """Return the program, and install its environment unless it is installed."""
    lock = hashlib.sha256((PROJECT / "uv.lock").read_bytes()).hexdigest()[:12]
    environment = cache_dir() / f"inspect-{lock}"
    complete = environment / "complete"
    if not complete.exists():
        run_program(
            [uv_program(), "sync", "--locked", "--quiet", "--project", str(PROJECT)],
            {"UV_PROJECT_ENVIRONMENT": str(environment)},
            cwd=PROJECT,
            timeout_s=INSTALL_TIMEOUT_S,
            what="The installation of inspect-ai",
        )
        complete.touch()
    return environment / "bin" / "inspect"


def run_inspect(program: Path, suite: EvalSuite, prompt: Mapping[str, Any], model: str, log_dir: Path) -> Path:
    """Run a suite, and return its log.

    Args:
        program: from `install_inspect`.
        prompt: `name`, `version`, `template` and `config` of the prompt; the task receives their file as `prompt`.
        log_dir: the folder for logs; each run gets a folder of its own in it.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{suite.task.stem}-", dir=log_dir)).resolve()
    prompt_file = folder / "prompt.json"
    prompt_file.write_text(json.dumps(prompt, ensure_ascii=False), encoding="utf-8")
    command = [
        *(str(program), "eval", suite.task.name, "--model", suite.model, "--epochs", str(suite.epochs)),
        *("-T", f"prompt={prompt_file}", "--max-connections", str(suite.connections)),
        *("--metadata", f"application={model}", "--metadata", f"prompt={prompt['name']}@{prompt['version']}"),
        *("--log-dir", str(folder), "--log-format", "eval", "--display", "plain"),
    ]
    if suite.endpoint is not None:
        command += ["--model-base-url", suite.endpoint]
    if suite.items is not None:
        command += ["--limit", str(suite.items)]
    what = f"inspect-ai with {suite.task.name}"
    # inspect-ai accepts only file names below the current folder.
    run_program(command, _keys(suite), cwd=suite.task.parent, timeout_s=suite.seconds, what=what)
    logs = sorted(folder.glob("*.eval"))
    if len(logs) != 1:
        raise CommandError(f"{what} wrote {len(logs)} logs to {folder} instead of one: a suite is one task.")
    return logs[0]


def require_endpoint(url: str) -> None:
    """Check that a server answers at a URL, whatever it answers."""
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"The endpoint {url!r} is not an address; write one such as http://127.0.0.1:8080/v1.")
    try:
        exchange_once("GET", f"{url.rstrip('/')}/models", ENDPOINT_TIMEOUT_S)
    except HttpError as error:
        raise CommandError(
            f"The model at {url} does not answer: {error.reason}. Start it, or name another with --endpoint."
        ) from error


def run_program(
    command: Sequence[str], variables: Mapping[str, str], *, cwd: Path, timeout_s: float, what: str
) -> None:
    """Run a program to its end.

    Args:
        variables: of the environment, beside those of this process.
        what: the subject of the message, such as `The installation of inspect-ai`.
    """
    # uv must not use this process's environment for the project, and a task does not need our passwords.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "PYTHONPATH") and not name.startswith(_OWN_VARIABLES)
    }
    process = subprocess.Popen(  # noqa: S603 - our own arguments
        command,
        cwd=cwd,
        # Without a buffer the lines of both outputs keep their order, so that the last ones say what failed.
        env=inherited | {"PYTHONUNBUFFERED": "1"} | dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # The program has children; a process group of its own allows to end all.
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _end(process)
        raise CommandError(f"{what} did not end within {timeout_s:,.0f} s and was stopped.") from None
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        lines = [line.rstrip() for line in output.splitlines() if line.strip()][-SHOWN_LINES:]
        raise CommandError("\n  ".join([f"{what} failed with status {process.returncode}. Its last lines:", *lines]))


def _end(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def uv_program() -> str:
    """Return the uv of the clone, or else that of the machine."""
    own = Path(__file__).resolve().parents[4] / "tools" / "uv"
    program = str(own) if own.exists() else shutil.which("uv")
    if program is None:
        raise CommandError("`eval run` installs inspect-ai with uv, which is not installed: run `pip install uv`.")
    return program


def _keys(suite: EvalSuite) -> dict[str, str]:
    provider, *names = suite.model.split("/")
    if provider != _KEYLESS or len(names) < 2:
        return {}
    variable = f"{names[0].upper().replace('-', '_')}_API_KEY"
    return {} if variable in os.environ else {variable: "none"}
