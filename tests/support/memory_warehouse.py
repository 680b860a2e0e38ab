"""A warehouse in memory that answers the queries of the monitor's store and replaces rows as the real tables do."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from barograph_server.warehouse import migrate
from barograph_server.warehouse.tables import SCHEMAS

_CREATED = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\n.*\nORDER BY \(([\w, ]+)\)", re.DOTALL)
KEYS = {
    created[1]: tuple(name for name in created[2].split(", ") if name in SCHEMAS[created[1]].names)
    for migration in migrate.load()
    for created in filter(None, map(_CREATED.search, migration.statements))
    if created[1] in SCHEMAS
}
"""The columns of each table that identify a row, without those that ClickHouse computes."""
Key = tuple[Any, ...]
Row = dict[str, Any]
LOADED = ("panes", "rollups", "volume")
"""The tables that are loaded by model and range of pane starts."""
_SECONDS = ("pane_start", "window_start", "window_end", "hour")
"""Columns whose times rows store as Unix seconds."""
_LOADED_SCHEMAS = {
    table: pa.schema([pa.field(f.name, pa.uint32()) if f.name == "pane_start" else f for f in SCHEMAS[table]])
    for table in LOADED
}


class MemoryWarehouse:
    """Rows by key. Of two rows with one key, the one with the greater `record_seq` stays; if equal, the later one."""

    database = "memory"

    def __init__(self) -> None:
        self.tables: dict[str, dict[Key, Row]] = {name: {} for name in KEYS}
        self._by_start: dict[str, dict[str, dict[int, dict[Key, Row]]]] = {name: {} for name in LOADED}
        """Rows of a table by model and pane start."""

    def insert(self, table: str, rows: pa.Table) -> None:
        stored, key_names = self.tables[table], KEYS[table]
        floats = [field.name for field in rows.schema if pa.types.is_floating(field.type)]
        for row in _with_seconds(rows).to_pylist():
            for name in floats:
                # One object for every NaN: rows are compared, and a NaN equals only itself.
                if row[name] != row[name]:
                    row[name] = math.nan
            key = tuple([row[name] for name in key_names])
            before = stored.get(key)
            if before is None or row["record_seq"] >= before["record_seq"]:
                if before is not None and before.get("sealed") and not row["sealed"]:
                    raise AssertionError(f"{table} {key} was sealed and is not any more")
                stored[key] = row
                if table in self._by_start:
                    starts = self._by_start[table].setdefault(row["model"], {})
                    starts.setdefault(row["pane_start"], {})[key] = row

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Answer the queries of `WarehouseStore` and `warehouse.queries` that return rows."""
        bound = dict(parameters or {})
        if "system.tables" in sql:
            return []
        if sql.endswith("GROUP BY at ORDER BY at"):
            counted = re.search(r"FROM (\w+) WHERE", sql)
            assert counted is not None, sql
            return sorted(Counter(row["pane_start"] for row in self._in_range(counted[1], bound)).items())
        table = re.search(r"FROM (\w+) FINAL", sql)
        assert table is not None, sql
        matches = [row for row in self.tables[table[1]].values() if all(row.get(n, v) == v for n, v in bound.items())]
        if table[1] == "volume" and "minIf(" in sql:
            starts: dict[Key, list[int]] = {}
            for row in matches:
                if row["slice"] == "all" and row["n"]:
                    in_time = starts.setdefault((row["version"], row["baseline_id"]), [])
                    if row["n"] > row["late"]:
                        in_time.append(row["pane_start"])
            return [(*key, bool(in_time), min(in_time, default=0)) for key, in_time in starts.items()]
        if table[1] == "volume" and "max(pane_start)" in sql:
            busy = [row["pane_start"] for row in matches if row["slice"] == "all" and row["n"]]
            return [(len(busy), max(busy, default=0))]
        names = sql[len("SELECT ") : sql.index(" FROM ")].split(", ")
        with_epoch = [{**row, "epoch": row.get("epoch", row["record_seq"] >> 48)} for row in matches]
        return [tuple(_value(row[name]) for name in names) for row in with_epoch]

    def arrow(self, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        table = re.search(r"FROM (\w+) FINAL", sql)
        assert table is not None, sql
        return pa.Table.from_pylist(self._in_range(table[1], parameters), schema=_LOADED_SCHEMAS[table[1]])

    def _in_range(self, table: str, parameters: Mapping[str, Any]) -> list[Row]:
        """Return the rows of a model whose panes start in [start_s, end_s), and last pane_s if that is given."""
        starts = self._by_start[table].get(parameters["model"], {})
        in_range = [at_s for at_s in starts if parameters["start_s"] <= at_s < parameters["end_s"]]
        pane_s = parameters.get("pane_s")
        return [row for at_s in in_range for row in starts[at_s].values() if pane_s is None or row["pane_s"] == pane_s]

    def last(self, table: str, of: int = -1) -> dict[Key, Row]:
        """Return the last rows of each key up to its part `of`, by their keys without `record_seq`."""
        rows = self.tables[table]
        newest: dict[Key, int] = {}
        for key, row in rows.items():
            newest[key[:of]] = max(newest.get(key[:of], -1), row["record_seq"])
        n = len(KEYS[table]) - (KEYS[table][-1] == "record_seq")
        return {key[:n]: row for key, row in rows.items() if row["record_seq"] == newest[key[:of]]}

    def named(self) -> dict[Key, Row]:
        """Return the new categories of the last reading of each hour, as the view `unseen_categories` does."""
        return self.last("new_categories")

    def last_sets(self) -> dict[Key, Row]:
        """Return the last set of comparisons of each window."""
        return self.last("comparisons", 4)


def without(rows: Mapping[Key, Row], names: Iterable[str]) -> dict[Key, Row]:
    dropped = set(names)
    return {key: {n: v for n, v in row.items() if n not in dropped} for key, row in rows.items()}


def _with_seconds(rows: pa.Table) -> pa.Table:
    for name in _SECONDS:
        i = rows.schema.get_field_index(name)
        if i >= 0 and pa.types.is_timestamp(rows.schema.field(i).type):
            seconds = pa.timestamp("s", rows.schema.field(i).type.tz)
            rows = rows.set_column(i, name, rows.column(i).cast(seconds).cast(pa.int64()))
    return rows


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    return dict(value) if isinstance(value, list) else value
