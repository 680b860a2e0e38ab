"""Panes, rollups, volume, errors, producers, dead-letter counts, violations and new categories."""

from __future__ import annotations

from benchmarks.history.series import (
    CATEGORIES,
    CUT,
    DAY_S,
    FLUSH_S,
    HOUR_S,
    KEY,
    OF_ALL,
    OF_PANE,
    ONCE,
    RECORD_SEQ,
    SERIES,
    ColumnExpressions,
    TableFill,
    Z,
    hours,
    uniform,
)

_COUNTS = (
    "arrayMap((share, i) -> toUInt64(expected * share * (0.85 + bitAnd(bitShiftRight(h, 4 * (i % 15)), 15) / 50) "
    "* if(changed AND i * 2 > length(shares), 1.6, 1)), shares, arrayEnumerate(shares))"
)
_CELLS = f"(SELECT *, {_COUNTS} AS cells, arraySum(cells) AS total, total - cells[-1] AS valid FROM {hours()})"
_DAYS = (
    "(SELECT *, toUInt32({first_s:UInt32}) AS start, cityHash64(seed, start) AS h, "
    f"24 * hourly AS expected, changes AND start >= change_s AS changed, {_COUNTS} AS cells, "
    f"arraySum(cells) AS total, total - cells[-1] AS valid FROM {SERIES} WHERE start >= since_s)"
)
_VOLUME = (
    f"(SELECT *, toUInt64(expected * (0.9 + 0.2 * {uniform(0)})) AS requests, "
    f"toUInt64(requests * 0.02 * {uniform(16)}) AS failed FROM {hours(where=CUT)})"
)
_PRODUCERS = (
    f"(SELECT *, cityHash64(seed, start) AS h, intDiv(start - since_s, {FLUSH_S}) AS flush FROM (SELECT *, "
    "arrayJoin([concat(model, '-1'), concat(model, '-2')]) AS producer, "
    f"arrayJoin(range({{first_s:UInt32}}, {{end_s:UInt32}}, {FLUSH_S})) AS start FROM {SERIES} {ONCE}))"
)


def _cells(pane_s: int) -> ColumnExpressions:
    """The columns of `panes` and `rollups`."""
    numeric = "kind = 'numeric' AND valid > 0"
    shift = f"({Z}) * std / sqrt(valid) + if(changed, 0.3 * std, 0)"
    return {
        "partials_partition": "0",
        **KEY,
        "pane_start": "toDateTime(start, 'UTC')",
        "pane_s": str(pane_s),
        "n": "total",
        "nulls": "cells[-1]",
        "invalid": "toUInt64(h % 97 = 0)",
        "below": "toUInt64(kind = 'numeric' AND h % 31 = 0)",
        "above": "toUInt64(kind = 'numeric' AND h % 37 = 0)",
        "unseen": "if(kind = 'category', cells[-2], 0)",
        "counts": "cells",
        "shift_sum": f"if({numeric}, valid * ({shift}), nan)",
        "shift_square_sum": f"if({numeric}, valid * std * std * (1 + 0.1 * {uniform(16)}), nan)",
        "minimum": f"if({numeric}, mean - std * (2 + {uniform(0)}), nan)",
        "maximum": f"if({numeric}, mean + std * (2 + {uniform(32)}), nan)",
        "sketch": "sketch",
        "sealed": "true",
        "record_seq": RECORD_SEQ,
    }


TABLE_FILLS: tuple[TableFill, ...] = (
    TableFill("panes", _cells(HOUR_S), _CELLS),
    TableFill("rollups", _cells(DAY_S), _DAYS),
    TableFill(
        "volume",
        {
            "partials_partition": "0",
            **{name: name for name in ("model", "version", "baseline_id", "slice")},
            **OF_PANE,
            "n": "requests",
            "errors": "failed",
            "timed": "requests - failed",
            "slow": f"toUInt64((requests - failed) * 0.2 * {uniform(32)})",
            "late": "toUInt64(h % 41 = 0)",
            "sealed": "true",
            "unregistered": "false",
            "record_seq": RECORD_SEQ,
        },
        _VOLUME,
    ),
    TableFill(
        "errors",
        {
            "partials_partition": "0",
            **{name: name for name in ("model", "version", "baseline_id", "slice")},
            "kind": "arrayJoin(['OutOfMemory', 'Timeout'])",
            **OF_PANE,
            "n": "1",
            "record_seq": f"{RECORD_SEQ} + arrayJoin([0, 1])",
        },
        f"(SELECT * FROM {_VOLUME} WHERE failed > 1 AND (slice = 'all' OR startsWith(slice, 'arm=')))",
    ),
    TableFill(
        "producers",
        {
            "partials_partition": "0",
            "model": "model",
            "producer": "producer",
            "pane_start": f"toDateTime(start - start % {HOUR_S}, 'UTC')",
            "pane_s": str(HOUR_S),
            "n": "2",
            "first_seq": "toInt64(flush * 2)",
            "last_seq": "toInt64(flush * 2 + 1)",
            "record_seq": RECORD_SEQ,
        },
        _PRODUCERS,
    ),
    TableFill(
        "dead_letter_counts",
        {
            "partials_partition": "0",
            "topic": "'predictions'",
            "model": "model",
            "reason": "arrayJoin(['missing-id', 'not-json'])",
            "hour": "toDateTime(start, 'UTC')",
            "n": "1 + h % 3",
            "record_seq": RECORD_SEQ,
        },
        hours(where=ONCE),
    ),
    TableFill(
        "violations",
        {
            "partials_partition": "0",
            **{name: name for name in ("model", "version", "baseline_id", "field")},
            "kind": "if(h % 2 = 0, 'above', 'null')",
            **OF_PANE,
            "n": "1 + h % 3",
            "total": "toUInt64(expected)",
            "policy": "'flag'",
            "record_seq": RECORD_SEQ,
        },
        f"(SELECT * FROM {hours(where=OF_ALL)} WHERE h % 8 = 0)",
    ),
    TableFill(
        "new_categories",
        {
            **{name: name for name in ("model", "version", "baseline_id", "field")},
            "category": "concat('new-', toString(arrayJoin([h % 5, 5 + h % 5])))",
            **OF_PANE,
            "n_low": "1 + h % 5",
            "n_high": "1 + h % 5",
            "record_seq": RECORD_SEQ,
        },
        hours(where=CATEGORIES),
    ),
)
