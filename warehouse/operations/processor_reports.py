"""Writes the reports of processors: each report as it is, and its metrics per five minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_records, insert_rows

BUCKET_S = 300
"""Length of the time buckets of `processor_metrics`, in seconds."""


@dataclass(frozen=True, slots=True)
class ProcessorReport:
    """A row of the table `processors`; times are Unix milliseconds."""

    kind: str
    instance: str
    at: int
    host: str
    pid: int
    started_at: int
    lag: int
    """Consumer lag in messages, -1 if unknown."""
    events: int
    """Events processed since the start."""
    rate: float
    """Events per second since the previous report."""
    retries: int
    dead_letters: int
    last_commit_at: int
    details: Mapping[str, float]
    """Further metrics, by `MetricFamily.key`."""


def insert_reports(client: Client, reports: Sequence[ProcessorReport]) -> None:
    """Insert reports into `processors`, and the metrics in their `details` into `processor_metrics`.

    If the second insert fails, the next report makes up for counters; one sample of each gauge is lost.

    Args:
        client: the connection to insert through.
        reports: the reports.

    Raises: as `insert_columns`.
    """
    insert_records(client, "processors", reports)
    samples = [
        {
            "metric": key,
            "kind": report.kind,
            "instance": report.instance,
            "started_at": report.started_at,
            "bucket_start": report.at // 1000 // BUCKET_S * BUCKET_S,
            "minimum": value,
            "maximum": value,
        }
        for report in reports
        for key, value in report.details.items()
    ]
    insert_rows(client, "processor_metrics", samples)
