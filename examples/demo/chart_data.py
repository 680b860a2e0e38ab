"""Data of the demo's picture, read from ClickHouse."""

from __future__ import annotations

from datetime import date

from barograph.contract import Thresholds

from barograph_server.examples.demo import queries
from barograph_server.examples.demo.findings import Findings
from barograph_server.examples.demo.flights import ACCEPTED_AT, CRITICAL, Calendar
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
    matured = [week for week in findings.truth.of("auc") if week.mature]
    return PictureData(
        volume=queries.daily_volume(client, calendar),
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
    return [Point(calendar.end_date(end), psi, low, high) for end, psi, low, high in queries.week_psi(client, field)]


def read_scores(client: Client, calendar: Calendar) -> list[tuple[date, float, float]]:
    """Mean score and share of positives among the labelled predictions of each week."""
    return [(calendar.end_date(end), score, came) for end, score, came in queries.week_scores(client)]
