"""A warehouse in memory that answers the queries of the monitor's store and replaces rows as the real tables do."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from warehouse.tables import SCHEMAS

KEYS: dict[str, tuple[str, ...]] = {
    "panes": ("model", "version", "baseline_id", "slice", "field", "pane_s", "pane_start"),
    "rollups": ("model", "version", "baseline_id", "slice", "field", "pane_s", "pane_start"),
    "new_categories": ("model", "version", "baseline_id", "field", "pane_start", "category"),
    "volume": ("model", "version", "baseline_id", "slice", "pane_s", "pane_start"),
    "violations": ("model", "version", "baseline_id", "field", "kind", "pane_s", "pane_start"),
    "errors": (
        *("model", "version", "baseline_id", "slice", "kind", "pane_s", "pane_start"),
        *("partials_partition", "record_seq"),
    ),
    "producers": ("model", "producer", "pane_s", "pane_start", "partials_partition", "record_seq"),
    "dead_letter_counts": ("topic", "model", "reason", "hour", "partials_partition", "record_seq"),
    "offset_ledger": ("partials_partition", "source_partition"),
    "progress": ("partials_partition", "model"),
    "losses": ("partials_partition", "source_partition", "start_offset", "end_offset"),
    "drift": ("model", "version", "baseline_id", "slice", "field", "window", "window_end", "record_seq"),
    "rates": ("model", "version", "baseline_id", "slice", "field", "kind", "window", "window_end", "record_seq"),
    "comparisons": (
        *("model", "kind", "window", "window_end"),
        *("left", "right", "field", "measure", "category", "record_seq"),
    ),
    "distances": ("model", "version", "baseline_id", "slice", "field", "window", "window_end", "record_seq"),
}
Key = tuple[Any, ...]
Row = dict[str, Any]


class MemoryWarehouse:
    """Rows by key. Of two rows with one key, the one with the greater `record_seq` stays; if equal, the later one."""

    database = "memory"

    def __init__(self) -> None:
        self.tables: dict[str, dict[Key, Row]] = {name: {} for name in KEYS}

    def insert(self, table: str, rows: pa.Table) -> None:
        stored = self.tables[table]
        for row in rows.to_pylist():
            # One object for every NaN: rows are compared, and a NaN equals only itself.
            row.update({name: math.nan for name, value in row.items() if isinstance(value, float) and value != value})
            for name in ("pane_start", "window_start", "window_end", "hour"):
                if isinstance(row.get(name), datetime):
                    row[name] = int(row[name].replace(tzinfo=UTC).timestamp())
            key = tuple(row[name] for name in KEYS[table])
            before = stored.get(key)
            if before is None or row["record_seq"] >= before["record_seq"]:
                if before is not None and before.get("sealed") and not row["sealed"]:
                    raise AssertionError(f"{table} {key} was sealed and is not any more")
                stored[key] = row

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Answer the queries of `WarehouseStore` and `warehouse.queries` that return rows."""
        bound = dict(parameters or {})
        if "system.tables" in sql:
            return []
        if sql.endswith("GROUP BY at ORDER BY at"):
            counted = re.search(r"FROM (\w+) WHERE", sql)
            assert counted is not None, sql
            panes = self.arrow(f"FROM {counted[1]} FINAL", bound).column("pane_start").to_pylist()
            return sorted(Counter(panes).items())
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
        names = sql[len("SELECT ") : sql.index(" FROM ")].split(", ")
        with_epoch = [{**row, "epoch": row.get("epoch", row["record_seq"] >> 48)} for row in matches]
        return [tuple(_value(row[name]) for name in names) for row in with_epoch]

    def arrow(self, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        """Return the panes or volume of a model that start in [start_s, end_s)."""
        table = re.search(r"FROM (\w+) FINAL", sql)
        assert table is not None, sql
        schema = pa.schema([pa.field(f.name, pa.uint32()) if f.name == "pane_start" else f for f in SCHEMAS[table[1]]])
        rows = [
            row
            for row in self.tables[table[1]].values()
            if row["model"] == parameters["model"]
            and parameters["start_s"] <= row["pane_start"] < parameters["end_s"]
            and row["pane_s"] == parameters.get("pane_s", row["pane_s"])
        ]
        return pa.Table.from_pylist(rows, schema=schema)

    def last(self, table: str) -> dict[Key, Row]:
        """Return the last revision of each verdict, by its key without `record_seq`."""
        newest: dict[Key, Row] = {}
        for key, row in self.tables[table].items():
            before = newest.get(key[:-1])
            if before is None or row["record_seq"] > before["record_seq"]:
                newest[key[:-1]] = row
        return newest

    def named(self) -> dict[Key, Row]:
        """Return the new categories of the last reading of each hour, as the view `unseen_categories` does."""
        newest: dict[Key, int] = {}
        for key, row in self.tables["new_categories"].items():
            newest[key[:-1]] = max(newest.get(key[:-1], -1), row["record_seq"])
        return {k: row for k, row in self.tables["new_categories"].items() if row["record_seq"] == newest[k[:-1]]}

    def last_sets(self) -> dict[Key, Row]:
        """Return the last set of comparisons of each window, by its key without `record_seq`."""
        rows = self.tables["comparisons"]
        newest: dict[Key, int] = {}
        for key in rows:
            newest[key[:4]] = max(newest.get(key[:4], -1), key[-1])
        return {key[:-1]: row for key, row in rows.items() if key[-1] == newest[key[:4]]}


def without(rows: Mapping[Key, Row], names: Iterable[str]) -> dict[Key, Row]:
    """Return rows without some of their columns."""
    dropped = set(names)
    return {key: {n: v for n, v in row.items() if n not in dropped} for key, row in rows.items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    return dict(value) if isinstance(value, list) else value
