"""Every command that serves until Ctrl-C starts as a process, with every documented variable in its environment."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from barograph.contract import Text
from barograph.contract.evaluators import Evaluator

from barograph_server.cli.main import COMMANDS, import_command
from barograph_server.cli.run import ProcessorKind
from tests.support.environment import documented_environment
from tests.support.pipeline import ROOT, Pipeline, simple_baseline, simple_contract, wait_for

LINES = {
    **dict.fromkeys((f"run {kind}" for kind in get_args(ProcessorKind)), "started"),
    "changes serve --port 0": "stores changes",
    "review serve --model toy --evaluator cited --as ana": "Review 0 answers",
    "simulate --live": "of 1 model.",
    "dev": "Ctrl-C stops everything.",
}
"""What each prints when it serves."""


@pytest.mark.long
def test_every_command_that_serves_starts_with_the_documented_environment(pipeline: Pipeline, tmp_path: Path) -> None:
    helps: dict[str, str] = {}
    for name in COMMANDS:
        command = import_command(name)
        subcommands = getattr(command, "commands", {})
        helps |= {f"{name} {each}": str(subcommands[each].help) for each in subcommands} or {name: str(command.help)}
    serving = {name for name, text in helps.items() if re.search(r"until\s+(SIGTERM\s+or\s+)?Ctrl-C", text)}
    assert not {name for name in serving if not any(words.startswith(name) for words in LINES)}
    pipeline.create()
    evaluated = simple_contract(text=Text(content="keep", sample=1.0), evaluators={"cited": Evaluator(check="refusal")})
    pipeline.register(evaluated, [simple_baseline()])
    where = {f"clickhouse_{key}": getattr(pipeline.address, key) for key in ("host", "port", "database", "password")}
    where |= {"bootstrap_servers": pipeline.bootstrap, "topic_prefix": pipeline.topics.prefix, "otlp_port": 0}
    where |= {"scrape_targets": "[{model: toy, url: http://127.0.0.1:9/metrics}]"}
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **documented_environment(tmp_path)}
    environ |= {f"BAROGRAPH_{name.upper()}": str(value) for name, value in where.items()}
    logs = {words: tmp_path / f"{words}.log" for words in LINES}
    processes = {}
    try:
        for words, path in logs.items():
            command = [sys.executable, "-m", "barograph_server.cli.main", *words.split()]
            with path.open("wb") as log:
                processes[words] = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=log, stderr=log)
        for words, path in logs.items():
            wait_for(lambda: LINES[words] in path.read_text() or processes[words].poll() is not None, words)  # noqa: B023
        kinds, reports = {*get_args(ProcessorKind)}, "SELECT kind FROM pipeline"
        wait_for(
            lambda: (
                {kind for (kind,) in pipeline.rows(reports)} == kinds
                or any(each.poll() is not None for each in processes.values())
            ),
            "every processor to report",
        )
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGINT)
        ends = {words: process.wait(90) for words, process in processes.items()}
    assert ends == dict.fromkeys(LINES, 0), "\n".join(logs[words].read_text() for words, code in ends.items() if code)
