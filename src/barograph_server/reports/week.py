"""Weeks on the command line, in the time zone of a model."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from barograph_server.errors import CommandError
from barograph_server.reports.weekly_report import ReportedWeek

_WEEK = re.compile(r"(\d{4})-W(\d{2})")


def parse_week(text: str | None, zone: str, now: datetime) -> ReportedWeek:
    """Parse an ISO week such as 2026-W47; None is the last week that is over."""
    today = now.astimezone(ZoneInfo(zone)).date()
    if text is None:
        return week_of(today - timedelta(days=7), zone)
    match = _WEEK.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        week = week_of(date.fromisocalendar(int(match[1]), int(match[2]), 1), zone)
    except ValueError:
        raise CommandError(f"--week {text} is not a week: write its ISO number, such as 2026-W47.") from None
    if week.start > now:
        raise CommandError(
            f"--week {text} has not begun in {zone}: the last whole week is {parse_week(None, zone, now).name}."
        )
    return week


def week_of(day: date, zone: str) -> ReportedWeek:
    """Return the week that contains a day; around a change to summer time it has 167 or 169 hours."""
    monday = day - timedelta(days=day.weekday())
    year, number, _ = monday.isocalendar()
    start, end = (
        datetime.combine(each, time(), ZoneInfo(zone)).astimezone(UTC) for each in (monday, monday + timedelta(days=7))
    )
    return ReportedWeek(f"{year}-W{number:02}", start, end, zone)
