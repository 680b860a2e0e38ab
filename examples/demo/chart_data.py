"""Data of the demo's picture, read from ClickHouse."""

from __future__ import annotations

from datetime import date

from barograph.contract import Thresholds

from barograph_server.examples.demo.findings import Findings
from barograph_server.examples.demo.flights import ACCEPTED_AT, CRITICAL, MODEL, VERSION, WEEK, ZONE, Calendar
from barograph_server.examples.demo.picture import PictureData, Point
from barograph_server.warehouse.client import Client

FIELD = "temp"
"""Field whose PSI the picture shows."""


def read_picture_data(client: Client, calendar: Calendar, findings: Findings) -> PictureData:
    """Read the data of the picture.

    Args:
        client: connected to the demo's database.
        calendar: calendar of the replay.
        findings: findings of the demo.
    """
    volume = client.rows(
        "SELECT toDate(toTimeZone(hour - toIntervalWeek({weeks:UInt32}), {zone:String})) AS day, sum(requests) "
        "FROM volume_by_hour WHERE model = {model:String} AND slice = 'all' "
        "GROUP BY day HAVING sum(requests) > 0 ORDER BY day",
        {"model": MODEL, "zone": ZONE, "weeks": calendar.shift_weeks},
    )
    matured = [week for week in findings.truth.of("auc") if week.mature]
    return PictureData(
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
    """PSI of a field's week windows, ascending, without windows that span a change of baseline."""
    rows = client.rows(
        "SELECT window_end, any(psi), any(psi_low), any(psi_high) FROM latest_drift "
        "WHERE model = {model:String} AND version = {version:String} AND slice = 'all' "
        "AND field = {field:String} AND window = {window:String} AND n > 0 "
        "GROUP BY window_end HAVING count() = 1 ORDER BY window_end",
        {"model": MODEL, "version": VERSION, "field": field, "window": WEEK.name},
    )
    return [Point(calendar.end_date(end), psi, low, high) for end, psi, low, high in rows]


def read_scores(client: Client, calendar: Calendar) -> list[tuple[date, float, float]]:
    """Mean score and share of positives among the labelled predictions of each week."""
    rows = client.rows(
        "SELECT toDateTime((intDiv(toUnixTimestamp(window_start), {length:UInt32}) + 1) * {length:UInt32}, 'UTC') "
        "AS end, sum(score_sum) / sum(n), sum(positives) / sum(n) FROM calibration_curve WHERE model = {model:String} "
        "AND version = {version:String} AND slice = 'all' GROUP BY end ORDER BY end",
        {"model": MODEL, "version": VERSION, "length": WEEK.length_s},
    )
    return [(calendar.end_date(end), score, came) for end, score, came in rows]
