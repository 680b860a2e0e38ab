"""What the demo's picture shows, read from ClickHouse."""

from __future__ import annotations

from datetime import date

from barograph.contract import Thresholds

from cli.demo.findings import Findings
from cli.demo.flights import ACCEPTED_AT, CRITICAL, MODEL, VERSION, WEEK, ZONE, Calendar
from cli.demo.picture import Drawn, Point
from warehouse.client import Client

FIELD = "temp"
"""Whose PSI is drawn."""


def read_drawn(client: Client, calendar: Calendar, findings: Findings) -> Drawn:
    """Ask for it.

    Args:
        client: of the demo's database.
        calendar: of the replay.
        findings: of which the picture shows some.
    """
    volume = client.rows(
        "SELECT toDate(toTimeZone(hour - toIntervalWeek({weeks:UInt32}), {zone:String})) AS day, sum(requests) "
        "FROM volume_by_hour WHERE model = {model:String} AND slice = 'all' "
        "GROUP BY day HAVING sum(requests) > 0 ORDER BY day",
        {"model": MODEL, "zone": ZONE, "weeks": calendar.shift_weeks},
    )
    matured = [week for week in findings.truth.of("auc") if week.mature]
    return Drawn(
        volume=[(day, int(n)) for day, n in volume],
        weeks=findings.inputs.weeks,
        critical=CRITICAL,
        field=FIELD,
        psi=read_psi(client, calendar, FIELD),
        threshold_major=Thresholds().major,
        scores=read_scores(client, calendar),
        auc=[Point(calendar.end_date(week.end), week.value, week.low, week.high) for week in matured],
        reference=matured[0].reference if matured else float("nan"),
        accepted=ACCEPTED_AT.date(),
    )


def read_psi(client: Client, calendar: Calendar, field: str) -> list[Point]:
    """The PSI of a field's week windows, ascending; those over a change of the baseline are left out."""
    rows = client.rows(
        "SELECT window_end, any(psi), any(psi_low), any(psi_high) FROM latest_drift "
        "WHERE model = {model:String} AND version = {version:String} AND slice = 'all' "
        "AND field = {field:String} AND window = {window:String} AND n > 0 "
        "GROUP BY window_end HAVING count() = 1 ORDER BY window_end",
        {"model": MODEL, "version": VERSION, "field": field, "window": WEEK.name},
    )
    return [Point(calendar.end_date(end), psi, low, high) for end, psi, low, high in rows]


def read_scores(client: Client, calendar: Calendar) -> list[tuple[date, float, float]]:
    """Mean score and share of positives of each week's labelled predictions."""
    rows = client.rows(
        "SELECT toDateTime((intDiv(toUnixTimestamp(window_start), {length:UInt32}) + 1) * {length:UInt32}, 'UTC') "
        "AS end, sum(score_sum) / sum(n), sum(positives) / sum(n) FROM calibration_curve WHERE model = {model:String} "
        "AND version = {version:String} AND slice = 'all' GROUP BY end ORDER BY end",
        {"model": MODEL, "version": VERSION, "length": WEEK.length_s},
    )
    return [(calendar.end_date(end), score, came) for end, score, came in rows]
