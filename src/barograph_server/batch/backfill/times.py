"""Event times of a load: what processors would reject, and the shift of old history to now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract
from barograph.events import CONTEXT

from barograph_server.batch.backfill.check import EventSource, read_blocks
from barograph_server.errors import RefusedLoad
from barograph_server.streams.events.event_time import DAY_MS, FUTURE_MS
from barograph_server.terminal import plural, utc_minute
from barograph_server.warehouse.retention import MAX_RETENTION_DAYS

WEEK_MS = 7 * DAY_MS
MARGIN_MS = DAY_MS
"""How much younger than the retention events are when they are sent, since Kafka receives them later."""
ORIGINAL_TIME = f"{CONTEXT}.original_at"
"""Member of a shifted prediction that holds its original time, in ISO 8601."""


class RefusedTimes(RefusedLoad):
    """Processors would reject events for their times, and nothing was sent."""


@dataclass(frozen=True, slots=True)
class FileTimes:
    n: int
    """Rows with a time."""
    oldest_ms: int
    newest_ms: int
    n_old: int = 0
    """Rows that are older than the retention."""
    n_future: int = 0
    """Rows that are ahead of the clock."""

    def __add__(self, other: FileTimes) -> FileTimes:
        return FileTimes(
            self.n + other.n,
            min(self.oldest_ms, other.oldest_ms),
            max(self.newest_ms, other.newest_ms),
            self.n_old + other.n_old,
            self.n_future + other.n_future,
        )


def read_times(
    sources: Sequence[EventSource],
    contract: Contract,
    version: str | None,
    now_ms: int,
    retention_days: int,
    shift_ms: int = 0,
) -> list[FileTimes]:
    """Read the times of all files that have times; processors reject events older than the retention."""
    oldest_accepted_ms = now_ms - retention_days * DAY_MS + MARGIN_MS
    ranges = []
    for source in sources:
        if not source.time:
            continue
        names = {"id", source.time, "label"} if source.kind == "labels" else {"id", source.time}
        total = None
        for block in read_blocks(replace(source, columns=source.columns & names), contract, version):
            if not block.rows.num_rows:
                continue
            at_ms = pc.add(block.rows.column("at").cast(pa.int64()), shift_ms)
            bounds = pc.min_max(at_ms)
            part = FileTimes(
                len(at_ms),
                bounds["min"].as_py(),
                bounds["max"].as_py(),
                pc.sum(pc.less(at_ms, oldest_accepted_ms)).as_py(),
                pc.sum(pc.greater(at_ms, now_ms + FUTURE_MS)).as_py(),
            )
            total = part if total is None else total + part
        if total is not None:
            ranges.append(total)
    return ranges


def shift_to_now_ms(ranges: Sequence[FileTimes], now_ms: int) -> int:
    """Compute the shift, in ms, that brings the newest time of all files into the last week.

    It is a whole number of weeks, so that an event stays in its hour of the week. All files move together, so that
    labels keep their delay.
    """
    if not ranges:
        return 0
    newest_ms = max(each.newest_ms for each in ranges)
    return math.floor((now_ms - newest_ms) / WEEK_MS) * WEEK_MS


def check_times(ranges: Sequence[FileTimes], now_ms: int, retention_days: int, *, is_shifted: bool) -> None:
    """Check that processors accept the times of all events.

    Args:
        ranges: the times, after the shift if there is one.
        retention_days: the age from which processors reject events.

    Raises:
        RefusedTimes: they would reject some. The message says what to do.
    """
    if not ranges:
        return
    total = reduce(add, ranges)
    events = plural(total.n, "event")
    if total.n_old:
        needed_days = _days(now_ms - total.oldest_ms)
        span_days = _days(total.newest_ms - total.oldest_ms + WEEK_MS)
        if needed_days > MAX_RETENTION_DAYS:
            ways = "Correct the column at: its unit, or rows without a real time"
        elif is_shifted:
            ways = f"The files span a long time: {_raise_to(needed_days)}"
        elif span_days <= retention_days:
            ways = (
                f"Either {_raise_to(needed_days)}; or load with --shift-to-now, which moves all times by the same "
                "number of weeks and keeps the original time in the context"
            )
        else:
            ways = f"Either {_raise_to(needed_days)}; or {_raise_to(span_days)} and load with --shift-to-now"
        raise RefusedTimes(
            f"{total.n_old:,} of {events} are older than the retention of {retention_days:,} days (the oldest is from "
            f"{utc_minute(total.oldest_ms / 1000)}), and processors would reject them, so nothing was sent. {ways}."
        )
    if total.n_future:
        raise RefusedTimes(
            f"{total.n_future:,} of {events} are ahead of this machine's clock (the newest is from "
            f"{utc_minute(total.newest_ms / 1000)}), and processors would reject them, so nothing was sent. Correct "
            "the column at (its unit, or its time zone) or --label-delay, or load with --shift-to-now."
        )


def _days(ms: int) -> int:
    """Return the retention, in days, that accepts events of an age."""
    return math.ceil((ms + 2 * MARGIN_MS) / DAY_MS)


def _raise_to(days: int) -> str:
    return f"set retention_days to {days} for all processors and commands, run `barograph apply` and restart them"


def shift_rows(rows: pa.RecordBatch, shift_ms: int, *, keep_original: bool) -> pa.RecordBatch:
    """Move the times of events, and keep the original time in the context.

    Args:
        keep_original: whether to add the member `ORIGINAL_TIME`; labels have no context.
    """
    original = rows.column("at")
    shifted = pc.add(original.cast(pa.int64()), shift_ms).cast(original.type)
    columns = {name: rows.column(name) for name in rows.schema.names} | {"at": shifted}
    if keep_original:
        columns[ORIGINAL_TIME] = pc.strftime(original, format="%Y-%m-%dT%H:%M:%SZ")
    return pa.RecordBatch.from_pydict(columns)
