"""Migrated databases for tests, and rows with defaults."""

import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.tables import SCHEMAS, TEXT, insert_rows


def login(address: Address) -> dict[str, Any]:
    return {"host": address.host, "port": address.port, "username": address.username, "password": address.password}


def credentials(address: Address) -> dict[str, str]:
    return {"X-ClickHouse-User": address.username, "X-ClickHouse-Key": address.password}


_free: dict[Address, list[Address]] = {}
"""Databases with all tables and no rows, by the default address of their engine."""


@contextmanager
def migrated(engine: LocalClickHouse) -> Iterator[Client]:
    """Connect to a database with all tables, which is used again unless its schema was changed, and no rows."""
    free = _free.setdefault(engine.address(), [])
    address = free.pop() if free else engine.address(f"t{uuid.uuid4().hex[:10]}")
    with connect(address, create=True) as client:
        migrate.apply(client)
        schema = created(client)
        yield client
        if created(client) == schema:
            emptied(client)
            free.append(address)
        else:
            client.command(f"DROP DATABASE {address.database}")


def created(client: Client) -> list[tuple[Any, ...]]:
    """The names of all tables and views, and the statements that create them."""
    return client.rows(
        "SELECT name, create_table_query FROM system.tables WHERE database = {database:String} ORDER BY name",
        {"database": client.database},
    )


def emptied(client: Client) -> Client:
    for name in _non_empty_tables(client):
        client.command(f"TRUNCATE TABLE {name}")
    return client


@contextmanager
def snapshot(client: Client) -> Iterator[Callable[[], None]]:
    """Yield a function that restores the current rows of all tables from copies of the parts, which is fast."""
    names = _non_empty_tables(client)
    for name in names:
        client.command(f"CREATE TABLE {_SNAPSHOT}{name} AS {name}")
        client.command(f"ALTER TABLE {_SNAPSHOT}{name} ATTACH PARTITION ALL FROM {name}")

    def restore() -> None:
        emptied(client)
        for name in names:
            client.command(f"ALTER TABLE {name} ATTACH PARTITION ALL FROM {_SNAPSHOT}{name}")

    yield restore
    for name in names:
        client.command(f"DROP TABLE {_SNAPSHOT}{name}")


_SNAPSHOT = "snapshot_"


def _non_empty_tables(client: Client) -> list[str]:
    rows = client.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} AND total_rows > 0 AND name != 'migrations' "
        "AND NOT startsWith(name, {prefix:String})",
        {"database": client.database, "prefix": _SNAPSHOT},
    )
    return [str(name) for (name,) in rows]


def row(table: str, **values: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for field in SCHEMAS[table]:
        kind = str(field.type)
        if field.type == TEXT:
            defaults[field.name] = ""
        elif kind.startswith(("list", "large_list", "map")):
            defaults[field.name] = []
        else:
            defaults[field.name] = {"double": math.nan, "bool": False, "binary": b""}.get(kind, 0)
    if table == "rates":
        # The monitor always knows it; a comparison with NaN has no fixed result.
        defaults["training_delta"] = 0.0
    unknown = values.keys() - defaults.keys()
    assert not unknown, unknown
    return defaults | values


def add_row(client: Client, table: str, **values: Any) -> None:
    add_rows(client, table, [values])


def add_rows(client: Client, table: str, rows: Iterable[Mapping[str, Any]], **common: Any) -> None:
    insert_rows(client, table, [row(table, **{**common, **each}) for each in rows])


def insert(client: Client, **rows: Sequence[Mapping[str, Any]]) -> None:
    for table, own in rows.items():
        insert_rows(client, table, own)


def columns(table: str, n: int, **values: Any) -> dict[str, Any]:
    """Columns of `n` rows; a text is that of all rows, and so are defaults."""
    own = row(table) | values
    return {
        name: value if name in values and not isinstance(value, str) else [value] * n for name, value in own.items()
    }
