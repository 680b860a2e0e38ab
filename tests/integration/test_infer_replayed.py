"""Unusual training tables, inferred and then replayed through the pipeline in one window: there is no drift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from barograph import Publisher
from barograph.contract import Contract, Window

from cli.infer import InferOptions, Roles, infer
from tests.support import odd_tables
from tests.support.pipeline import Pipeline

DAY_S = 86_400
SPAN = Window(128 * DAY_S, 128 * DAY_S)
# Early in a window of 128 days since the epoch, and recent enough for events to be accepted.
START_S = 161 * SPAN.length_s + 20 * DAY_S


def as_served(contract: Contract, table: pa.Table, roles: dict[str, Any]) -> pa.Table:
    """Convert the training rows to predictions; types that JSON lacks use the unit that `infer` expects."""
    outputs = {"score": roles.get("score"), "class": roles.get("class_"), "latency_ms": roles.get("latency")}
    columns: dict[str, Any] = {}
    for field in contract.fields:
        if field.source == "confidence":
            continue
        name = outputs.get(field.source) or field.source.removeprefix("features.")
        columns[field.source] = in_seconds(table[name])
    for source in (source for dimension in contract.slices for source in dimension.sources):
        columns.setdefault(source, table[source.removeprefix("features.")])
    n = table.num_rows
    columns["at"] = in_milliseconds(table[roles["time"]]) if "time" in roles else pa.array(np.full(n, START_S * 1000))
    columns["id"] = pa.array([str(i) for i in range(n)])
    return pa.table(columns)


def in_milliseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_integer(column.type):
        return pc.multiply(column, 1000)
    return column.cast(pa.timestamp("ms", "UTC"))


def in_seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_duration(column.type):
        return pc.divide(column.cast(pa.duration("us")).cast(pa.int64()).cast(pa.float64()), 1e6)
    if pa.types.is_time(column.type):
        return pc.divide(column.cast(pa.time64("us")).cast(pa.int64()).cast(pa.float64()), 1e6)
    return column


@pytest.mark.long
def test_training_replayed_in_one_window_shows_no_drift(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd_tables, "START_S", START_S)
    pipeline.create(1)
    expected = {}
    for name in odd_tables.ODD_TABLES:
        table = odd_tables.odd_table(name)
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table, path)
        roles = odd_tables.ROLES.get(name, {})
        options = InferOptions(table=path, model=name, version="1", roles=Roles(**roles), pane_s=DAY_S, windows=(SPAN,))
        result = infer(options)
        contract = msgspec.structs.replace(result.contract, slice_min_n=1)
        pipeline.register(contract, [result.baseline])
        served = as_served(contract, table, roles)
        with Publisher.from_contract(
            contract,
            version="1",
            bootstrap_servers=pipeline.bootstrap,
            on_full="wait",
            topic_prefix=pipeline.prefix,
        ) as publisher:
            assert publisher.predictions(served) == served.num_rows
        expected[name] = served.num_rows
    pipeline.end(1)
    pipeline.start("sketcher")
    pipeline.start("monitor")
    pipeline.wait_rows(
        f"SELECT sum(n) = {sum(expected.values())} FROM volume FINAL WHERE slice = 'all'", "all rows counted"
    )
    pipeline.wait_settled()
    assert pipeline.read_all(pipeline.topics.predictions_dead) == []
    counted = pipeline.rows("SELECT model, sum(n) FROM volume FINAL WHERE slice = 'all' GROUP BY model")
    assert dict(counted) == expected
    judged = pipeline.rows("SELECT model, uniqExact(field) FROM latest_drift WHERE slice = 'all' GROUP BY model")
    assert set(dict(judged)) == set(expected)
    # With fewer than a hundred rows, the smoothing terms alone exceed 0.01.
    drifted = pipeline.rows(
        "SELECT model, slice, field, n, psi, level FROM latest_drift WHERE n > 0 AND (psi >= 0.01 AND n >= 100 OR "
        "level = 'major') ORDER BY psi DESC"
    )
    assert drifted == []
    assert pipeline.rows("SELECT model, slice, field, kind, k, n FROM latest_rates WHERE level = 'major'") == []
