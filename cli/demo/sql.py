"""The queries that the demo prints, for people to run and to change."""

from __future__ import annotations

from datetime import datetime

from cli.demo.flights import DAY, MODEL, WEEK, Calendar
from warehouse.status import DriftRow, RateRow

# Nothing here comes from anyone's input: names of fields are those of the demo's own table.


def drift_sql(row: DriftRow, calendar: Calendar) -> str:
    """The week windows of a field around a verdict."""
    end = _moment(row.window_end)
    return (
        f"SELECT window_end - INTERVAL {calendar.shift_weeks} WEEK AS ends_2013, level, round(psi, 3) AS psi, "  # noqa: S608
        "round(psi_low, 3) AS low, round(psi_high, 3) AS high, n, round(phi) AS phi, top_bin "
        f"FROM latest_drift WHERE model = '{MODEL}' AND version = '{row.version}' AND slice = 'all' "
        f"AND field = '{row.field}' "
        f"AND window = '{WEEK.name}' AND window_end >= toDateTime('{end}', 'UTC') - INTERVAL 5 DAY "
        f"AND window_end <= toDateTime('{end}', 'UTC') + INTERVAL 2 DAY ORDER BY window_end"
    )


def outage_sql(row: RateRow) -> str:
    """The null rates of the weather that are major in the day of a verdict."""
    return (
        "SELECT field, level, n, k, round(rate, 3) AS rate, round(baseline_rate, 4) AS baseline_rate, "  # noqa: S608
        "round(delta_low, 3) AS low, round(delta_high, 3) AS high FROM latest_rates "
        f"WHERE model = '{MODEL}' AND version = '{row.version}' AND slice = 'all' AND kind = 'null' "
        f"AND window = '{DAY.name}' "
        f"AND window_end = toDateTime('{_moment(row.window_end)}', 'UTC') AND level = 'major' ORDER BY field"
    )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
