"""Answers of ClickHouse as the page takes them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

from barograph_server.local.preview.frames import frame_of, kind_of
from barograph_server.warehouse.client import QueryResult


def test_types() -> None:
    kinds = {
        "time": ("DateTime('UTC')", "Nullable(DateTime64(3, 'UTC'))", "Date"),
        "string": ("LowCardinality(Nullable(String))", "Array(UInt64)"),
        "boolean": ("Bool",),
        "number": ("Nullable(Float64)", "UInt8", "Decimal(9, 2)"),
    }
    assert {kind: tuple(name for name in names if kind_of(name) == kind) for kind, names in kinds.items()} == kinds


def test_values_are_those_of_json() -> None:
    at = datetime(2026, 11, 3, 14, tzinfo=UTC)
    answer = QueryResult(
        ("at", "day", "x", "d", "name", "many"),
        ("DateTime('UTC')", "Date", "Nullable(Float64)", "Decimal(9, 2)", "String", "Array(UInt8)"),
        [
            [at, at.replace(tzinfo=None), None],
            [date(2026, 11, 3)] * 3,
            [float("nan"), float("-inf"), 1.5],
            [Decimal("1.25")] * 3,
            ["</script>", "", None],
            [[1, 2], [], [3]],
        ],
    )
    matches = json.loads(json.dumps(frame_of(answer), allow_nan=False))["columns"]
    at_ms, day_ms = 1_793_714_400_000, 1_793_664_000_000
    assert [column["values"] for column in matches] == [
        [at_ms, at_ms, None],
        [day_ms] * 3,
        ["NaN", "-Infinity", 1.5],
        [1.25] * 3,
        ["</script>", "", None],
        ["[1, 2]", "[]", "[3]"],
    ]
