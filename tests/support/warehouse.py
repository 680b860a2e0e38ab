"""Migrated databases for tests, and rows of which only what matters is given."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from local.clickhouse import LocalClickHouse
from warehouse import migrate
from warehouse.client import Address, Client, connect
from warehouse.tables import SCHEMAS, TEXT


@contextmanager
def migrated(engine: LocalClickHouse) -> Iterator[Client]:
    """A client of a database of its own with all tables and views; dropped afterwards."""
    address = Address(engine.host, engine.port, f"t{uuid.uuid4().hex[:10]}")
    with connect(address, create=True) as client:
        migrate.apply(client)
        yield client
        client.command(f"DROP DATABASE {address.database}")


def emptied(client: Client) -> Client:
    """The same client, its tables without rows: laying them out anew for each test would take longer."""
    for name in _filled(client):
        client.command(f"TRUNCATE TABLE {name}")
    return client


@contextmanager
def kept(client: Client) -> Iterator[Callable[[], None]]:
    """Give a function that brings back the rows that the tables hold now, and no others.

    Copies of the parts are attached, which takes less than making the rows again.
    """
    names = _filled(client)
    for name in names:
        client.command(f"CREATE TABLE {_KEPT}{name} AS {name}")
        client.command(f"ALTER TABLE {_KEPT}{name} ATTACH PARTITION ALL FROM {name}")

    def bring_back() -> None:
        emptied(client)
        for name in names:
            client.command(f"ALTER TABLE {name} ATTACH PARTITION ALL FROM {_KEPT}{name}")

    yield bring_back
    for name in names:
        client.command(f"DROP TABLE {_KEPT}{name}")


_KEPT = "kept_"


def _filled(client: Client) -> list[str]:
    rows = client.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} AND total_rows > 0 AND name != 'migrations' "
        "AND NOT startsWith(name, {kept:String})",
        {"database": client.database, "kept": _KEPT},
    )
    return [str(name) for (name,) in rows]


def row(table: str, **values: Any) -> dict[str, Any]:
    """A row of a table in which what is not given is 0, empty or NaN."""
    empty: dict[str, Any] = {}
    for field in SCHEMAS[table]:
        kind = str(field.type)
        if field.type == TEXT:
            empty[field.name] = ""
        elif kind.startswith(("list", "large_list", "map")):
            empty[field.name] = []
        else:
            empty[field.name] = {"double": math.nan, "bool": False, "binary": b""}.get(kind, 0)
    unknown = values.keys() - empty.keys()
    assert not unknown, unknown
    return empty | values


def columns(table: str, n: int, **values: Any) -> dict[str, Any]:
    """Columns of a table of n rows in which what is not given is 0, empty or NaN."""
    empty = row(table)
    return {name: values.get(name, [empty[name]] * n) for name in empty}
