"""Parsing and checking of event times."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.events import Reason
from numpy.typing import NDArray

FUTURE_MS = 5 * 60 * 1000
"""An event whose time is further ahead of its receipt becomes a dead letter: its producer's clock is wrong."""
DAY_MS = 86_400 * 1000
RETENTION_MS = 400 * DAY_MS
"""By default an event older than this at its receipt becomes a dead letter: panes of that time are not kept."""
_INT64 = np.iinfo(np.int64)


def parse_time_ms(value: Any) -> int | None:
    """Parse an event time: integer Unix milliseconds or RFC 3339 text with an offset. Return None if it is neither."""
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
    """Parse event times: Unix ms of shape (n,), and a mask of the unreadable ones (None if all are readable)."""
    if set(map(type, values)) == {int}:
        try:
            return np.fromiter(values, dtype=np.int64, count=len(values)), None
        except OverflowError:
            pass
    parsed = [parse_time_ms(value) for value in values]
    bad = np.fromiter((value is None for value in parsed), dtype=bool, count=len(parsed))
    return np.array([value or 0 for value in parsed], dtype=np.int64), bad


def rejected_times(
    at_ms: NDArray[np.int64],
    received_ms: NDArray[np.int64],
    unreadable: NDArray[np.bool_] | None,
    retention_ms: int = RETENTION_MS,
) -> NDArray[np.str_] | None:
    """Return the reason for rejecting each event's time ('' if it is valid), or None if all times are valid.

    Times are compared with the moment when Kafka received the event, so that a reread gives the same result.

    Args:
        unreadable: a mask of times that could not be parsed.
        retention_ms: the largest age of an event at its receipt.
    """
    future = at_ms > received_ms + FUTURE_MS
    old = at_ms < received_ms - retention_ms
    bad = unreadable if unreadable is not None else np.zeros(len(at_ms), dtype=bool)
    if not (future.any() or old.any() or bad.any()):
        return None
    return np.select([bad, future, old], [Reason.BAD_TIME, Reason.FUTURE_TIME, Reason.TOO_OLD], "")


def arrow_times_ms(column: pa.Array | None, n: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Read event times from an Arrow column of n rows, None if the message has no such column.

    Returns:
        Unix ms, a mask of missing times and a mask of unreadable times, each of shape (n,).
    """
    zeros, nowhere = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    if column is None:
        return zeros, ~nowhere, nowhere
    missing = pc.is_null(column).to_numpy(zero_copy_only=False)
    milliseconds = arrow_to_ms(column)
    if milliseconds is None:
        return zeros, missing, ~missing
    at_ms: NDArray[np.int64] = pc.fill_null(milliseconds, 0).to_numpy(zero_copy_only=False)
    return at_ms, missing, nowhere


def arrow_to_ms(column: pa.Array) -> pa.Array | None:
    """Convert timestamps or integers to Unix ms; returns None for columns of other types."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    if pa.types.is_integer(kind):
        return column.cast(pa.int64(), safe=False)
    return None
