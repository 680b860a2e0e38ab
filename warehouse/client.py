"""The only connection to ClickHouse: clickhouse-connect over HTTP, with the settings that durable inserts need.

Every insert is safe to repeat, so nothing here retries. The caller keeps its batch and retries on `WarehouseBusy`, and
stops on `WarehouseError`.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import clickhouse_connect
import pyarrow as pa
from barograph.contract.kinds import FlagKind, IntegerKind, TextKind
from clickhouse_connect.driver import exceptions
from clickhouse_connect.driver.client import Client as DriverClient
from clickhouse_connect.driver.httpclient import HttpClient

from barograph_server.warehouse.configuration import Setting
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError, translate

__all__ = ["Address", "Client", "QueryResult", "WarehouseBusy", "WarehouseError", "connect"]

CONNECT_TIMEOUT_S = 5
DEFAULT_TIMEOUT_S = 60
"""Time limit of one request, below the 5 minutes within which Kafka expects a consumer to poll."""

OnInsert = Callable[[str, int | None, float], None]
"""Receives the table, the number of rows (None for rows selected by a query) and the duration in seconds."""

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

INSERT_SETTINGS: dict[str, str | int] = {
    # The response waits until the rows are in a part, because offsets are committed after it.
    "async_insert": 0,
    "insert_quorum": "auto",
    "distributed_foreground_insert": 1,
    # Sorting keys replace duplicates. The engine's block deduplication would drop a batch that is written again after
    # its rows were deleted (`rebuild`).
    "insert_deduplicate": 0,
    # A replay of half a year touches seven monthly partitions; a backfill touches any number of weekly ones.
    "max_partitions_per_insert_block": 0,
    # Deduplicating rows before they are written takes more than half of the insert; merges and FINAL replace them.
    "optimize_on_insert": 0,
    # ClickHouse rejects inserts while there is still room: an insert that fills the disk to its last byte can leave an
    # unreadable part, and with it an unreadable table (the local engine, 26.9).
    "min_free_disk_bytes_to_perform_insert": 128 << 20,
    # A null in a column without nulls is a bug, not a zero.
    "input_format_null_as_default": 0,
}
"""Sent with inserts only: each setting of a request costs the local engine milliseconds."""


@dataclass(frozen=True)
class Address:
    """Host, database and credentials of ClickHouse's HTTP interface."""

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
class QueryResult:
    names: tuple[str, ...]
    types: tuple[str, ...]
    """ClickHouse's type of each column."""
    columns: list[list[Any]]
    """The values of each column; all columns have the same length."""


class Client:
    """A connection to one database; driver errors become `WarehouseBusy` or `WarehouseError`.

    A client serves one thread at a time.
    """

    def __init__(self, driver: DriverClient, where: str) -> None:
        """Wrap a client of clickhouse-connect whose database exists; messages name the server as `where`."""
        self._driver = driver
        self.where = where
        self.on_insert: OnInsert | None = None
        """Called after each successful insert."""

    @property
    def database(self) -> str:
        """The database of unqualified names."""
        return str(self._driver.database)

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a query and return its rows; times are aware datetimes in UTC.

        Args:
            parameters: values, which the server binds; never format them into the SQL.
        """
        with self._translated("answer a query"):
            return [tuple(row) for row in self._driver.query(sql, parameters=_bound(parameters)).result_rows]

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run a query and return an Arrow table; `DateTime` columns are unsigned epoch seconds."""
        with self._translated("answer a query"):
            return self._driver.query_arrow(sql, parameters=_bound(parameters), use_strings=True)

    def query(self, sql: str, *, settings: Mapping[str, str | int]) -> QueryResult:
        """Run a user's query under limiting settings, and return its columns with their names.

        Args:
            settings: ClickHouse settings of this query: `readonly`, `max_execution_time`, ….
        """
        with self._translated("answer a query"):
            result = self._driver.query(sql, settings=dict(settings), column_oriented=True)
            columns = [list(column) for column in result.result_columns] or [[] for _ in result.column_names]
            return QueryResult(tuple(result.column_names), tuple(kind.name for kind in result.column_types), columns)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns no rows. Insert rows with `insert`, which adds the required settings."""
        with self._translated("run a statement"):
            self._driver.command(sql, parameters=_bound(parameters))

    def insert(self, table: str, rows: pa.Table) -> None:
        """Insert the columns of an Arrow table by name; others get their defaults. An empty table is not sent."""
        if rows.num_rows == 0:
            return
        sink = pa.BufferOutputStream()
        # Compression pays off even on loopback: it saves more copying than it costs.
        with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(rows)
        with self._observed(table, rows.num_rows), self._translated(f"write {rows.num_rows} rows to {table}"):
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
        """Insert the result of a query on this database, inside the server.

        Args:
            columns: the columns that the query returns, in order.
        """
        names = ", ".join(map(identifier, columns))
        sql = f"INSERT INTO {identifier(table)} ({names}) {select}"
        with self._observed(table, None), self._translated(f"write rows to {table}"):
            self._driver.command(sql, parameters=_bound(parameters), settings=INSERT_SETTINGS)

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _observed(self, table: str, rows: int | None) -> Iterator[None]:
        start = time.monotonic()
        yield
        if self.on_insert is not None:
            self.on_insert(table, rows, time.monotonic() - start)

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except exceptions.ClickHouseError as error:
            raise translate(error, action, self.where) from error


def connect(address: Address, *, timeout_s: int = DEFAULT_TIMEOUT_S, create: bool = False) -> Client:
    """Connect to ClickHouse's HTTP interface; `create` makes a missing database."""
    database = identifier(address.database)
    # The driver logs a warning for each failed request, which an exception reports already.
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
    try:
        driver = clickhouse_connect.get_client(
            host=address.host,
            port=address.port,
            username=address.username,
            password=address.password,
            **tls_options(address),
            # So that the status line of a response reports errors that occur half-way.
            settings={"wait_end_of_query": 1},
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=timeout_s,
            query_retries=0,
            tz_mode="aware",
            # With a session the server rejects a second query while a timed-out one is still running.
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
    """Return the TLS arguments for clickhouse-connect."""
    if not address.secure:
        return {"interface": "http"}
    if address.ca_file and not Path(address.ca_file).is_file():
        raise WarehouseError(f"There is no file {address.ca_file}: correct clickhouse.ca_file.")
    return {"interface": "https", "verify": True, "ca_cert": address.ca_file or None}


def select_database(client: Client, database: str, *, create: bool) -> Client:
    """Select the database of unqualified names, and return the client."""
    # Checked first, because CREATE … IF NOT EXISTS needs a privilege that an ordinary user may lack.
    name = identifier(database)
    exists = bool(client.rows("SELECT 1 FROM system.databases WHERE name = {name:String}", {"name": name}))
    if not exists and not create:
        client.close()
        raise WarehouseError(
            f"ClickHouse at {client.where} has no database {name!r}. Run `barograph apply`, which "
            "creates it, or name another database in the settings.",
            81,
        )
    if not exists:
        client.command(f"CREATE DATABASE IF NOT EXISTS {name}")
    client._driver.database = name
    return client


def identifier(name: str) -> str:
    """Return a name that needs no quotes in SQL."""
    if not IDENTIFIER.fullmatch(name):
        raise WarehouseError(
            f"{name!r} is not a valid name of a table or database: use ASCII letters, digits and underscores, "
            "starting with a letter or underscore."
        )
    return name


def _bound(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Convert parameters for the driver: sequences become lists, which it renders as arrays."""
    if parameters is None:
        return None
    return {name: list(value) if _is_sequence(value) else value for name, value in parameters.items()}


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
