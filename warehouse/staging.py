"""A staging database: rows are prepared there, compared with the current rows, and swapped in atomically per month.

The staging database has the same tables, initially empty. `ATTACH PARTITION … FROM` adds the prepared rows of one month
to the target table in one step. Rows of the same key replace older rows, as after any write of the monitor.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from barograph_server.sketches.baseline.columns import COLUMN_KEYS
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.warehouse.client import Address, Client, connect, identifier

_PANE_KEY = "version, baseline_id, slice, field, pane_start"
_VOLUME_KEY = "version, baseline_id, slice, pane_start"
_IN_PANES = "model = {model:String} AND pane_start >= {from_s:UInt32} AND pane_start < {to_s:UInt32}"
_IN_WINDOWS = "model = {model:String} AND window_end > {from_s:UInt32} AND window_start < {to_s:UInt32}"


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One line of a rebuild's report: how many rows it changes."""

    subject: str
    """The counted rows, for people."""
    before: int
    after: int
    changed: int
    """Rows whose key is in both and whose values differ, and rows whose key is new."""


class Staging:
    """The staging database of one model's rebuild."""

    def __init__(self, address: Address, model: str, tables: Sequence[str]) -> None:
        self._address, self._tables = address, tuple(tables)
        tail = hashlib.sha256(model.encode()).hexdigest()[:8]
        self.database = identifier(f"{address.database}_rebuild_{tail}")

    def open(self, client: Client) -> Client:
        """Recreate the database with empty tables, and connect to it."""
        self.drop(client)
        client.command(f"CREATE DATABASE {self.database}")
        for table in self._tables:
            client.command(f"CREATE TABLE {self.database}.{table} AS {client.database}.{table}")
        return connect(dataclasses.replace(self._address, database=self.database))

    def drop(self, client: Client) -> None:
        client.command(f"DROP DATABASE IF EXISTS {self.database} SYNC")

    def missing_series(self, client: Client, parameters: Mapping[str, Any]) -> list[tuple[str, str, int, int]]:
        """List current counts that the prepared rows lack.

        Returns:
            The version, baseline, number of rows, and largest number of events in a pane.
        """
        return [
            (str(version), str(baseline), int(rows), int(n))
            for version, baseline, rows, n in client.rows(
                f"SELECT version, baseline_id, count(), max(n) FROM volume FINAL WHERE {_IN_PANES} AND n > 0 "
                f"AND ({_VOLUME_KEY}) NOT IN (SELECT {_VOLUME_KEY} FROM {self.database}.volume WHERE n > 0) "
                "GROUP BY version, baseline_id ORDER BY version, baseline_id",
                parameters,
            )
        ]

    def shrunken_panes(self, client: Client, parameters: Mapping[str, Any]) -> int:
        """Count prepared panes of the slice `all` with fewer values, or fewer invalid values, than the current ones."""
        key = "version, baseline_id, field, pane_start"
        old, new = (
            f"SELECT {key}, n + invalid AS total, invalid FROM {db}panes FINAL WHERE {_IN_PANES} AND slice = 'all'"
            for db in ("", f"{self.database}.")
        )
        [(count,)] = client.rows(
            f"SELECT countIf(new.total < old.total OR new.invalid < old.invalid) FROM ({old}) AS old "
            f"INNER JOIN ({new}) AS new USING ({key})",
            parameters,
        )
        return int(count)

    def differences(self, client: Client, parameters: Mapping[str, Any]) -> list[Difference]:
        """Compare the prepared with the current rows: panes first, then verdicts by level."""
        differences = self._count_differences(client, parameters) if "panes" in self._tables else []
        for table, key in (
            ("drift", "version, baseline_id, slice, field, window, window_end"),
            ("rates", "version, baseline_id, slice, field, kind, window, window_end"),
        ):
            latest = (
                f"SELECT {key}, argMax(level, record_seq) AS value FROM {{db}}{table} FINAL WHERE {_IN_WINDOWS} "
                f"GROUP BY {key}"
            )
            differences.append(self._compare(client, f"{table} (windows judged)", latest, key, parameters))
            levels = {
                db: dict(
                    client.rows(
                        f"SELECT value, toInt64(count()) FROM ({latest.replace('{db}', db)}) GROUP BY value", parameters
                    )
                )
                for db in ("", f"{self.database}.")
            }
            for level in LEVEL_NAMES:
                old, new = (int(levels[db].get(level, 0)) for db in ("", f"{self.database}."))
                differences.append(Difference(f"{table}: {level}", old, new, abs(old - new)))
        return differences

    def _count_differences(self, client: Client, parameters: Mapping[str, Any]) -> list[Difference]:
        """Compare panes, volume and the number of events."""
        differences = [
            self._compare(
                client,
                "panes (rows of slice and field)",
                f"SELECT {_PANE_KEY}, (n, {', '.join(COLUMN_KEYS)}, counts) AS value FROM {{db}}panes FINAL "
                f"WHERE {_IN_PANES} AND n + invalid > 0",
                _PANE_KEY,
                parameters,
            ),
            self._compare(
                client,
                "volume (rows of slice)",
                f"SELECT {_VOLUME_KEY}, (n, errors, late) AS value FROM {{db}}volume FINAL WHERE {_IN_PANES}",
                _VOLUME_KEY,
                parameters,
            ),
        ]
        events = "SELECT toInt64(sum(n)) FROM {db}volume FINAL WHERE " + _IN_PANES + " AND slice = 'all'"
        before, after = (
            int(client.rows(events.replace("{db}", db), parameters)[0][0]) for db in ("", f"{self.database}.")
        )
        differences.append(Difference("events", before, after, abs(after - before)))
        return differences

    def _compare(
        self, client: Client, subject: str, select: str, key: str, parameters: Mapping[str, Any]
    ) -> Difference:
        old, new = select.replace("{db}", ""), select.replace("{db}", f"{self.database}.")
        before, after, changed = client.rows(
            f"SELECT countIf(is_old > 0), countIf(is_new > 0), "
            f"countIf(is_new > 0 AND (is_old = 0 OR distinct_values > 1)) FROM (SELECT {key}, "
            f"countIf(side = 0) AS is_old, countIf(side = 1) AS is_new, uniqExact(value) AS distinct_values FROM "
            f"(SELECT {key}, value, 0 AS side FROM ({old}) UNION ALL SELECT {key}, value, 1 AS side FROM ({new})) "
            f"GROUP BY {key})",
            parameters,
        )[0]
        return Difference(subject, int(before), int(after), int(changed))

    def attach(self, client: Client) -> None:
        """Add the prepared rows to the tables, each month of each table in one step.

        After a crash between two steps, running the same rebuild again gives the same rows.
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
