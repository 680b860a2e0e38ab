"""Reports of processors."""

from __future__ import annotations

from benchmarks.history.drawn import (
    Filling,
)

KINDS = ("sketcher", "recorder", "monitor", "scorer", "publisher")
REPORT_S = 10

_REPORTS = (
    f"(SELECT *, toInt64(arrayJoin(range({{first_s:UInt32}}, {{end_s:UInt32}}, {REPORT_S}))) AS start FROM "
    f"(SELECT arrayJoin({list(KINDS)}) AS kind, arrayJoin(['1', '2']) AS instance))"
)


FILLINGS: tuple[Filling, ...] = (
    Filling(
        "processors",
        {
            "kind": "kind",
            "instance": "instance",
            "at": "fromUnixTimestamp64Milli(1000 * start, 'UTC')",
            "host": "'host'",
            "pid": "4711",
            "started_at": "fromUnixTimestamp64Milli(1000 * (start - start % 86400), 'UTC')",
            "lag": "0",
            "events": "start % 86400 * 10",
            "rate": "10.",
            "retries": "0",
            "dead_letters": "0",
            "last_commit_at": "fromUnixTimestamp64Milli(1000 * start, 'UTC')",
            "details": "map('insert_ms', 12.)",
        },
        _REPORTS,
    ),
)
