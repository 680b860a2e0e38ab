"""Three tables from Parquet to verdicts."""

import json
import time
from datetime import timedelta
from pathlib import Path

import pytest
from barograph.contract import LabelSpec

from tests.support.page_shell import Shell, shell
from tests.support.pipeline import Pipeline
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
