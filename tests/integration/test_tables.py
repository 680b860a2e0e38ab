"""Three tables from Parquet to verdicts, and the tutorial of a candidate as it is written."""

import json
import time
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from barograph.contract import LabelSpec

from barograph_server.examples.demo.shadow_demo import unprocessed
from tests.support.page_shell import Shell, blocks, page_commands, shell
from tests.support.pipeline import Pipeline, wait_for
from tests.support.tables import GENERATED, MonitoredTable

__all__ = ["shell"]

LINES = (
    "barograph infer train.parquet --model {table.name} --version 1 {table.options} --out contracts",
    "barograph dev --clock replay",
    "barograph load production.parquet labels.parquet --contract contracts/{table.name}.yaml --version 1 --end",
    "barograph status",
    "barograph query 'SELECT * FROM latest_performance'",
    "barograph compare train.parquet production.parquet {table.options} --by {by} --json verdicts.json",
)
REFERENCE_WEEK = timedelta(days=7)


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
@pytest.mark.parametrize(("name", "metric"), [("binary", "auc"), ("regression", "mae"), ("classes", "accuracy")])
def test_the_drift_of_a_table_is_found(shell: Shell, name: str, metric: str) -> None:
    table = GENERATED[name]()
    by = {"1d": "day", "7d": "week"}[table.window]
    table.write(Path())
    Path("barograph.toml").write_text(f"retention_days = {table.retention_days}\n", encoding="utf-8")
    lines = [line.format(table=table, by=by) for line in LINES]
    monitor(shell, table, lines, metric)


@pytest.mark.long
def test_the_tutorial_of_a_candidate_ends_with_verified_evidence(shell: Shell) -> None:
    page = "tutorials/shadow.md"
    (script,) = blocks(page, "python")
    table = GENERATED["shadow"]()
    unknown = pc.sum(pc.equal(table.production["plan"], "legacy")).as_py()
    n = table.production.num_rows
    for line in page_commands(page):
        if line == "python serve.py":
            shell.execute(script)
            served = shell.capsys.readouterr().out
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
