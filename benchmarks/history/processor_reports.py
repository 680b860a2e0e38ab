"""Reports and metrics of processors."""

from __future__ import annotations

from barograph_server.warehouse.operations.metrics import METRICS
from barograph_server.warehouse.operations.processor_reports import BUCKET_S
from benchmarks.history.series import TableFill

KINDS = ("sketcher", "recorder", "monitor", "scorer", "publisher")
REPORT_S = 10

_REPORTS = (
    f"(SELECT *, toInt64(arrayJoin(range({{first_s:UInt32}}, {{end_s:UInt32}}, {REPORT_S}))) AS start FROM "
    f"(SELECT arrayJoin({list(KINDS)}) AS kind, arrayJoin(['1', '2']) AS instance))"
)


# Every metric of the kinds above in one row: more than any processor reports.
_KEYS = sorted(
    metric.key(*(label.values[0] for label in metric.reported_labels)) for metric in METRICS if not metric.column
)
_VALUES = f"arrayMap(i -> 1. * i, range({len(_KEYS)}))"


TABLE_FILLS: tuple[TableFill, ...] = (
    TableFill(
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
            "details": f"mapFromArrays({_KEYS}, {_VALUES})",
        },
        _REPORTS,
    ),
    TableFill(
        "processor_metrics",
        {
            "metric": "report.1",
            "kind": "kind",
            "instance": "instance",
            "started_at": "fromUnixTimestamp64Milli(1000 * (start - start % 86400), 'UTC')",
            "bucket_start": f"toDateTime(start - start % {BUCKET_S}, 'UTC')",
            "minimum": "report.2",
            "maximum": "report.2",
        },
        f"(SELECT *, arrayJoin(arrayZip({_KEYS}, {_VALUES})) AS report FROM {_REPORTS} WHERE start % {BUCKET_S} = 0)",
    ),
)
