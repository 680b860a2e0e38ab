"""`barograph query`: one read-only query to ClickHouse, answered as a table, JSON, CSV or Arrow."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

from barograph_server.cli.options import Arg, Connection, Opt
from barograph_server.errors import CommandError
from barograph_server.terminal import AlignedTable, Terminal, significant

if TYPE_CHECKING:
    from barograph_server.warehouse.client import Address

OutputFormat = Literal["table", "json", "csv", "arrow"]

MAX_TABLE_ROWS = 1_000
"""Rows of a table on the terminal; the other formats have all rows."""
LIMITS: dict[str, str | int] = {
    # Allows only reads. The query may change other settings, but not this one.
    "readonly": 2,
    "max_execution_time": 60,
    # Larger results need a client of ClickHouse.
    "max_result_bytes": 1 << 30,
    "result_overflow_mode": "throw",
}
_UNKNOWN = "docs/tables.md lists tables and columns: correct the name, or run `barograph apply` if it is there."
_ADVICE = {47: _UNKNOWN, 60: _UNKNOWN, 164: "`barograph query` is read-only."}  # by error code of ClickHouse
_FORMATS: dict[OutputFormat, tuple[str, dict[str, str | int]]] = {
    "table": ("JSONCompact", {"limit": MAX_TABLE_ROWS + 1, "output_format_json_quote_denormals": 1}),
    "json": ("JSONEachRow", {"output_format_json_array_of_rows": 1, "output_format_json_quote_64bit_integers": 0}),
    "csv": ("CSVWithNames", {}),
    "arrow": ("ArrowStream", {"output_format_arrow_string_as_string": 1}),
}


def query_command(
    connection: Connection,
    sql: Annotated[str, Arg("The query, without FORMAT.", "SQL")],
    format: Annotated[OutputFormat, Opt("Output format.")] = "table",
) -> None:
    """Run a read-only query in ClickHouse.

    docs/tables.md describes the tables and views; start with latest_drift, latest_rates, all_volume and
    model_freshness. A query may take 60 seconds and return 1 GiB; a table on the terminal shows at most 1,000 rows.
    `json` is an array of objects, `csv` has a header, `arrow` is a stream for a file or a pipe (its DateTime columns
    are seconds since 1970).

    Examples:
        barograph query "SELECT field, window_end, psi, level FROM latest_drift WHERE level = 'major' LIMIT 20"
        barograph query "SELECT * FROM all_volume WHERE slice = 'all'" --format csv > volume.csv
    """
    if format == "arrow" and sys.stdout.isatty():
        raise CommandError("Arrow is a binary format: redirect it to a file with > answer.arrow, or pipe it.")
    settings = connection.settings("clickhouse")
    format_name, options = _FORMATS[format]
    with _run(settings.warehouse, sql, format_name, {**LIMITS, **options}) as answer:
        if format == "table":
            _print_table(json.load(answer))
        else:
            shutil.copyfileobj(answer, sys.stdout.buffer)
            sys.stdout.flush()


def _run(address: Address, sql: str, format_name: str, settings: Mapping[str, str | int]) -> IO[bytes]:
    """Run a query and return its answer as a stream."""
    import clickhouse_connect
    from clickhouse_connect.driver import exceptions

    from barograph_server.warehouse.client import connect, tls_options
    from barograph_server.warehouse.errors import translate

    # Reports a wrong server, user or database before the query can fail for that reason.
    connect(address).close()
    try:
        driver: Any = clickhouse_connect.get_client(
            host=address.host,
            port=address.port,
            username=address.username,
            password=address.password,
            database=address.database,
            **tls_options(address),
            # Makes a late error an error instead of half an answer.
            settings={"wait_end_of_query": 1},
            query_retries=0,
            autogenerate_session_id=False,
            client_name="barograph query",
        )
        answer: IO[bytes] = driver.raw_stream(sql, settings=dict(settings), fmt=format_name)
        return answer
    except exceptions.ClickHouseError as error:
        failure = translate(error, "answer the query", str(address))
        raise type(failure)(_shorten(str(failure), format_name, failure.code), failure.code) from error


def _shorten(text: str, format_name: str, code: int | None) -> str:
    """Reduce an error of ClickHouse to one line, without its internal details."""
    # The server lists every token of its grammar.
    text = re.sub(r"Expected one of: .*?(?=\(SYNTAX_ERROR\))", "", text, flags=re.DOTALL)
    text = re.sub(r"\s\([A-Z_]+\)(?= \(code)", "", text.replace(f"FORMAT {format_name}", ""))
    line, end = re.sub(r"\s+([.,])", r"\1", " ".join(text.split())), f" (code {code})."
    return f"{line.partition(end)[0]}{end} {_ADVICE[code]}" if code in _ADVICE else line


def _print_table(answer: Mapping[str, Any]) -> None:
    terminal = Terminal()
    numbers = [c["name"] for c in answer["meta"] if any(t in c["type"] for t in ("Int", "Float", "Decimal"))]
    table = AlignedTable(*(column["name"] for column in answer["meta"]), numbers=numbers)
    for row in answer["data"][:MAX_TABLE_ROWS]:
        table.row(*map(_cell, row))
    terminal.table(table)
    if len(answer["data"]) > MAX_TABLE_ROWS:
        terminal.line(f"The first {MAX_TABLE_ROWS:,} rows; add a LIMIT, or get all rows with --format csv.")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return significant(value)
    return json.dumps(value, ensure_ascii=False)
