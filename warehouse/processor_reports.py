"""What processors report of themselves, written: each report as it is, and its metrics by five minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from warehouse.client import Client
from warehouse.tables import insert_rows

BY_S = 300
"""Metrics are kept by so many seconds beside the reports."""


def insert_reports(client: Client, reports: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of `processors`, and the metrics in their `details` into `processor_metrics`.

    Where the second fails after the first, the next report tells of counters what is missing; of gauges one is.

    Args:
        client: a connection.
        reports: one mapping each; times are Unix ms, `details` is a mapping or pairs.

    Raises: as `insert_columns`.
    """
    insert_rows(client, "processors", reports)
    insert_rows(
        client,
        "processor_metrics",
        [
            {
                "metric": key,
                "kind": report["kind"],
                "instance": report["instance"],
                "started_at": report["started_at"],
                "bucket_start": report["at"] // 1000 // BY_S * BY_S,
                "minimum": value,
                "maximum": value,
            }
            for report in reports
            for key, value in dict(report["details"]).items()
        ],
    )
