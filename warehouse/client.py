"""The one client path to ClickHouse: clickhouse-connect over HTTP, with the settings that state needs.

Everything that is inserted through it may be inserted again, so nothing here retries: whoever holds the batch
decides when (`WarehouseBusy`) or stops (`WarehouseError`).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import clickhouse_connect
import pyarrow as pa
from barograph.contract.kinds import FlagKind, IntegerKind, TextKind
from clickhouse_connect.driver import exceptions
from clickhouse_connect.driver.httpclient import HttpClient

from warehouse.configuration import Setting
from warehouse.errors import WarehouseBusy, WarehouseError, translate

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Address", "Answer", "Client", "WarehouseBusy", "WarehouseError", "connect"]

CONNECT_TIMEOUT_S = 5
DEFAULT_TIMEOUT_S = 60
"""Bound of one request. It lies below the 5 minutes in which Kafka expects a consumer to poll again."""

OnInsert = Callable[[str, int | None, float], None]
"""Takes the table, the number of rows (None where a query gave them) and the seconds until the answer."""

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

INSERT_SETTINGS: dict[str, str | int] = {
    # An insert is answered when its rows are in a part: offsets are acknowledged on the strength of it.
    "async_insert": 0,
    "insert_quorum": "auto",
    "distributed_foreground_insert": 1,
    # Our keys replace repeats. The engine's own memory of inserted blocks would swallow a batch that is
    # written again after its rows were deleted (`rebuild`).
    "insert_deduplicate": 0,
    # A replay of half a year touches seven monthly partitions, a backfill any number of weekly ones.
    "max_partitions_per_insert_block": 0,
    # Replacing rows before they are written costs more than half of the insert; merges and FINAL replace them.
    "optimize_on_insert": 0,
    # Refused as busy while there is room to refuse in: an insert that fills the disk to its last byte can leave a part
    # that nobody can read, and with it a table (the local engine, 26.9).
    "min_free_disk_bytes_to_perform_insert": 128 << 20,
    # A null in a column without nulls is a mistake of ours, not a zero.
    "input_format_null_as_default": 0,
}
"""Sent with inserts alone: each setting of a request costs the local engine milliseconds."""


@dataclass(frozen=True)
class Address:
    """Where ClickHouse's HTTP interface listens, and as whom to speak to it."""

    host: Annotated[str, Setting(TextKind(), "host of the HTTP interface", default="")] = "127.0.0.1"
    port: Annotated[int, Setting(IntegerKind(1, 65_535), "port of the HTTP interface", default="8123")] = 8123
    database: Annotated[str, Setting(TextKind(), "database of all tables")] = "barograph"
    username: Annotated[str, Setting(TextKind(), "user that commands and processors connect as")] = "default"
    password: Annotated[str, Setting(TextKind(), "the user's password", is_secret=True)] = field(default="", repr=False)
    secure: Annotated[bool, Setting(FlagKind(), "whether to use HTTPS")] = False
    ca_file: Annotated[
        str, Setting(TextKind(), "certificate authorities that verify the server, a PEM file", default="the system's")
    ] = ""
    """Empty: the certificate authorities of the system."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What a query gave, by columns."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    """ClickHouse's names of the columns' types."""
    columns: list[list[Any]]
    """One list a column, all of one length."""


class Client:
    """A connection to one database; errors of the driver come out as `WarehouseBusy` or `WarehouseError`.

    One client serves one thread at a time.
    """

    def __init__(self, driver: Any, where: str) -> None:
        """Wrap a client of clickhouse-connect whose database exists.

        Args:
            driver: what `clickhouse_connect.get_client` returned.
            where: the server, as messages call it.
        """
        self._driver = driver
        self.where = where
        self.on_insert: OnInsert | None = None
        """Told of each insert that was answered."""

    @property
    def database(self) -> str:
        """The database that unqualified names mean."""
        return str(self._driver.database)

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a query and return its rows; times are aware datetimes in UTC.

        Args:
            sql: the query, with parameters as `{name:Type}`.
            parameters: values, bound by the server; never format them into the SQL.

        Raises:
            WarehouseBusy: ClickHouse cannot answer now.
            WarehouseError: the query is refused.
        """
        with self._translated("answer a query"):
            return [tuple(row) for row in self._driver.query(sql, parameters=_bound(parameters)).result_rows]

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run a query and return its columns; `DateTime` columns come as unsigned epoch seconds.

        Raises:
            WarehouseBusy: ClickHouse cannot answer now.
            WarehouseError: the query is refused.
        """
        with self._translated("answer a query"):
            return self._driver.query_arrow(sql, parameters=_bound(parameters), use_strings=True)

    def ask(self, sql: str, *, settings: Mapping[str, str | int]) -> Answer:
        """Run a query that somebody else wrote, under settings that bound it, and return its columns with their names.

        Args:
            sql: the query, as it is.
            settings: of ClickHouse, for this query alone: `readonly`, `max_execution_time`, ….

        Raises:
            WarehouseBusy: ClickHouse cannot answer now.
            WarehouseError: the query is refused.
        """
        with self._translated("answer a query"):
            found = self._driver.query(sql, settings=dict(settings), column_oriented=True)
            columns = [list(column) for column in found.result_columns] or [[] for _ in found.column_names]
            return Answer(tuple(found.column_names), tuple(kind.name for kind in found.column_types), columns)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns no rows; rows are inserted with `insert`, which has the settings for it.

        Raises:
            WarehouseBusy: ClickHouse cannot do it now.
            WarehouseError: the statement is refused.
        """
        with self._translated("run a statement"):
            self._driver.command(sql, parameters=_bound(parameters))

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert the columns that `rows` holds, by name; others get their defaults. No rows: no request.

        Raises:
            WarehouseBusy: ClickHouse cannot take them now: insert the same again.
            WarehouseError: they do not fit the table.
        """
        if rows.num_rows == 0:
            return
        sink = pa.BufferOutputStream()
        # Compressed, because what is saved in copying the body outweighs the compression even on loopback.
        with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(rows)
        with self._told(table, rows.num_rows), self._translated(f"write {rows.num_rows} rows to {table}"):
            self._driver.raw_insert(
                identifier(table),
                rows.schema.names,
                sink.getvalue().to_pybytes(),
                settings=INSERT_SETTINGS,
                fmt="ArrowStream",
            )

    def insert_selected(
        self, table: str, columns: Sequence[str], select: str, parameters: Mapping[str, Any] | None = None
    ) -> None:
        """Insert what a query of this database gives, without bringing it here.

        Args:
            table: where to.
            columns: the columns that the query gives, in its order.
            select: the query, with parameters as `{name:Type}`.
            parameters: values, bound by the server.

        Raises:
            WarehouseBusy: ClickHouse cannot do it now: run the same again.
            WarehouseError: the statement is refused.
        """
        names = ", ".join(map(identifier, columns))
        sql = f"INSERT INTO {identifier(table)} ({names}) {select}"
        with self._told(table, None), self._translated(f"write rows to {table}"):
            self._driver.command(sql, parameters=_bound(parameters), settings=INSERT_SETTINGS)

    def close(self) -> None:
        """Close the connections; the client is of no use afterwards."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _told(self, table: str, rows: int | None) -> Iterator[None]:
        began = time.monotonic()
        yield
        if self.on_insert is not None:
            self.on_insert(table, rows, time.monotonic() - began)

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except exceptions.ClickHouseError as error:
            raise translate(error, action, self.where) from error


