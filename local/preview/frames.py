"""Converts ClickHouse results to the page's JSON: columns of numbers, text and times."""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
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


_VALUES: dict[Kind, Callable[[Any], Any]] = {
    "time": _milliseconds,
    "number": _number,
    "boolean": _number,
    "string": lambda value: None if value is None else str(value),
}


_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_END_MS = 4_291_747_200_000
"""The year 2106 begins, and with it the end of ClickHouse's DateTime."""
_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?(?:/([hd]))?")


class RangeError(ValueError):
    """A time cannot be parsed; the text names it and the valid notations."""


def moment_ms(text: str | int, now_ms: int, *, is_end: bool) -> int:
    """Parse one end of a range.

    Args:
        text: `now`, `now-30m`, `now-7d/d`, milliseconds since 1970, or a date and time (UTC where no zone is given).
        is_end: whether it is the later end: `/d` then means the day's end.

    Raises:
        RangeError: the text is none of these.
    """
    if isinstance(text, int):
        return text
    text = text.strip()
    if re.fullmatch(r"-?\d{1,15}", text):
        return int(text)
    if relative := _RELATIVE.fullmatch(text):
        amount, unit, rounded = relative.groups()
        moment = now_ms - (int(amount) * _UNITS[unit] * 1000 if amount else 0)
        if rounded:
            whole = _UNITS[rounded] * 1000
            moment = moment - moment % whole + (whole if is_end else 0)
        return moment
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise RangeError(
            f"{text!r} is not a time: write now, now-6h, now-7d, or a date and time such as 2026-11-03 14:00."
        ) from error
    instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return round((instant - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def read_range(start: str | int, end: str | int, now_ms: int) -> tuple[int, int]:
    """Parse a range and check that it is not empty.

    Raises:
        RangeError: an end cannot be parsed or is outside the years 1970 to 2105, or the range is empty.
    """
    ends = moment_ms(start, now_ms, is_end=False), moment_ms(end, now_ms, is_end=True)
    if min(ends) < 0 or max(ends) >= _END_MS:
        raise RangeError(f"The range from {start} to {end} is not within the years 1970 to 2105.")
    if ends[0] >= ends[1]:
        raise RangeError(f"The range from {start} to {end} is empty: its start is not before its end.")
    return ends
