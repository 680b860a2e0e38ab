"""Answers of ClickHouse as the page takes them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from local.preview.frames import frame_of, kind_of
from warehouse.client import QueryResult


@pytest.mark.parametrize(
    ("type_name", "kind"),
    [
        ("DateTime('UTC')", "time"),
        ("Nullable(DateTime64(3, 'UTC'))", "time"),
        ("Date", "time"),
        ("LowCardinality(Nullable(String))", "string"),
        ("Array(UInt64)", "string"),
        ("Bool", "boolean"),
        ("Nullable(Float64)", "number"),
        ("UInt8", "number"),
        ("Decimal(9, 2)", "number"),
    ],
)
def test_types(type_name: str, kind: str) -> None:
    assert kind_of(type_name) == kind


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
