"""The scratch table of a history's series, and SQL expressions over hours and windows.

Every value is derived from a hash of its series and time, so that a history is reproducible. Values have realistic
shapes and are roughly consistent: they serve measurements of query times and screenshots, not statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

SERIES = "history_series"
"""The scratch table from which the others are generated: one row per (model, version, baseline, slice, field)."""

HOUR_S, DAY_S = 3600, 86_400
FLUSH_S = 15

ColumnExpressions = dict[str, str]


@dataclass(frozen=True, slots=True)
class TableFill:
    """The query that generates one day of a table.

    `source` has the parameters `first_s` and `end_s`, the bounds of the day in Unix seconds.
    """

    table: str
    columns: ColumnExpressions
    source: str

    @property
    def select(self) -> str:
        """The query for the rows of a day, with columns in the order of `columns`."""
        expressions = ", ".join(f"{expression} AS generated_{name}" for name, expression in self.columns.items())
        return f"SELECT {expressions} FROM {self.source}"


KEY = {name: name for name in ("model", "version", "baseline_id", "slice", "field")}
ONCE = "WHERE slice = 'all' AND field = 'score' AND version = '1'"
"""Condition for one series per model."""
WHOLE = "WHERE slice = 'all' AND field = 'score'"
"""Condition for one series per model and version."""
CUT = "WHERE field = 'score'"
"""Condition for one series per model, version and slice."""
OF_ALL = "WHERE slice = 'all'"
NUMBERS = "WHERE slice = 'all' AND kind = 'numeric'"
CATEGORIES = "WHERE slice = 'all' AND kind = 'category'"
OF_PANE = {"pane_start": "toDateTime(start, 'UTC')", "pane_s": str(HOUR_S)}
RECORD_SEQ = f"281474976710656 + intDiv(start, {FLUSH_S})"
"""The sequence number of the records at `start`, with one record per flush in the first epoch."""
JUDGED_AT = "fromUnixTimestamp64Milli(1000 * toInt64(end) + 90000, 'UTC')"
Z = "bitCount(h) / 4 - 8"
"""Approximately standard normal: the number of ones in a hash."""


def uniform(bit: int) -> str:
    """A value in [0, 1) from 16 bits of the hash `h`."""
    return f"bitAnd(bitShiftRight(h, {bit}), 65535) / 65536"


def hours(of: str = SERIES, where: str = "") -> str:
    """The hours of a day for each active series; `start` is the hour, `h` a hash of series and hour."""
    return (
        f"(SELECT *, cityHash64(seed, start) AS h, hourly * (1 + 0.4 * sin(start / {DAY_S} * 2 * pi())) AS expected, "
        "changes AND start >= change_s AS changed "
        f"FROM (SELECT *, arrayJoin(range({{first_s:UInt32}}, {{end_s:UInt32}}, {HOUR_S})) AS start FROM {of} {where}) "
        "WHERE start >= since_s)"
    )


def windows(of: str = SERIES, *, step: str = str(HOUR_S), where: str = "") -> str:
    """The windows of each series that end within a day; `w` is (name, length in seconds), `end` the end (Unix s).

    Args:
        of: a table of series.
        step: an expression over `w` for the distance between ends (s).
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
"""Distance between the windows that have distances and comparisons: a quarter of the length in whole hops (s)."""
