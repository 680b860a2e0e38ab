"""The reports of processors: each report as it is, and its metrics per five minutes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.server import tables
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


def last_reports(client: Client, kinds: Sequence[str]) -> dict[tuple[str, str], int]:
    """Return the time of each processor's last report, in Unix ms by its own clock, by kind and instance."""
    rows = client.rows(
        "SELECT kind, instance, toUnixTimestamp64Milli(max(at)) FROM processors WHERE kind IN {kinds:Array(String)} "
        "GROUP BY kind, instance",
        {"kinds": kinds},
    )
    return {(str(kind), str(instance)): int(at_ms) for kind, instance, at_ms in rows}


def report_age_s(client: Client, database: str) -> float:
    """Return the age of the newest report in a database, in seconds; infinite without the table of reports."""
    if "processors" not in tables(client, database):
        return math.inf
    ((age_s,),) = client.rows(
        "SELECT dateDiff('second', max(at), now64(3)) FROM {database:Identifier}.processors", {"database": database}
    )
    return float(age_s)
