"""Columns become Arrow tables with the declared types, or are rejected with a message."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from barograph_server.warehouse.client import WarehouseError
from barograph_server.warehouse.tables import SCHEMAS, dictionary_column, ragged, table_of


def topics(**changes: Any) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "name": ["partials", "labels"],
        "topic_id": ["a", "b"],
        "partitions": [8, 4],
        "recorded_at": [0, 1],
    }
    return columns | changes


def test_times_in_any_form() -> None:
    for times in (
        [1_700_000_000_123, 0],
        np.array([1_700_000_000_123, 0], dtype="datetime64[ms]"),
        np.array([1_700_000_000_123_000_000, 0], dtype="datetime64[ns]"),
        [datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC), datetime(1970, 1, 1, tzinfo=UTC)],
        pa.array([1_700_000_000_123, 0], pa.timestamp("ms", tz="UTC")),
    ):
        column = table_of("topics", topics(recorded_at=times))["recorded_at"]
        assert column.type == pa.timestamp("ms", tz="UTC"), times
        assert column.cast(pa.int64()).to_pylist() == [1_700_000_000_123, 0], times


def test_dictionary_encoded_text_and_map_keys_are_not_decoded() -> None:
    names = pa.array(["partials", "partials"]).dictionary_encode()
    assert table_of("topics", topics(name=names))["name"].type == names.type
    keys = pa.array(["m", "n"]).dictionary_encode()
    watermarks = pa.MapArray.from_arrays(pa.array([0, 2], pa.int32()), keys, pa.array([5, 6]))
    column = with_watermarks(watermarks)
    assert column.type == watermarks.type
    assert column.to_pylist() == [[("m", 5), ("n", 6)]]
    wide = pa.MapArray.from_arrays(pa.array([0, 2], pa.int32()), keys, pa.array([5.0, 6.0]))
    assert with_watermarks(wide).type == SCHEMAS["offset_ledger"].field("watermarks").type
    for plain in ({"m": 5}, [("m", 5)]):
        assert with_watermarks([plain]).to_pylist() == [[("m", 5)]]


def test_a_dictionary_column_has_each_text_once() -> None:
    """ClickHouse rejects a dictionary with duplicate texts."""
    column = dictionary_column(np.array([0, 1, 2, 3, 1]), pa.array(["a", "b", "a", ""]))
    assert column.to_pylist() == ["a", "b", "a", "", "b"]
    assert column.dictionary.to_pylist() == ["a", "b", ""]
    names = pa.array(["b", "a"])
    column = dictionary_column(np.array([1, 0, 1]), names)
    assert column.to_pylist() == ["a", "b", "a"]
    assert column.dictionary.equals(names)


def with_watermarks(watermarks: Any) -> pa.ChunkedArray:
    row: dict[str, Any] = {name: [0] for name in SCHEMAS["offset_ledger"].names}
    row |= {"source_topic_id": ["s"], "partials_topic_id": ["p"], "watermarks": watermarks}
    return table_of("offset_ledger", row)["watermarks"]


def test_ragged_columns_share_the_values_buffer() -> None:
    values = np.arange(5)
    column = ragged(values, np.array([0, 2, 2, 5]))
    assert column.to_pylist() == [[0, 1], [], [2, 3, 4]]
    assert column.values.buffers()[1].address == values.ctypes.data


def test_values_that_do_not_fit_and_missing_columns_are_rejected() -> None:
    rejected: list[tuple[dict[str, Any], str]] = [
        ({"partitions": [8, 70_000]}, "partitions of topics does not fit uint16"),
        ({"partitions": [8, -1]}, "partitions of topics does not fit uint16"),
        ({"partitions": pa.array([8, 70_000])}, "partitions of topics does not fit uint16"),
        ({"name": ["partials", "\ud800"]}, "name of topics does not fit string"),
        ({"name": ["partials"]}, "differ in length"),
        ({"extra": [1, 2]}, r"unknown \['extra'\]"),
    ]
    for columns, message in rejected:
        with pytest.raises(WarehouseError, match=message):
            table_of("topics", topics(**columns))
    incomplete = topics()
    del incomplete["topic_id"]
    with pytest.raises(WarehouseError, match=r"missing \['topic_id'\]"):
        table_of("topics", incomplete)
