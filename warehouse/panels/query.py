"""Queries of panels, variables and annotations."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from barograph_server.warehouse.panels.fragments import MODEL, VERSION, WINDOW, finite

Format = Literal[0, 1]
TIME_SERIES: Format = 0
"""Rows by ascending time; the data source builds one series per text and number column."""
TABLE: Format = 1
"""Rows as a table."""

Kind = Literal["time", "text", "number"]

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
DISTANCES_S = 2 * DAY_S
"""Period of distances and quantiles, in seconds: they are computed about four times per window, so every second day for
one of a week."""


class Column(NamedTuple):
    """A column of a result; a number is NULL if it is unknown."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """A query with Grafana's variables and macros, and its columns."""

    name: str
    sql: str
    format: Format
    columns: tuple[Column, ...]
    grain_s: int
    """Time resolution of the source in seconds; a smaller step shows nothing more."""
    period_s: int = DAY_S
    """Longest time between two values of a series, in seconds, if no data are missing. Series of one query can have
    different periods: the hop of a window is set in each contract."""

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def series(name: str, sql: str, columns: str, *, grain_s: int = MINUTE_S, period_s: int = DAY_S) -> PanelQuery:
    """Return a time series with the column `time` and others: `slice:text | psi` has a text and a number.

    The default period is that of verdicts: hops of more than a day are unusual.
    """
    return PanelQuery(name, sql, TIME_SERIES, _columns(f"time:time | {columns}"), grain_s, period_s)


def hourly(name: str, sql: str, columns: str) -> PanelQuery:
    """Return a time series of counts that the tables have by hour."""
    return series(name, sql, columns, grain_s=HOUR_S, period_s=HOUR_S)


def table(name: str, sql: str, columns: str, *, grain_s: int = MINUTE_S) -> PanelQuery:
    """Return a table with columns such as `slice:text | psi | window end:time`."""
    return PanelQuery(name, sql, TABLE, _columns(columns), grain_s)


def _columns(text: str) -> tuple[Column, ...]:
    parts = [each.partition(":") for each in text.split(" | ")]
    assert all(kind in ("", "text", "time") for _, _, kind in parts)
    return tuple(Column(name, kind or "number") for name, _, kind in parts)  # type: ignore[arg-type]


ALL_EVENTS = f"{MODEL} AND {VERSION} AND slice = 'all' AND {WINDOW} AND $__timeFilter(window_end)"
"""The condition for the rows of `latest_distances` of all events, in the selected window and range."""


def statistics_of(fields: str) -> str:
    """Return the query for the rows of `latest_distances` of fields and all events.

    Of two baselines in a window, the one with more events counts.

    Args:
        fields: their names as SQL, with commas.
    """
    return (
        f"(SELECT field, window_end, mean, p50, p95, p99 FROM latest_distances WHERE {ALL_EVENTS} "
        f"AND field IN ({fields}) ORDER BY n DESC LIMIT 1 BY version, field, window_end)"
    )


def window_statistics(name: str, field: str, *columns: str) -> PanelQuery:
    """Return the query for columns of `latest_distances`, such as `p50`, of one field and all events.

    Args:
        columns: columns of the table, each a series.
    """
    numbers = ", ".join(f"max({finite(f'stats.{column}')}) AS {column}" for column in columns)
    return series(
        name,
        f"""
        SELECT $__timeInterval(window_end) AS time, {numbers}
        FROM {statistics_of(f"'{field}'")} AS stats
        GROUP BY time
        ORDER BY time
        """,
        " | ".join(columns),
        period_s=DISTANCES_S,
    )
