"""Volume: number of flights, latency, errors, losses, and silent hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from barograph_server.examples.demo import queries
from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import SLO, ZONE, Calendar
from barograph_server.examples.demo.queries import DemoQuery
from barograph_server.examples.demo.report import DemoReport, percent
from barograph_server.examples.demo.source_data import SourceData
from barograph_server.warehouse.client import Client


@dataclass(frozen=True, slots=True)
class Volume:
    """Findings about traffic."""

    months: DemoQuery
    """Per month: (first day in 2013, flights, failed, slow, timed, hours without a flight)."""
    whole: DemoQuery
    """One row: late, dead letters, duplicates, lost before Kafka, lost in Kafka; null if there are no rows."""
    published: int
    """Predictions acknowledged by Kafka, as counted by the publisher."""
    labels_published: int
    recorded: int
    """Raw predictions without duplicates."""
    labels_recorded: int
    silent: tuple[datetime, ...]
    """Hours without a flight, in event time of the replay."""

    @property
    def flights(self) -> int:
        """Predictions in panes."""
        return sum(row[1] for row in self.months)

    @property
    def failed(self) -> int:
        """Failed predictions."""
        return sum(row[2] for row in self.months)

    @property
    def slow(self) -> int:
        """Predictions slower than the SLO."""
        return sum(row[3] for row in self.months)

    @property
    def timed(self) -> int:
        """Predictions with a known latency."""
        return sum(row[4] for row in self.months)

    @property
    def in_time(self) -> float:
        """Share of predictions within the latency SLO."""
        return 1 - self.slow / self.timed if self.timed else float("nan")

    @property
    def lost(self) -> int:
        """Everything that is not counted once: late, dead-lettered, duplicate, lost before Kafka or in it."""
        return sum(int(n or 0) for row in self.whole for n in row)


def read_volume(client: Client, calendar: Calendar, record_end: datetime, published: tuple[int, int]) -> Volume:
    """Read the findings.

    Args:
        client: connected to the demo's database.
        calendar: calendar of the replay.
        record_end: end of the last pane.
        published: predictions and labels acknowledged by Kafka.
    """
    return Volume(
        queries.month_volume(client, calendar, record_end),
        queries.whole_volume(client),
        *published,
        *queries.recorded_events(client),
        queries.silent_hours(client, record_end),
    )


def local_hours(silent: tuple[datetime, ...], calendar: Calendar) -> list[int]:
    """Hours of the day in New York that are ever silent, ascending."""
    zone = ZoneInfo(ZONE)
    return sorted({calendar.original(hour).astimezone(zone).hour for hour in silent})


def report_volume(report: DemoReport, findings: Volume, calendar: Calendar) -> None:
    """Print the findings."""
    report.signal("Volume", "traffic, latency, and completeness")
    report.table(
        ("", "flights", "failed", f"within {SLO.latency_ms:.0f} ms", "silent hours"),
        [
            (f"{month:%B}", f"{n:,}", f"{failed:,}", percent(1 - slow / timed if timed else None), f"{hours:,}")
            for month, n, failed, slow, timed, hours in findings.months
        ],
    )
    hours = local_hours(findings.silent, calendar)
    nights = f", all of them from {hours[0]}:00 to {hours[-1] + 1}:00 in New York" if hours else ""
    report.paragraph(
        f"{percent(findings.in_time)} within {SLO.latency_ms:.0f} ms; the SLO is {percent(SLO.latency_share)} (one "
        f"call scores the flights of a day, timed on this machine). {len(findings.silent):,} hours without a "
        f"flight{nights}. Silent panes have a row with n = 0."
    )
    report.query(findings.months.sql)
    late, dead, twice, before, inside = (int(n or 0) for n in findings.whole.rows[0])
    report.finding(
        "Every event counted exactly once" if not findings.lost else "Not every event was counted exactly once",
        f"{findings.published:,} published, {findings.flights:,} counted, {findings.recorded:,} recorded. {late:,} "
        f"late, {dead:,} dead letters, {twice:,} duplicates, {before:,} lost before Kafka (in the last 30 days), "
        f"{inside:,} lost in Kafka.",
    )
    report.query(findings.whole.sql)


def expect_volume(findings: Volume, source: SourceData) -> Iterator[DemoExpectation]:
    """Compare the findings with the source data."""
    n, labels = source.predictions.num_rows, source.labels.num_rows
    yield DemoExpectation(
        "every prediction is counted and recorded once",
        0 < n == findings.published == findings.flights == findings.recorded,
        f"{findings.published:,} published, {findings.flights:,} counted in panes, {findings.recorded:,} raw rows",
    )
    yield DemoExpectation(
        "every label is recorded once",
        0 < labels == findings.labels_published == findings.labels_recorded,
        f"{findings.labels_published:,} published, {findings.labels_recorded:,} recorded",
    )
    yield DemoExpectation(
        "no event is late, dead-lettered, duplicated or lost", findings.lost == 0, f"{findings.lost:,} events"
    )
    yield DemoExpectation(
        "no prediction failed, and every latency is known",
        findings.failed == 0 and findings.timed == findings.flights,
        f"{findings.failed:,} failed, {findings.timed:,} timed",
    )
    silent = source.silent_hours()
    yield DemoExpectation(
        "silent hours equal the hours without scheduled flights",
        set(findings.silent) == silent,
        f"{len(findings.silent):,} of {len(silent):,}",
    )
