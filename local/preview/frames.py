"""Converts ClickHouse results to the page's JSON: columns of numbers, text and times."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, Literal

from barograph_server.warehouse.client import QueryResult

Kind = Literal["time", "number", "boolean", "string"]

_WRAPPED = re.compile(r"^(?:LowCardinality|Nullable)\((.*)\)$")


def kind_of(type_name: str) -> Kind:
    """Return the page's column type for a ClickHouse type."""
    while wrapped := _WRAPPED.match(type_name):
        type_name = wrapped[1]
    if type_name.startswith("Date"):
        return "time"
    if type_name == "Bool":
        return "boolean"
    return "number" if type_name.startswith(("UInt", "Int", "Float", "Decimal")) else "string"


def frame_of(answer: QueryResult) -> dict[str, Any]:
    """Return an answer as `{"columns": [{"name", "type", "values"}]}` of JSON's values.

    Times are milliseconds since 1970. Missing values are null. Numbers that are not finite are text.
    """
    return {
        "columns": [
            {"name": name, "type": kind, "values": [_VALUES[kind](value) for value in values]}
            for name, kind, values in zip(answer.names, map(kind_of, answer.types), answer.columns, strict=True)
        ]
    }


def _milliseconds(value: datetime | date | None) -> int | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)


def _number(value: Any) -> float | int | str | None:
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if isinstance(value, int | float) else float(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


_VALUES: dict[Kind, Callable[[Any], Any]] = {
    "time": _milliseconds,
    "number": _number,
    "boolean": _number,
    "string": _text,
}
