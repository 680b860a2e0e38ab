"""Four tables from Parquet to verdicts with the README's commands; the tutorials are executed as they are written."""

import json
import re
import shlex
import subprocess
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from barograph import Publisher
from barograph.contract import LabelSpec

from barograph_server.cli.dev import CONTRACTS_FOLDER
from barograph_server.examples.demo.shadow_demo import unprocessed
from barograph_server.operations.dev.processors import KINDS
from barograph_server.settings import load_settings
from tests.support import command_line, tables
from tests.support.environment import unset_settings
from tests.support.pipeline import Pipeline, wait_for
from tests.support.tables import GENERATED, MonitoredTable

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
REFERENCE_WEEK = timedelta(days=7)


def page_commands(page: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@dataclass
class Shell:
    """Executes command lines on the shared servers, in the current folder."""

    pipeline: Pipeline
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    load_report: str = ""
    output: str = ""
    """Of the last command."""

    def run(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        match words:
            case ["cd", folder]:
                self.monkeypatch.chdir(folder)
            case ["python", "-m", "tests.support.tables", *arguments]:
                tables.main(arguments)
            case ["barograph", "dev", *options]:
                assert options == ["--clock", "replay"]
                self._start_processors()
            case ["barograph", *arguments]:
                self._run_barograph(arguments)
            case _:
                subprocess.run(line, shell=True, check=True, timeout=60)

    def _run_barograph(self, arguments: list[str]) -> None:
        # On a machine that runs other tests, counting takes longer than a user would wait.
        patience = ["--timeout", "600"] if arguments[0] == "load" and "--timeout" not in arguments else []
        code = command_line.run(*arguments, *patience)
        output, errors = self.capsys.readouterr()
        assert code == 0, f"{arguments}\n{output}\n{errors}"
        self.output = output
        if arguments[0] == "load":
            self.load_report = errors
        if arguments[0] == "query" and "latest_performance" in arguments[1]:
            assert len(output.splitlines()) > 1, "`load` waits until performance is judged"

    def serve(self, script: str) -> str:
        """Run the script of a service with the topics of the shared servers; return what it prints."""
        from_contract = partial(Publisher.from_contract, topic_prefix=self.pipeline.prefix)
        with self.monkeypatch.context() as patch:
            patch.setattr(Publisher, "from_contract", from_contract)
            exec(compile(script, "serve.py", "exec"), {"__name__": "__main__"})
        return self.capsys.readouterr().out

    def _start_processors(self) -> None:
        """Do what `dev` does, on the shared servers: apply the contracts and start each processor.

        tests/integration/test_cli_dev.py tests the command itself.
        """
        self._run_barograph(["apply", *map(str, CONTRACTS_FOLDER.glob("*.yaml"))])
        days = load_settings(None, needs=()).retention_days
        for kind in KINDS:
            settings: dict[str, Any] = {"score_s": 0.5} if kind == "scorer" else {}
            self.pipeline.start(kind, retention_days=days, **settings)


@pytest.fixture
def shell(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
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
    return Shell(pipeline, capsys, monkeypatch)


def assert_everything_is_counted(table: MonitoredTable, report: str) -> None:
    n = table.production.num_rows
    assert f"predictions: {n:,} sent = {n:,} counted + 0 dead-lettered\n" in report, report
    assert f"labels: {n:,} sent = {n:,} matched + 0 unmatched + 0 dead-lettered\n" in report, report
    assert "See:" not in report


def assert_drift_is_found(table: MonitoredTable, pipeline: Pipeline) -> None:
    """Check that in whole windows after the drift the fields that drift are major, and before it no field is."""
    rows = pipeline.rows(
        "SELECT field, toUnixTimestamp(window_start), toUnixTimestamp(window_end), level FROM latest_drift "
        "WHERE slice = 'all' AND window = {window:String}",
        {"window": table.window},
    )
    after = [(field, level) for field, start_s, _, level in rows if start_s >= table.drift_s]
    before = [(field, level) for field, _, end_s, level in rows if end_s <= table.drift_s]
    assert after
    assert {field for field, _ in before} == {field for field, _ in after}
    assert {field for field, level in before if level == "major"} == set()
    assert "stable" in {level for _, level in before}
    assert {level for field, level in after if field in table.drifted} == {"major"}
    major = {field for field, level in after if level == "major"}
    assert table.drifted <= major <= table.drifted | table.outputs


def assert_performance_is_measured(table: MonitoredTable, pipeline: Pipeline, metric: str) -> None:
    """Check that windows have enough labels, and levels once the labels of the reference week are mature."""
    at = table.production[table.production.column_names[1]]
    has_reference = at[-1].as_py() - at[0].as_py() > REFERENCE_WEEK + timedelta(
        seconds=LabelSpec(type="float").horizon_s
    )
    condition = "level != 'insufficient'" if has_reference else "sufficient"
    pipeline.wait_rows(
        f"SELECT countIf({condition}) > 0 AND min(coverage) = 1 FROM latest_performance WHERE metric = '{metric}' "
        f"AND slice = 'all' AND window = '{table.window}' AND class = '' AND n > 0",
        f"{condition} for {metric}, with a label of every prediction",
    )


def monitor(shell: Shell, table: MonitoredTable, lines: list[str], metric: str) -> None:
    pipeline = shell.pipeline
    began = time.monotonic()
    for line in lines:
        shell.run(line)
    assert_everything_is_counted(table, shell.load_report)
    last_s = int(table.production[table.production.column_names[1]][-1].as_py().timestamp()) // 86_400 * 86_400
    pipeline.wait_rows(
        f"SELECT max(toUnixTimestamp(window_end)) >= {last_s} FROM latest_drift WHERE window = '{table.window}'",
        "verdicts of the last day",
    )
    print(f"{table.name}: {time.monotonic() - began:.0f} s from Parquet to verdicts")
    assert_drift_is_found(table, pipeline)
    assert_performance_is_measured(table, pipeline, metric)
    assert {*json.loads(Path("verdicts.json").read_text(encoding="utf-8"))} >= {"drift", "rates"}


@pytest.mark.long
@pytest.mark.parametrize(("page", "metric"), [("binary", "auc"), ("regression", "mae"), ("classes", "accuracy")])
def test_a_tutorial_finds_the_drift_of_its_table(shell: Shell, page: str, metric: str) -> None:
    lines = page_commands((TUTORIALS / f"{page}.md").read_text(encoding="utf-8"))
    programs = [shlex.split(line, comments=True)[:2] for line in lines]
    for command in ("infer", "dev", "load", "status", "query", "compare"):
        assert ["barograph", command] in programs
    monitor(shell, GENERATED[page](), lines, metric)


@pytest.mark.long
def test_the_tutorial_of_a_candidate_ends_with_verified_evidence(shell: Shell) -> None:
    page = (TUTORIALS / "shadow.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    table = GENERATED["shadow"]()
    unknown = pc.sum(pc.equal(table.production["plan"], "legacy")).as_py()
    n = table.production.num_rows
    for line in page_commands(page):
        if line == "python serve.py":
            served = shell.serve(script)
            assert f"submitted={n}" in served
            assert f"'answered': {n - unknown}" in served
            assert f"'error': {unknown}" in served
            continue
        if line.startswith("barograph shadow status"):
            shell.pipeline.wait_rows(
                f"SELECT sum(labelled + missing_labelled) = {n} FROM shadow_pairs FINAL WHERE slice = 'all'",
                "all labelled requests in pairs",
            )
        if line.startswith("barograph shadow export"):
            wait_for(lambda: not unprocessed(shell.pipeline.client), "the scorer's checkpoint", 180.0)
        shell.run(line)
        if line.startswith("barograph promote"):
            assert f"{n:,} requests = {n - unknown:,} pairs" in shell.output
            assert f"+ {unknown:,} candidate errors" in shell.output
            assert "decision: promote" in shell.output
        if line.startswith("barograph shadow verify"):
            assert "equal to the bit" in shell.output
    assert {"report.html", "evidence.zip"} <= {path.name for path in Path().iterdir()}
