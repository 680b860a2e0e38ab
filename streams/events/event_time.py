"""Event times: how they are read, and which are refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from barograph.events import Reason
from numpy.typing import NDArray

FUTURE_MS = 5 * 60 * 1000
"""An event further ahead of its receipt than this is a dead letter: its producer's clock is wrong."""
RETENTION_MS = 400 * 86_400 * 1000
"""An event older than this at its receipt is a dead letter: panes of that time are not kept."""
_INT64 = np.iinfo(np.int64)


def parse_time_ms(value: Any) -> int | None:
    """Read an event time: whole epoch milliseconds, or RFC 3339 text with an offset. None where it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if _INT64.min <= value <= _INT64.max else None
    if isinstance(value, float) and value.is_integer():
        return int(value) if abs(value) < 2**63 else None
    if not isinstance(value, str) or len(value) < 20:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    try:
        return round(moment.timestamp() * 1000)
    except (OverflowError, ValueError):
        return None


def times_ms(values: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
    """Read event times: Unix ms of shape (n,), and which could not be read (None where all could)."""
    if set(map(type, values)) == {int}:
        try:
            return np.fromiter(values, dtype=np.int64, count=len(values)), None
        except OverflowError:
            pass
    parsed = [parse_time_ms(value) for value in values]
    bad = np.fromiter((value is None for value in parsed), dtype=bool, count=len(parsed))
    return np.array([value or 0 for value in parsed], dtype=np.int64), bad


def refuse_times(
    at_ms: NDArray[np.int64], received_ms: NDArray[np.int64], unreadable: NDArray[np.bool_] | None
) -> NDArray[np.str_] | None:
    """Name the reason each event's time is refused for ('' where it is not); None where none is.

    Times are held against the moment Kafka received the event, so that reading it again decides the same.
    """
    future = at_ms > received_ms + FUTURE_MS
    old = at_ms < received_ms - RETENTION_MS
    bad = unreadable if unreadable is not None else np.zeros(len(at_ms), dtype=bool)
    if not (future.any() or old.any() or bad.any()):
        return None
    return np.select([bad, future, old], [Reason.BAD_TIME, Reason.FUTURE_TIME, Reason.TOO_OLD], "")
