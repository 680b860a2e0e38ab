"""Rows that are prepared beside the tables, compared with what is there, and put in their place in one step per table.

A staging database has the same tables, empty. `ATTACH PARTITION … FROM` then adds what was prepared of one month to the
table itself: all of it is seen from one moment on, never a part. Rows of the same key replace older ones, as they do
whenever the monitor writes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from sketches.baseline.columns import COLUMN_KEYS
from warehouse.client import Address, Client, connect, identifier

BUSY_LEVELS = ("stable", "minor", "major", "insufficient")
_PANE_KEY = "version, baseline_id, slice, field, pane_start"
_VOLUME_KEY = "version, baseline_id, slice, pane_start"
_IN_PANES = "model = {model:String} AND pane_start >= {from_s:UInt32} AND pane_start < {to_s:UInt32}"
_IN_WINDOWS = "model = {model:String} AND window_end > {from_s:UInt32} AND window_start < {to_s:UInt32}"


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One line of what a rebuild changes."""

    what: str
    before: int
    after: int
    changed: int
    """Rows of keys that are in both and differ, or of keys that were missing."""


class Staging:
    """The staging database of one model's rebuild."""

    def __init__(self, address: Address, model: str, tables: Sequence[str]) -> None:
        self._address, self._tables = address, tuple(tables)
        tail = hashlib.sha256(model.encode()).hexdigest()[:8]
        self.database = identifier(f"{address.database}_rebuild_{tail}")

    def open(self, client: Client) -> Client:
        """Make the database anew with empty tables, and connect to it.

        Raises:
            WarehouseError: the right to create it is missing.
            WarehouseBusy: ClickHouse cannot do it now.
        """
        self.drop(client)
        client.command(f"CREATE DATABASE {self.database}")
        for table in self._tables:
            client.command(f"CREATE TABLE {self.database}.{table} AS {client.database}.{table}")
        return connect(dataclasses.replace(self._address, database=self.database))

    def drop(self, client: Client) -> None:
        """Remove it, if it is there."""
        client.command(f"DROP DATABASE IF EXISTS {self.database} SYNC")

    def insert(self, staged: Client, table: str, rows: pa.Table) -> None:
        """Prepare rows."""
        staged.insert(table, rows)

    def uncounted(self, client: Client, parameters: Mapping[str, Any]) -> list[tuple[str, str, int, int]]:
        """What is counted now and not in what is prepared: version, baseline, rows, events at most in one pane."""
        return [
            (str(version), str(baseline), int(rows), int(n))
            for version, baseline, rows, n in client.rows(
                f"SELECT version, baseline_id, count(), max(n) FROM volume FINAL WHERE {_IN_PANES} AND n > 0 "
                f"AND ({_VOLUME_KEY}) NOT IN (SELECT {_VOLUME_KEY} FROM {self.database}.volume WHERE n > 0) "
                "GROUP BY version, baseline_id ORDER BY version, baseline_id",
                parameters,
            )
        ]

    def poorer(self, client: Client, parameters: Mapping[str, Any]) -> int:
        """Panes of fields, of the slice `all`, that hold fewer values or fewer invalid ones than what is there."""
        key = "version, baseline_id, field, pane_start"
        old, new = (
            f"SELECT {key}, n + invalid AS told, invalid FROM {db}panes FINAL WHERE {_IN_PANES} AND slice = 'all'"
            for db in ("", f"{self.database}.")
        )
        found = client.rows(
            f"SELECT countIf(new.told < old.told OR new.invalid < old.invalid) FROM ({old}) AS old "
            f"INNER JOIN ({new}) AS new USING ({key})",
            parameters,
        )
        return int(found[0][0])

    def differences(self, client: Client, parameters: Mapping[str, Any]) -> list[Difference]:
        """Compare what is prepared with what is there, panes first, then verdicts by level."""
        found = self._counted(client, parameters) if "panes" in self._tables else []
        for table, key in (
            ("drift", "version, baseline_id, slice, field, window, window_end"),
            ("rates", "version, baseline_id, slice, field, kind, window, window_end"),
        ):
            latest = f"SELECT {key}, argMax(level, record_seq) AS told FROM {{db}}{table} FINAL WHERE {_IN_WINDOWS} GROUP BY {key}"
            found.append(self._compared(client, f"{table} (windows judged)", latest, key, parameters))
            levels = {
                db: dict(
                    client.rows(
                        f"SELECT told, toInt64(count()) FROM ({latest.replace('{db}', db)}) GROUP BY told", parameters
                    )
                )
                for db in ("", f"{self.database}.")
            }
            for level in BUSY_LEVELS:
                old, new = (int(levels[db].get(level, 0)) for db in ("", f"{self.database}."))
                found.append(Difference(f"{table}: {level}", old, new, abs(old - new)))
        return found

    def _counted(self, client: Client, parameters: Mapping[str, Any]) -> list[Difference]:
        """Compare panes, volume and the number of events."""
        found = [
            self._compared(
                client,
                "panes (rows of slice and field)",
                f"SELECT {_PANE_KEY}, (n, {', '.join(COLUMN_KEYS)}, counts) AS told FROM {{db}}panes FINAL "
                f"WHERE {_IN_PANES} AND n + invalid > 0",
                _PANE_KEY,
                parameters,
            ),
            self._compared(
                client,
                "volume (rows of slice)",
                f"SELECT {_VOLUME_KEY}, (n, errors, late) AS told FROM {{db}}volume FINAL WHERE {_IN_PANES}",
                _VOLUME_KEY,
                parameters,
            ),
        ]
        events = "SELECT toInt64(sum(n)) FROM {db}volume FINAL WHERE " + _IN_PANES + " AND slice = 'all'"
        before, after = (
            int(client.rows(events.replace("{db}", db), parameters)[0][0]) for db in ("", f"{self.database}.")
        )
        found.append(Difference("events", before, after, abs(after - before)))
        return found

    def _compared(self, client: Client, what: str, select: str, key: str, parameters: Mapping[str, Any]) -> Difference:
        old, new = select.replace("{db}", ""), select.replace("{db}", f"{self.database}.")
        before, after, changed = client.rows(
            f"SELECT countIf(is_old > 0), countIf(is_new > 0), "
            f"countIf(is_new > 0 AND (is_old = 0 OR uniqExact_told > 1)) FROM (SELECT {key}, "
            f"countIf(side = 0) AS is_old, countIf(side = 1) AS is_new, uniqExact(told) AS uniqExact_told FROM "
            f"(SELECT {key}, told, 0 AS side FROM ({old}) UNION ALL SELECT {key}, told, 1 AS side FROM ({new})) "
            f"GROUP BY {key})",
            parameters,
        )[0]
        return Difference(what, int(before), int(after), int(changed))

    def put_in_place(self, client: Client) -> None:
        """Add what is prepared to the tables, each month of each table in one step.

        Killed between two steps, the same rebuild run again leads to the same rows.
        """
        for table in self._tables:
            parts = client.rows(
                "SELECT DISTINCT partition_id FROM system.parts WHERE database = {database:String} AND "
                "table = {table:String} AND active ORDER BY partition_id",
                {"database": self.database, "table": table},
            )
            for (partition_id,) in parts:
                client.command(
                    f"ALTER TABLE {client.database}.{table} ATTACH PARTITION ID '{int(partition_id)}' "
                    f"FROM {self.database}.{table}"
                )
