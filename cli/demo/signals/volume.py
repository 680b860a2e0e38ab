"""Volume: how many flights were asked about, how fast and how often in vain, what was lost, and when nobody asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from cli.demo.answer import OF_MODEL, Answer, ask, moment
from cli.demo.expectation import Expectation
from cli.demo.flights import MODEL, SLO, ZONE, Calendar
from cli.demo.report import Reporter, percent
from cli.demo.source_data import Source
from warehouse.client import Client


@dataclass(frozen=True, slots=True)
class Volume:
    """What was asked and answered."""

    months: Answer
    """(first day of the month of 2013, flights, failed, slow, timed, hours without a flight) of each."""
    whole: Answer
    """One row: late, dead letters, duplicates, lost before Kafka, lost in it; null where there is nothing to sum."""
    published: int
    """Predictions that Kafka has acknowledged, as the publisher counted them."""
    labels_published: int
    recorded: int
    """Raw predictions, each once."""
    labels_recorded: int
    silent: tuple[datetime, ...]
    """Hours without a flight, in event time of the replay."""

    @property
    def flights(self) -> int:
        """Predictions in panes."""
        return sum(row[1] for row in self.months)

    @property
    def failed(self) -> int:
        """Those that were answered with an error."""
        return sum(row[2] for row in self.months)

    @property
    def slow(self) -> int:
        """Those that took longer than is promised."""
        return sum(row[3] for row in self.months)

    @property
    def timed(self) -> int:
        """Those whose latency is known."""
        return sum(row[4] for row in self.months)

    @property
    def in_time(self) -> float:
        """The share of answers within the promised latency."""
        return 1 - self.slow / self.timed if self.timed else float("nan")

    @property
    def lost(self) -> int:
        """Everything that is not counted once: late, put aside, twice, lost before Kafka, lost in it."""
        return sum(int(n or 0) for row in self.whole for n in row)


def read_volume(client: Client, calendar: Calendar, record_end: datetime, published: tuple[int, int]) -> Volume:
    """Ask for it.

    Args:
        client: of the demo's database.
        calendar: of the replay.
        record_end: the end of the last pane.
        published: predictions and labels that Kafka has acknowledged.
    """
    of_all = f"FROM volume_by_hour WHERE {OF_MODEL} AND slice = 'all' AND hour < {moment(record_end)}"
    months = ask(
        client,
        f"SELECT {calendar.month_sql('hour')} AS month, sum(requests) AS flights,",
        "  sum(errors) AS failed, sum(slow) AS slow, sum(timed) AS timed,",
        # Both versions have a row per hour: it is silent where neither was asked.
        "  uniqExact(hour) - uniqExactIf(hour, requests > 0) AS silent_hours",
        of_all,
        "GROUP BY month ORDER BY month",
    )
    whole = ask(
        client,
        f"SELECT (SELECT sum(late) FROM volume_by_hour WHERE {OF_MODEL} AND slice = 'all') AS late,",
        "  (SELECT sum(n) FROM dead_letters) AS dead,",
        "  (SELECT sum(repeats) FROM duplicates) AS duplicates,",
        "  (SELECT sum(lost) FROM producer_gaps) AS lost_before_kafka,",
        "  (SELECT sum(offsets) FROM lost_ranges) AS lost_in_kafka",
    )
    silent = client.rows(f"SELECT hour {of_all} GROUP BY hour HAVING sum(requests) = 0 ORDER BY hour")
    [(recorded, labels_recorded)] = client.rows(
        "SELECT (SELECT count() FROM all_predictions WHERE model = {model:String}), "
        "(SELECT sum(label_count) FROM latest_labels WHERE model = {model:String})",
        {"model": MODEL},
    )
    return Volume(months, whole, *published, int(recorded), int(labels_recorded), tuple(hour for (hour,) in silent))


def local_hours(silent: tuple[datetime, ...], calendar: Calendar) -> list[int]:
    """The hours of the day in New York that are silent at times, ascending."""
    zone = ZoneInfo(ZONE)
    return sorted({calendar.original(hour).astimezone(zone).hour for hour in silent})


def tell_volume(say: Reporter, found: Volume, calendar: Calendar) -> None:
    """Print it."""
    say.signal("Volume", "how much is asked, how fast it is answered, and whether all of it was counted")
    say.table(
        ("", "flights", "failed", f"within {SLO.latency_ms:.0f} ms", "silent hours"),
        [
            (f"{month:%B}", f"{n:,}", f"{failed:,}", percent(1 - slow / timed if timed else None), f"{hours:,}")
            for month, n, failed, slow, timed, hours in found.months
        ],
    )
    hours = local_hours(found.silent, calendar)
    nights = f", all of them from {hours[0]}:00 to {hours[-1] + 1}:00 in New York" if hours else ""
    say.paragraph(
        f"{percent(found.in_time)} within {SLO.latency_ms:.0f} ms, {percent(SLO.latency_share)} are promised (a day's "
        f"flights are one call, timed on this machine). {len(found.silent):,} hours without a flight{nights}: a pane "
        "in which nobody asks has a row too, with n = 0."
    )
    say.query(found.months.sql)
    late, dead, twice, before, inside = (int(n or 0) for n in found.whole.rows[0])
    say.finding(
        "Everything counted once" if not found.lost else "Not everything was counted once",
        f"{found.published:,} published, {found.flights:,} counted, {found.recorded:,} recorded. {late:,} late, "
        f"{dead:,} dead letters, {twice:,} duplicates, {before:,} lost before Kafka (in the last 30 days), {inside:,} "
        "lost in it.",
    )
    say.query(found.whole.sql)


def expect_volume(found: Volume, source: Source) -> Iterator[Expectation]:
    """Hold it to the source."""
    n, labels = source.predictions.num_rows, source.labels.num_rows
    yield Expectation(
        "every prediction was counted and recorded once",
        0 < n == found.published == found.flights == found.recorded,
        f"{found.published:,} published, {found.flights:,} counted in panes, {found.recorded:,} raw rows",
    )
    yield Expectation(
        "every label was recorded once",
        0 < labels == found.labels_published == found.labels_recorded,
        f"{found.labels_published:,} published, {found.labels_recorded:,} recorded",
    )
    yield Expectation("nothing was late, put aside, given twice or lost", found.lost == 0, f"{found.lost:,} events")
    yield Expectation(
        "none failed, and of each the latency is known",
        found.failed == 0 and found.timed == found.flights,
        f"{found.failed:,} failed, {found.timed:,} timed",
    )
    silent = source.silent_hours()
    yield Expectation(
        "the silent hours are those in which no flight was scheduled",
        set(found.silent) == silent,
        f"{len(found.silent):,} of {len(silent):,}",
    )
