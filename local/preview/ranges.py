"""Ranges of time as Grafana writes them in addresses: `now-6h`, `now/d`, epoch milliseconds or RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?(?:/([hd]))?")


class RangeError(ValueError):
    """A time that cannot be read; the text says which and how to write it."""


def moment_ms(text: str | int, now_ms: int, *, is_end: bool) -> int:
    """Read one end of a range.

    Args:
        text: `now`, `now-30m`, `now-7d/d`, milliseconds since 1970, or a date and time (UTC where no zone is given).
        now_ms: the present, in milliseconds since 1970.
        is_end: whether it is the later end: `/d` then means the day's end.

    Returns:
        Milliseconds since 1970.

    Raises:
        RangeError: it is none of these.
    """
    if isinstance(text, int):
        return text
    text = text.strip()
    if re.fullmatch(r"-?\d{1,15}", text):
        return int(text)
    if relative := _RELATIVE.fullmatch(text):
        amount, unit, rounded = relative.groups()
        found = now_ms - (int(amount) * _UNITS[unit] * 1000 if amount else 0)
        if rounded:
            whole = _UNITS[rounded] * 1000
            found = found - found % whole + (whole if is_end else 0)
        return found
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise RangeError(
            f"{text!r} is no time: write now, now-6h, now-7d, or a date and time such as 2026-11-03 14:00."
        ) from error
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return round((told - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def read_range(start: str | int, end: str | int, now_ms: int) -> tuple[int, int]:
    """Read a range and hold its ends to their order.

    Raises:
        RangeError: an end cannot be read, or the range is empty.
    """
    found = moment_ms(start, now_ms, is_end=False), moment_ms(end, now_ms, is_end=True)
    if found[0] >= found[1]:
        raise RangeError(f"The range from {start} to {end} is empty: its beginning lies behind its end.")
    return found
