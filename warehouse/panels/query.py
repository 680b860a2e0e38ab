"""What a panel, a variable or an annotation asks ClickHouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Format = Literal[0, 1]
TIME_SERIES: Format = 0
"""Rows by ascending time; the data source makes one series of each text and number."""
TABLE: Format = 1
"""Rows as they are."""

Kind = Literal["time", "text", "number"]

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


class Column(NamedTuple):
    """A column of an answer; numbers may be NULL, which means that nothing is known."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """A query in Grafana's variables and macros, and what it answers with."""

    name: str
    sql: str
    format: Format
    columns: tuple[Column, ...]
    grain_s: int
    """What it reads has at most one row of each thing in so many seconds: a smaller step shows nothing more."""

    @property
    def names(self) -> list[str]:
        """The names of the columns, in their order."""
        return [column.name for column in self.columns]


def series(name: str, sql: str, *columns: str, grain_s: int = MINUTE_S) -> PanelQuery:
    """A time series: the column `time`, then texts and numbers written as `name:text` or `name`, a number."""
    return PanelQuery(name, sql, TIME_SERIES, (Column("time", "time"), *map(_column, columns)), grain_s)


def table(name: str, sql: str, *columns: str, grain_s: int = MINUTE_S) -> PanelQuery:
    """A table; columns are written as `name:text`, `name:time` or `name`, a number."""
    return PanelQuery(name, sql, TABLE, tuple(map(_column, columns)), grain_s)


def _column(text: str) -> Column:
    name, _, kind = text.partition(":")
    assert kind in ("", "text", "time")
    return Column(name, kind or "number")  # type: ignore[arg-type]
