"""`barograph query`: one read-only question to ClickHouse, answered as a table, JSON, CSV or Arrow."""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.errors import CommandError
from cli.options import ConfigOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from warehouse.client import Address

Format = Literal["table", "json", "csv", "arrow"]

TABLE_ROWS = 1_000
"""Rows of a table on the screen; the other formats show all."""
LIMITS: dict[str, str | int] = {
    # Reads only; settings may be changed within the query, this one not.
    "readonly": 2,
    "max_execution_time": 60,
    # The screen or a file takes no more; who needs it asks ClickHouse itself.
    "max_result_bytes": 1 << 30,
    "result_overflow_mode": "throw",
}
_READONLY = 164
_PIPE_WIDTH = 10_000
"""Characters of a line where no screen bounds it."""
_FORMATS: dict[Format, tuple[str, dict[str, str | int]]] = {
    "table": ("JSONCompact", {"limit": TABLE_ROWS + 1, "output_format_json_quote_denormals": 1}),
    "json": ("JSONEachRow", {"output_format_json_array_of_rows": 1, "output_format_json_quote_64bit_integers": 0}),
    "csv": ("CSVWithNames", {}),
    "arrow": ("ArrowStream", {"output_format_arrow_string_as_string": 1}),
}


def query_command(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="The query, without FORMAT.", show_default=False)],
    form: Annotated[Format, typer.Option("--format", help="How the answer is written.")] = "table",
    config: ConfigOption = None,
) -> None:
    """Ask ClickHouse; nothing can be changed.

    The tables and views are described in docs/tables.md: begin with latest_drift, latest_rates, all_volume and
    model_freshness. A query may take 60 seconds and answer with 1 GiB; a table on the screen ends after 1,000 rows.
    `json` is an array of objects, `csv` has a header, `arrow` is a stream for a file or a pipe (its DateTime columns
    are seconds since 1970).

    Examples:
        barograph query "SELECT field, window_end, psi, level FROM latest_drift WHERE level = 'major' LIMIT 20"
        barograph query "SELECT * FROM all_volume WHERE slice = 'all'" --format csv > volume.csv
    """
    from cli.settings import load_settings

    if form == "arrow" and sys.stdout.isatty():
        raise CommandError("Arrow is no text for a screen: write it to a file with > answer.arrow, or pipe it on.")
    settings = load_settings(config, needs=("clickhouse",))
    format_name, options = _FORMATS[form]
    with _ask(settings.warehouse, sql, format_name, {**LIMITS, **options}) as answer:
        if form == "table":
            _print_table(json.load(answer))
        else:
            shutil.copyfileobj(answer, sys.stdout.buffer)
            sys.stdout.flush()


def _ask(address: Address, sql: str, format_name: str, settings: Mapping[str, str | int]) -> IO[bytes]:
    """Send a query and return its answer as it comes.

    Raises:
        WarehouseBusy: ClickHouse cannot answer now.
        WarehouseError: the query is refused.
    """
    import clickhouse_connect
    from clickhouse_connect.driver import exceptions

    from warehouse.client import connect, tls_options
    from warehouse.errors import translate

    # Says in a sentence what is wrong with server, user or database, before the query is blamed.
    connect(address).close()
    try:
        driver: Any = clickhouse_connect.get_client(
            host=address.host,
            port=address.port,
            username=address.username,
            password=address.password,
            database=address.database,
            **tls_options(address),
            # An error that comes up half-way is then an error, not half an answer.
            settings={"wait_end_of_query": 1},
            query_retries=0,
            autogenerate_session_id=False,
            client_name="barograph query",
        )
        answer: IO[bytes] = driver.raw_stream(sql, settings=dict(settings), fmt=format_name)
        return answer
    except exceptions.ClickHouseError as error:
        refused = translate(error, "answer the query", str(address))
        raise type(refused)(_sentence(str(refused), format_name, refused.code), refused.code) from error


def _sentence(text: str, format_name: str, code: int | None) -> str:
    """Bring a refusal to one line, without what only the server's authors read."""
    # The server lists every word that its grammar knows.
    text = re.sub(r"Expected one of: .*?(?=\(SYNTAX_ERROR\))", "", text, flags=re.DOTALL)
    text = re.sub(r"\s\([A-Z_]+\)(?= \(code)", "", text.replace(f"FORMAT {format_name}", ""))
    line = re.sub(r"\s+([.,])", r"\1", " ".join(text.split()))
    return f"{line} `barograph query` only reads." if code == _READONLY else line


def _print_table(answer: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from cli.terminal import Text

    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in answer["meta"]:
        numeric = any(word in column["type"] for word in ("Int", "Float", "Decimal"))
        table.add_column(Text(column["name"]), justify="right" if numeric else "left", overflow="fold")
    for row in answer["data"][:TABLE_ROWS]:
        table.add_row(*(Text(_cell(value)) for value in row))
    console.print(table)
    if len(answer["data"]) > TABLE_ROWS:
        console.print(f"The first {TABLE_ROWS:,} rows; add a LIMIT, or write all of them with --format csv.")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False)
