"""Stores readers in the table `readers`."""

from __future__ import annotations

from datetime import UTC, datetime

from barograph_server.governance.readers.comparison import ConsumerReport
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows

UNKNOWN = datetime.fromtimestamp(0, UTC)


def store_readers(client: Client, report: ConsumerReport, now: datetime) -> None:
    """Write all observed readers as one observation."""
    # Several contracts may declare one reader: its rows have the same key and replace each other.
    observed = [(each.observed, True) for each in report.declared if each.observed is not None]
    observed += [(reader, False) for reader in report.undeclared]
    insert_rows(
        client,
        "readers",
        [
            {
                "observed_at": now,
                "kind": reader.kind,
                "name": reader.name,
                "reads": list(reader.reads),
                "columns": list(reader.columns),
                "first": reader.first or UNKNOWN,
                "last": reader.last or UNKNOWN,
                "volume": reader.volume,
                "origin": reader.origin,
                "is_declared": is_declared,
            }
            for reader, is_declared in observed
        ],
    )
