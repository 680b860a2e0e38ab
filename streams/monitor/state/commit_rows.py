"""The rows of one commit to ClickHouse, and the order in which they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

Columns = dict[str, Any]
"""Columns of one table, by name."""
Row = dict[str, Any]
LazyColumns = Callable[[], Columns]
"""Columns that are made only when they are written: those of a wide model are large, and many may be due at once."""
PaneTable = Literal["volume", "violations", "panes", "rollups", "new_categories"]
TallyTable = Literal["errors", "producers", "heartbeats", "dead_letter_counts"]
RowTable = Literal["losses", "offset_ledger", "progress"]
TableColumns = tuple[PaneTable | TallyTable, Columns | LazyColumns]
"""A table and columns for it."""

COLUMN_TABLES = (
    "drift",
    "rates",
    "distances",
    "comparisons",
    "volume",
    "violations",
    "panes",
    "rollups",
    "new_categories",
    "errors",
    "producers",
    "heartbeats",
    "dead_letter_counts",
)
"""The tables that are written by columns, in the order of writing.

Volume precedes panes, so that a reader between the two never finds more values in a pane than events. Violations
precede them too: after a crash a written pane is not dirty, so rows that follow from it would not be written again.
"""
ROW_TABLES: tuple[RowTable, ...] = ("losses", "offset_ledger", "progress")
"""The tables that are written by rows, after all others, in the order of writing.

`progress` is the last: after a crash in the middle of a commit the whole commit is made again.
"""


class VerdictColumns(NamedTuple):
    """Verdicts on some windows, as columns; None if a table has no rows."""

    drift: Columns | None = None
    rates: Columns | None = None
    distances: Columns | None = None
    comparisons: Columns | None = None


class CommitRows:
    """Collects the rows of one commit. The partition that commits owns it; nobody else adds to it."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Columns | LazyColumns]] = {}
        self._rows: dict[str, list[Row]] = {}
        self.n_verdicts = 0
        """Rows of `drift` and `rates`."""

    def add_verdicts(self, verdicts: VerdictColumns) -> None:
        """Add verdicts on some windows."""
        for table, columns in verdicts._asdict().items():
            if columns is not None:
                self._columns.setdefault(table, []).append(columns)
        self.n_verdicts += sum(len(c["record_seq"]) for c in (verdicts.drift, verdicts.rates) if c is not None)

    def add_columns(self, tables: Iterable[TableColumns]) -> None:
        """Add columns of panes, rollups or tallies."""
        for table, columns in tables:
            self._columns.setdefault(table, []).append(columns)

    def add_rows(self, table: RowTable, rows: Iterable[Row]) -> None:
        """Add rows of the tables that say how far the monitor is."""
        self._rows.setdefault(table, []).extend(rows)

    def drain_verdicts(self) -> CommitRows:
        """Move the rows of `drift` and `rates`, which a commit writes first, to a commit of their own."""
        early = CommitRows()
        for table in ("drift", "rates"):
            early._columns[table] = self._columns.pop(table, [])
        early.n_verdicts, self.n_verdicts = self.n_verdicts, 0
        return early

    def columns(self, table: str) -> Iterator[Columns]:
        """Yield the columns of a table of `COLUMN_TABLES`, some rows at a time."""
        for columns in self._columns.get(table, ()):
            yield columns() if callable(columns) else columns

    def rows(self, table: RowTable) -> list[Row]:
        return self._rows.get(table, [])
