"""The program of tests/instrumentations, in environments that each have one instrumentation of the `openai` client."""

import json
from typing import Any

from benchmarks.peers.environments import run_uv
from tests.support.pipeline import ROOT

FOLDER = ROOT / "tests" / "instrumentations"
TIMEOUT_S = 600.0


def install(name: str) -> None:
    run_uv(FOLDER / name, "sync", "--locked", "--quiet", timeout_s=TIMEOUT_S)


def make_calls(name: str, base_url: str, model: str, receiver_port: int) -> dict[str, dict[str, Any]]:
    environ = {
        "OTEL_SERVICE_NAME": "support-bot",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver_port}",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    command = ("run", "--locked", "--quiet", "python", str(FOLDER / "calls.py"), name, base_url, model)
    output = run_uv(FOLDER / name, *command, timeout_s=TIMEOUT_S, environ=environ)
    return {call["call"]: call for call in json.loads(output.splitlines()[-1])}