def connect(address: Address, *, timeout_s: int = DEFAULT_TIMEOUT_S, create: bool = False) -> Client:
    """Connect to ClickHouse's HTTP interface.

    Args:
        address: the server and the database.
        timeout_s: bound of one request, in seconds.
        create: whether to create the database where it is missing.

    Raises:
        WarehouseBusy: nothing answers there, or not now.
        WarehouseError: the server refuses, or the database is missing and `create` is false.
    """
    database = identifier(address.database)
    # The driver warns of each failed request; here it becomes an exception with a sentence, once.
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
    try:
        driver = clickhouse_connect.get_client(
            host=address.host,
            port=address.port,
            username=address.username,
            password=address.password,
            **tls_options(address),
            # The status line of an answer then tells of errors that come up half-way.
            settings={"wait_end_of_query": 1},
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=timeout_s,
            query_retries=0,
            tz_mode="aware",
            # A session would make the server refuse a second query while a timed-out one still runs.
            autogenerate_session_id=False,
            dedicated_pool=True,
            client_name="barograph",
        )
    except exceptions.ClickHouseError as error:
        raise translate(error, "open a connection", str(address)) from error
    assert isinstance(driver, HttpClient)
    driver.http_retries = 0
    return select_database(Client(driver, str(address)), database, create=create)


def tls_options(address: Address) -> dict[str, Any]:
    """What clickhouse-connect is told of HTTPS.

    Raises:
        WarehouseError: the file of authorities is not there.
    """
    if not address.secure:
        return {"interface": "http"}
    if address.ca_file and not Path(address.ca_file).is_file():
        raise WarehouseError(f"There is no file {address.ca_file}: correct clickhouse.ca_file.")
    return {"interface": "https", "verify": True, "ca_cert": address.ca_file or None}


def select_database(client: Client, database: str, *, create: bool) -> Client:
    """Make a database the one that unqualified names mean, and return the client.

    Raises:
        WarehouseError: it is missing and `create` is false.
    """
    # Asked first, because CREATE … IF NOT EXISTS needs a right that a plain user may lack.
    name = identifier(database)
    found = client.rows("SELECT 1 FROM system.databases WHERE name = {name:String}", {"name": name})
    if not found and not create:
        client.close()
        raise WarehouseError(
            f"ClickHouse at {client.where} has no database {name!r}. Run `barograph apply`, which "
            "creates it, or name another database in the settings.",
            81,
        )
    if not found:
        client.command(f"CREATE DATABASE IF NOT EXISTS {name}")
    client._driver.database = name
    return client


def identifier(name: str) -> str:
    """Return a name that may stand in SQL as it is.

    Raises:
        WarehouseError: it is no plain identifier.
    """
    if not IDENTIFIER.fullmatch(name):
        raise WarehouseError(
            f"{name!r} is no name for a table or database here: use ASCII letters, digits and underscores, "
            "not beginning with a digit."
        )
    return name


def _bound(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Parameters as the driver takes them: sequences as lists, which it renders as arrays."""
    if parameters is None:
        return None
    return {name: list(value) if _is_sequence(value) else value for name, value in parameters.items()}


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
