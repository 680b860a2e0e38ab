"""How a history is drawn: the scratch table of its series, and SQL expressions over its hours and windows.

Every figure is drawn from a hash of its series and time, so a history is the same each time it is made. Figures have
the shapes of real ones and hang together roughly: they are made for speed and for pictures, not for statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

SERIES = "history_series"
"""The scratch table that the others are made from: a row per (model, version, baseline, slice, field)."""

HOUR_S, DAY_S = 3600, 86_400
FLUSH_S = 15

ColumnExpressions = dict[str, str]


@dataclass(frozen=True, slots=True)
class TableFill:
    """How one day of a table is made.

    `source` uses the parameters `first_s` and `end_s`: the day, in Unix seconds.
    """

    table: str
    columns: ColumnExpressions
    source: str

    @property
    def select(self) -> str:
        """The query that gives the day's rows, in the order of `columns`."""
        chosen = ", ".join(f"{expression} AS made_{name}" for name, expression in self.columns.items())
        return f"SELECT {chosen} FROM {self.source}"


KEY = {name: name for name in ("model", "version", "baseline_id", "slice", "field")}
ONCE = "WHERE slice = 'all' AND field = 'score' AND version = '1'"
"""One series per model, …"""
WHOLE = "WHERE slice = 'all' AND field = 'score'"
"""… per version, …"""
CUT = "WHERE field = 'score'"
"""… per version and slice."""
OF_ALL = "WHERE slice = 'all'"
NUMBERS = "WHERE slice = 'all' AND kind = 'numeric'"
CATEGORIES = "WHERE slice = 'all' AND kind = 'category'"
OF_PANE = {"pane_start": "toDateTime(start, 'UTC')", "pane_s": str(HOUR_S)}
RECORD_SEQ = f"281474976710656 + intDiv(start, {FLUSH_S})"
"""As if every flush of 15 s were a record of the first epoch."""
JUDGED_AT = "fromUnixTimestamp64Milli(1000 * toInt64(end) + 90000, 'UTC')"
Z = "bitCount(h) / 4 - 8"
"""About a standard normal: the ones of a hash."""


def uniform(bit: int) -> str:
    """Draw from [0, 1), from 16 bits of the hash `h`."""
    return f"bitAnd(bitShiftRight(h, {bit}), 65535) / 65536"


def hours(of: str = SERIES, where: str = "") -> str:
    """A day's hours of each series since it began; `start` is the hour, `h` a hash of both."""
    return (
        f"(SELECT *, cityHash64(seed, start) AS h, hourly * (1 + 0.4 * sin(start / {DAY_S} * 2 * pi())) AS expected, "
        "changes AND start >= change_s AS changed "
        f"FROM (SELECT *, arrayJoin(range({{first_s:UInt32}}, {{end_s:UInt32}}, {HOUR_S})) AS start FROM {of} {where}) "
        "WHERE start >= since_s)"
    )


def windows(of: str = SERIES, *, step: str = str(HOUR_S), where: str = "") -> str:
    """The windows of each series that end within a day; `w` is (name, length in seconds), `end` the end.

    Args:
        of: a table of series.
        step: between ends, in terms of `w`.
        where: a condition on series.
    """
    return (
        "(SELECT *, cityHash64(seed, w.2, end) AS h, changes AND end > change_s AS changed, "
        "hourly * w.2 / 3600 AS expected, arrayJoin(if(h % 32 = 0, [0, 1], [0])) AS revision "
        f"FROM (SELECT *, arrayJoin(range({{first_s:UInt32}} + {HOUR_S}, {{end_s:UInt32}} + 1, {HOUR_S})) AS end "
        f"FROM (SELECT *, arrayJoin([('1d', 86400), ('6h', 21600)]) AS w FROM {of} {where}) "
        f"WHERE end % ({step}) = 0) WHERE end >= since_s)"
    )


OF_WINDOW = {
    "window": "w.1",
    "window_start": "toDateTime(end - w.2, 'UTC')",
    "window_end": "toDateTime(end, 'UTC')",
}
JUDGED = {
    "completeness": "1.",
    "judged_at": JUDGED_AT,
    "record_seq": f"281474976710656 + intDiv(end, {FLUSH_S}) + revision",
}
QUARTERS = "if(w.2 = 86400, 21600, 7200)"
"""A window is described at every quarter of its length, rounded up to whole hops."""
