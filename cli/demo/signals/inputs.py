"""Inputs: which fields drifted and when, values that training never held, and the day without weather."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from cli.demo.answer import OF_MODEL, Answer, ask, moment
from cli.demo.expectation import Expectation
from cli.demo.flights import ACCEPTED_AT, CRITICAL, DAY, MODEL, VERSION, WEATHER, WEEK, Calendar
from cli.demo.report import Reporter, day_of, joined, percent
from cli.demo.source_data import Source
from cli.demo.timeline import make_timeline
from warehouse.client import Client
from warehouse.queries import rows_of
from warehouse.status import DriftRow, RateRow, first_major_drift

DRIFTING = ("temp", "dewp")
"""They fall in autumn; a week holds few independent readings of them, which φ knows."""
STEADY = ("distance", "time_of_day", "age", "seats", "carrier", "origin", "dest", "engine", "manufacturer")
EARLIEST, LATEST = date(2013, 9, 15), date(2013, 9, 25)
"""Between them the first week that is major ends; parts of a day's traffic may move it by a day or two."""
OF_CONTROL = f"{OF_MODEL} AND version = '{VERSION}' AND slice = 'all'"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What became of the features."""

    weeks: Mapping[str, Sequence[tuple[date, str]]]
    """Of the control, per field (date of 2013 at whose start a week window ends, level), in order."""
    first_major: Sequence[DriftRow]
    """The earliest major week of each field that had one, the earliest first."""
    first_weeks: Answer
    """The weeks around the first of them that is critical; without rows where there is none."""
    unseen: Answer
    """(destination, flights, first hour of 2013) of those that training did not hold, the most frequent first."""
    outage: Sequence[RateRow]
    """Null rates of the weather in the day window that ends with the record."""
    nulls: Answer
    """Those that are major."""

    @property
    def first_critical(self) -> Sequence[DriftRow]:
        """Those of critical fields, the earliest first."""
        return [row for row in self.first_major if row.field in CRITICAL]

    @property
    def missing(self) -> list[str]:
        """The weather that is missing at the end."""
        return [row.field for row in self.outage if row.level == "major"]


def read_inputs(client: Client, calendar: Calendar, record_end: datetime) -> Inputs:
    """Ask for it; arguments as `read_volume` has them."""
    weeks: dict[str, list[tuple[date, str]]] = {}
    # Where the baseline changes a window has a part on either, both insufficient.
    for field, window_end, level in client.rows(
        "SELECT field, window_end, any(level) FROM latest_drift "
        "WHERE model = {model:String} AND version = {version:String} "
        "AND slice = 'all' AND window = {window:String} GROUP BY field, window_end ORDER BY field, window_end",
        {"model": MODEL, "version": VERSION, "window": WEEK.name},
    ):
        weeks.setdefault(str(field), []).append((calendar.end_date(window_end), str(level)))
    outage = rows_of(
        client,
        RateRow,
        "FROM latest_rates WHERE model = {model:String} AND version = {version:String} AND slice = 'all' "
        "AND window = {window:String} AND kind = 'null' AND window_end = {end:DateTime} "
        "AND field IN {fields:Array(String)} ORDER BY field",
        {"model": MODEL, "version": VERSION, "window": DAY.name, "end": record_end, "fields": list(WEATHER)},
    )
    first_major = [row for row in first_major_drift(client, MODEL, WEEK.name) if row.version == VERSION]
    critical = next((row for row in first_major if row.field in CRITICAL), None)
    unseen = ask(
        client,
        f"SELECT category, n, {calendar.sql('first_seen')} AS first_2013",
        f"FROM unseen_categories WHERE {OF_MODEL} AND field = 'dest' ORDER BY n DESC, category",
    )
    nulls = ask(
        client,
        "SELECT field, level, n, k, round(rate, 3) AS rate, round(baseline_rate, 4) AS baseline_rate,",
        "  round(delta_low, 3) AS low, round(delta_high, 3) AS high",
        f"FROM latest_rates WHERE {OF_CONTROL} AND kind = 'null' AND window = '{DAY.name}'",
        f"  AND window_end = {moment(record_end)} AND level = 'major' ORDER BY field",
    )
    first_weeks = Answer("", ()) if critical is None else _around(client, calendar, critical)
    return Inputs(weeks, first_major, first_weeks, unseen, outage, nulls)


def _around(client: Client, calendar: Calendar, row: DriftRow) -> Answer:
    """The week windows of a field around a verdict."""
    end = moment(row.window_end)
    return ask(
        client,
        f"SELECT {calendar.sql('window_end')} AS ends_2013, level, round(psi, 3) AS psi,",
        "  round(psi_low, 3) AS low, round(psi_high, 3) AS high, n, round(phi) AS phi, top_bin",
        f"FROM latest_drift WHERE {OF_CONTROL} AND field = '{row.field}' AND window = '{WEEK.name}'",
        f"  AND window_end BETWEEN toDateTime({end}) - INTERVAL 5 DAY AND toDateTime({end}) + INTERVAL 2 DAY",
        "ORDER BY window_end",
    )


def tell_inputs(say: Reporter, found: Inputs, calendar: Calendar) -> None:
    """Print it."""
    say.signal("Inputs", "whether features are as they were in training, field by field")
    accepted = day_of(ACCEPTED_AT)
    say.paragraph(
        f"Every week ({WEEK.name}, slice all, dates of 2013) against June and July; from {accepted} on against the "
        "autumn that was accepted then:"
    )
    timeline = make_timeline(found.weeks, say.cells(found.weeks))
    if timeline is not None:
        say.chart(timeline, CRITICAL, mark=(ACCEPTED_AT.date(), f"▼ {accepted}"))
    say.paragraph(
        "insufficient: the week holds too few independent readings to tell drift from chance. Without φ every weather "
        "field would be major on the first day."
    )
    critical = found.first_critical
    if critical:
        _tell_first(say, found, critical, calendar)
    if found.unseen:
        named = ", ".join(f"{name} {n:,}" for name, n, _ in found.unseen)
        say.finding(
            f"{len(found.unseen)} destinations that training did not hold",
            f"Flights to them: {named}. Too few to move a verdict; the view names them.",
        )
        say.query(found.unseen.sql)
    if found.missing:
        _tell_outage(say, found, calendar)


def _tell_first(say: Reporter, found: Inputs, critical: Sequence[DriftRow], calendar: Calendar) -> None:
    row = critical[0]
    start, end = (calendar.original(at) for at in (row.window_start, row.window_end))
    text = (
        f"PSI {row.psi:.2f}, 95 % interval {row.psi_low:.2f} to {row.psi_high:.2f}, over the line of "
        f"{row.threshold_major:g}; {row.n:,} flights, of which φ = {row.phi:,.0f} count as one reading. Most of it comes "
        f"from {row.top_bin}: {percent(row.expected_share)} in training, {percent(row.actual_share)} in this week."
    )
    if len(critical) > 1:
        others = (f"{other.field} (week to {day_of(calendar.original(other.window_end))})" for other in critical[1:])
        text += f" Critical fields that followed: {joined(others)}."
    say.finding(f"First major: {row.field}, the week from {day_of(start)} to {day_of(end)}", text)
    say.query(found.first_weeks.sql)


def _tell_outage(say: Reporter, found: Inputs, calendar: Calendar) -> None:
    row = next(row for row in found.outage if row.level == "major")
    end = calendar.original(row.window_end)
    say.finding(
        f"An outage upstream: no weather in the day that ends on {day_of(end)} {end.year} at {end:%H:%M} UTC",
        f"{joined(found.missing)}: major as null rates. {row.field} is null in {percent(row.rate)} of {row.n:,} "
        f"flights, {percent(row.baseline_rate)} were expected: {row.delta * 100:+.0f} points, 95 % interval "
        f"{row.delta_low * 100:+.0f} to {row.delta_high * 100:+.0f}. The weather data end on 30 December.",
    )
    say.query(found.nulls.sql)


def expect_inputs(found: Inputs, source: Source) -> Iterator[Expectation]:
    """Hold it to what is known of these flights."""
    major = {field: [day for day, level in rows if level == "major"] for field, rows in found.weeks.items()}
    for field in DRIFTING:
        first = min(major.get(field, []), default=None)
        yield Expectation(
            f"{field} is major first in a week that ends from {EARLIEST:%d} to {LATEST:%d} September",
            first is not None and EARLIEST <= first <= LATEST,
            "never" if first is None else f"{first:%d %B}",
        )
    drifted = [field for field in STEADY if major.get(field)]
    seen = [field for field in STEADY if found.weeks.get(field)]
    yield Expectation(
        f"{', '.join(STEADY)} are never major in a week",
        not drifted and len(seen) == len(STEADY),
        ", ".join(drifted) or (f"never, {len(seen)} fields judged"),
    )
    yield Expectation(
        "the missing weather of 31 December is major as a null rate in the day that ends with it",
        {"temp", "dewp"} <= set(found.missing),
        ", ".join(found.missing) or "none",
    )
    unseen = source.unseen("dest")
    named = {name: n for name, n, _ in found.unseen}
    yield Expectation(
        "the new destinations are those that training did not hold, each with its flights",
        named == unseen,
        f"{len(named)} of {len(unseen)}, {sum(named.values()):,} of {sum(unseen.values()):,} flights",
    )
