"""Inputs: drifted fields, unseen values, and the day without weather data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from barograph_server.examples.demo import queries
from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import ACCEPTED_AT, CRITICAL, MODEL, VERSION, WEEK, Calendar
from barograph_server.examples.demo.queries import DemoQuery
from barograph_server.examples.demo.report import DemoReport, day_of, joined, percent
from barograph_server.examples.demo.source_data import SourceData
from barograph_server.examples.demo.timeline import make_timeline
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.status import DriftRow, RateRow, first_major_drift

DRIFTING = ("temp", "dewp")
"""Fields that fall in autumn. A week holds few independent readings of them, which φ accounts for."""
STEADY = ("distance", "time_of_day", "age", "seats", "carrier", "origin", "dest", "engine", "manufacturer")
EARLIEST, LATEST = date(2013, 9, 15), date(2013, 9, 25)
"""Range in which the first major week must end; partial days can move it by a day or two."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Findings about the features."""

    weeks: Mapping[str, Sequence[tuple[date, str]]]
    """Per field of the control, (end date of a week window in 2013, level), in order."""
    first_major: Sequence[DriftRow]
    """The first major week of each field that has one, earliest first."""
    first_weeks: DemoQuery
    """The weeks around the first major week of a critical field; empty if there is none."""
    unseen: DemoQuery
    """(destination, flights, first hour in 2013) of unseen destinations, most frequent first."""
    outage: Sequence[RateRow]
    """Null rates of weather fields in the last day window."""
    nulls: DemoQuery
    """The major ones among them."""

    @property
    def first_critical(self) -> Sequence[DriftRow]:
        """First major weeks of critical fields, earliest first."""
        return [row for row in self.first_major if row.field in CRITICAL]

    @property
    def missing(self) -> list[str]:
        """Weather fields that are missing at the end."""
        return [row.field for row in self.outage if row.level == "major"]


def read_inputs(client: Client, calendar: Calendar, record_end: datetime) -> Inputs:
    """Read the findings; arguments as for `read_volume`."""
    weeks: dict[str, list[tuple[date, str]]] = {}
    for field, window_end, level in queries.week_levels(client):
        weeks.setdefault(field, []).append((calendar.end_date(window_end), level))
    first_major = [row for row in first_major_drift(client, MODEL, WEEK.name) if row.version == VERSION]
    critical = next((row for row in first_major if row.field in CRITICAL), None)
    first_weeks = DemoQuery("", ()) if critical is None else queries.weeks_around(client, calendar, critical)
    return Inputs(
        weeks,
        first_major,
        first_weeks,
        queries.unseen_destinations(client, calendar),
        queries.weather_nulls(client, record_end),
        queries.major_nulls(client, record_end),
    )


def report_inputs(report: DemoReport, findings: Inputs, calendar: Calendar) -> None:
    """Print the findings."""
    report.signal("Inputs", "drift of every feature against training")
    accepted = day_of(ACCEPTED_AT)
    report.paragraph(
        f"Every week ({WEEK.name}, slice all, dates of 2013) compared with June and July; from {accepted} on with the "
        "accepted autumn baseline:"
    )
    timeline = make_timeline(findings.weeks, report.cells(findings.weeks))
    if timeline is not None:
        report.chart(timeline, CRITICAL, mark=(ACCEPTED_AT.date(), f"▼ {accepted}"))
    report.paragraph(
        "insufficient: the week has too few independent readings to distinguish drift from chance. Without φ, every "
        "weather field would be major on the first day."
    )
    critical = findings.first_critical
    if critical:
        _report_first_drift(report, findings, critical, calendar)
    if findings.unseen:
        named = ", ".join(f"{name} {n:,}" for name, n, _ in findings.unseen)
        report.finding(
            f"{len(findings.unseen)} destinations that are not in the training data",
            f"Flights: {named}. They are too few to change a verdict, but the view lists them.",
        )
        report.query(findings.unseen.sql)
    if findings.missing:
        _report_outage(report, findings, calendar)


def _report_first_drift(report: DemoReport, findings: Inputs, critical: Sequence[DriftRow], calendar: Calendar) -> None:
    row = critical[0]
    start, end = (calendar.original(at) for at in (row.window_start, row.window_end))
    text = (
        f"PSI {row.psi:.2f}, 95 % interval {row.psi_low:.2f} to {row.psi_high:.2f}, above the threshold of "
        f"{row.threshold_major:g}; {row.n:,} flights with φ = {row.phi:,.0f}. The largest contribution comes from bin "
        f"{row.top_bin}: {percent(row.expected_share)} in training, {percent(row.actual_share)} in this week."
    )
    if len(critical) > 1:
        others = (f"{other.field} (week to {day_of(calendar.original(other.window_end))})" for other in critical[1:])
        text += f" Other critical fields: {joined(others)}."
    report.finding(f"First major: {row.field}, the week from {day_of(start)} to {day_of(end)}", text)
    report.query(findings.first_weeks.sql)


def _report_outage(report: DemoReport, findings: Inputs, calendar: Calendar) -> None:
    row = next(row for row in findings.outage if row.level == "major")
    end = calendar.original(row.window_end)
    report.finding(
        f"Upstream outage: no weather data in the day that ends on {day_of(end)} {end.year} at {end:%H:%M} UTC",
        f"Null rate major: {joined(findings.missing)}. {row.field} is null in {percent(row.rate)} of {row.n:,} "
        f"flights, expected were {percent(row.baseline_rate)}: {row.delta * 100:+.0f} points, 95 % interval "
        f"{row.delta_low * 100:+.0f} to {row.delta_high * 100:+.0f}. The weather data end on 30 December.",
    )
    report.query(findings.nulls.sql)


def expect_inputs(findings: Inputs, source: SourceData) -> Iterator[DemoExpectation]:
    """Compare the findings with known facts about these flights."""
    major = {field: [day for day, level in rows if level == "major"] for field, rows in findings.weeks.items()}
    for field in DRIFTING:
        first = min(major.get(field, []), default=None)
        yield DemoExpectation(
            f"{field} is first major in a week that ends between {EARLIEST:%d} and {LATEST:%d} September",
            first is not None and EARLIEST <= first <= LATEST,
            "never" if first is None else f"{first:%d %B}",
        )
    drifted = [field for field in STEADY if major.get(field)]
    known = [field for field in STEADY if findings.weeks.get(field)]
    yield DemoExpectation(
        f"{', '.join(STEADY)} are never major in a week",
        not drifted and len(known) == len(STEADY),
        ", ".join(drifted) or (f"never, {len(known)} fields judged"),
    )
    yield DemoExpectation(
        "the missing weather of 31 December makes null rates major in the last day window",
        {"temp", "dewp"} <= set(findings.missing),
        ", ".join(findings.missing) or "none",
    )
    unseen = source.unseen("dest")
    named = {name: n for name, n, _ in findings.unseen}
    yield DemoExpectation(
        "the unseen destinations and their flight counts equal those of the source",
        named == unseen,
        f"{len(named)} of {len(unseen)}, {sum(named.values()):,} of {sum(unseen.values()):,} flights",
    )
