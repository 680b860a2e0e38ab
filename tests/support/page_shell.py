"""Pages of the documentation, executed as they are written on the shared servers."""

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import uvicorn
from barograph import Publisher

from barograph_server.cli.dev import CONTRACTS_FOLDER
from barograph_server.operations.dev.processors import KINDS
from barograph_server.settings import load_settings
from tests.support import command_line, otlp
from tests.support.environment import unset_settings
from tests.support.pipeline import ROOT, Pipeline, wait_for

DOCS = ROOT / "docs"
EXIT_CODES = {"plan": (0, 3)}
"""Of commands that report by their exit code: `plan` ends with 3 if something would change."""


def page_commands(page: str) -> list[str]:
    """List the commands of the shell blocks of a page of docs/; a quoted text or a document may span lines."""
    commands, open_lines = [], ""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines(keepends=True):
            open_lines += line
            if "<<'EOF'" in open_lines and not open_lines.endswith("\nEOF\n"):
                continue
            if "<<" in open_lines or _is_complete(open_lines):
                commands += [open_lines.strip()] if open_lines.strip() else []
                open_lines = ""
        assert not open_lines, open_lines
    return commands


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)


def _is_complete(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


@dataclass
class Shell:
    pipeline: Pipeline
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    load_report: str = ""
    addresses: dict[str, str] = field(default_factory=dict)
    """Address in the page → the one in the test."""
    services: list[tuple[uvicorn.Server, Thread]] = field(default_factory=list)
    output: str = ""
    """Of the last command."""

    def run(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        if "$(" in line:
            printed = subprocess.run(
                ["/bin/bash", "-c", f"printf '%s\\n' {line}"], check=True, capture_output=True, text=True
            )
            words = printed.stdout.splitlines()
        match words:
            case ["cd", folder]:
                self.monkeypatch.chdir(folder)
            case ["barograph", "dev", *options]:
                self._start_processors(options[1] if options else "live")
            case ["barograph", "run", "otlp", "--instance", instance]:
                self.addresses[":4318"] = f":{otlp.start(self.pipeline, instance)}"
            case ["barograph", "run", kind, "--instance", instance]:
                self.pipeline.start(kind, instance)
            case ["uvicorn", app, "--port", port]:
                self._serve(app, port)
            case ["pip", "install", *_]:
                pass
            case ["python", "-m", module, *arguments]:
                subprocess.run([sys.executable, "-m", module, *arguments], check=True, timeout=60)
            case ["barograph", *arguments]:
                self._run_barograph(arguments)
            case _:
                done = subprocess.run(
                    self.actual(line), shell=True, check=True, timeout=60, stdout=subprocess.PIPE, text=True
                )
                self.output = done.stdout

    def actual(self, text: str) -> str:
        for written, address in self.addresses.items():
            text = text.replace(written, address)
        return text

    def _run_barograph(self, arguments: list[str]) -> None:
        # On a machine that runs other tests, counting takes longer than a user would wait.
        patience = ["--timeout", "600"] if arguments[0] == "load" and "--timeout" not in arguments else []
        code = command_line.run(*arguments, *patience)
        output, errors = self.capsys.readouterr()
        assert code in EXIT_CODES.get(arguments[0], (0,)), f"{arguments}\n{output}\n{errors}"
        self.output = output
        if arguments[0] == "load":
            self.load_report = errors
        if arguments[0] == "query" and "latest_performance" in arguments[1]:
            assert len(output.splitlines()) > 1, "`load` waits until performance is judged"

    def execute(self, script: str) -> dict[str, Any]:
        from_contract = partial(Publisher.from_contract, topic_prefix=self.pipeline.prefix)
        names: dict[str, Any] = {"__name__": "__main__"}
        with self.monkeypatch.context() as patch:
            patch.setattr(Publisher, "from_contract", from_contract)
            exec(compile(script, "serve.py", "exec"), names)
        return names

    def _serve(self, app: str, port: str) -> None:
        module, _, name = app.partition(":")
        application = self.execute(Path(f"{module}.py").read_text(encoding="utf-8"))[name]
        with socket.create_server(("127.0.0.1", 0)) as free:
            chosen = free.getsockname()[1]
        self.addresses[f":{port}/"] = f":{chosen}/"
        server = uvicorn.Server(uvicorn.Config(application, port=chosen, log_level="warning"))
        thread = Thread(target=server.run)
        thread.start()
        self.services.append((server, thread))
        wait_for(lambda: server.started, "the service")

    def stop(self) -> None:
        for server, thread in self.services:
            server.should_exit = True
            thread.join(30)

    def _start_processors(self, clock: str) -> None:
        """Do what `dev` does, on the shared servers: apply the contracts and start each processor.

        tests/integration/test_cli_dev.py tests the command itself.
        """
        self._run_barograph(["apply", *map(str, CONTRACTS_FOLDER.glob("*.yaml"))])
        days = load_settings(None, needs=()).retention_days
        self.pipeline.clock = clock
        for kind in KINDS:
            settings: dict[str, Any] = {"score_s": 0.5} if kind == "scorer" else {}
            self.pipeline.start(kind, retention_days=days, **settings)
        # Where other tests run, a processor may start for longer than `load` waits for its first report.
        self.pipeline.wait_rows(f"SELECT uniqExact(kind) = {len(KINDS)} FROM pipeline", "reports of all processors")


@pytest.fixture
def shell(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    monkeypatch.chdir(tmp_path)
    unset_settings(monkeypatch)
    address = pipeline.address
    for name, value in {
        "BOOTSTRAP_SERVERS": pipeline.bootstrap,
        "TOPIC_PREFIX": pipeline.prefix,
        "PREDICTIONS_PARTITIONS": 2,
        "LABELS_PARTITIONS": 2,
        "PARTIALS_PARTITIONS": pipeline.partials_partitions,
        "CLICKHOUSE_HOST": address.host,
        "CLICKHOUSE_PORT": address.port,
        "CLICKHOUSE_DATABASE": address.database,
        "CLICKHOUSE_USERNAME": address.username,
        "CLICKHOUSE_PASSWORD": address.password,
    }.items():
        monkeypatch.setenv(f"BAROGRAPH_{name}", str(value))
    result = Shell(pipeline, capsys, monkeypatch)
    yield result
    result.stop()
