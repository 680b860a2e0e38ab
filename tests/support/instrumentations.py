"""Programs of tests/instrumentations, each in its own environment with one instrumentation of the `openai` client."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from tests.support.pipeline import ROOT

FOLDER = ROOT / "tests" / "instrumentations"
TIMEOUT_S = 600.0


def install(name: str) -> None:
    """Install the environment of a program from its lock file, unless it is installed."""
    _uv(name, "sync", "--locked", "--quiet", environ={})


def make_calls(name: str, base_url: str, model: str, receiver_port: int) -> dict[str, dict[str, Any]]:
    """Run a program, and return what client and server measured, by call.

    Args:
        name: the program's folder.
        base_url: the server.
        model: its model.
        receiver_port: the port that receives the spans.
    """
    environ = {
        "OTEL_SERVICE_NAME": "support-bot",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver_port}",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    program = str(FOLDER / name / "main.py")
    output = _uv(name, "run", "--locked", "--quiet", "python", program, base_url, model, environ=environ)
    return {call["call"]: call for call in json.loads(output.splitlines()[-1])}


def _uv(name: str, command: str, *arguments: str, environ: dict[str, str]) -> str:
    project = FOLDER / name
    # uv must not use the environment of this repository for the program.
    inherited = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        [str(ROOT / "tools" / "uv"), command, "--project", str(project), *arguments],
        env={**inherited, "UV_PROJECT_ENVIRONMENT": str(project / ".venv"), **environ},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
