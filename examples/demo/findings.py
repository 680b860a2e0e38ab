"""Reads findings.yaml: shows what a demo found, and compares it with what must be true."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from textwrap import fill, indent
from typing import Any

import msgspec
import pyarrow as pa
import yaml

from barograph_server.terminal import LEVEL_STYLES, AlignedTable, SafeText, Terminal, utc_minute
from barograph_server.warehouse.client import Client, identifier

FILE = Path(__file__).with_name("findings.yaml")
WIDEST = 100
"""Longer lines of text are hard to read."""

_TYPES = {
    "string": "String",
    "int64": "Int64",
    "double": "Float64",
    "bool": "Bool",
    "list<item: string>": "Array(String)",
}
_TIME_TYPE = "DateTime64(3, 'UTC')"


class DemoFinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query that is shown with its rows."""

    title: str
    query: str
    text: str = ""
    """Explains the rows."""


class DemoExpectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must be true; a failed one means that the pipeline is broken."""

    expect: str
    query: str
    """Returns one row, whose column `ok` says whether the expectation is met."""
    observed: str
    """Text with columns of this row, as `str.format` reads it."""


class DemoQueries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    findings: tuple[DemoFinding, ...]
    expectations: tuple[DemoExpectation, ...]
    queries: dict[str, str] = {}
    """Other queries of the demo, by name."""


class Findings:
    """The findings of one demo, read from its database."""

    def __init__(self, client: Client, demo: str) -> None:
        everything = msgspec.convert(yaml.safe_load(FILE.read_text(encoding="utf-8")), dict[str, DemoQueries])
        self._client, self._own = client, everything[demo]
        self.facts: dict[str, Any] = {}
        """What the demo measured itself, by the name that queries have in braces."""

    def add_table(self, name: str, rows: pa.Table) -> None:
        """Store source data as table `demo_NAME`, in which queries look them up; missing texts are empty."""
        for i, column in enumerate(rows.schema):
            if pa.types.is_string(column.type):
                rows = rows.set_column(i, column.name, rows[i].fill_null(""))
            elif pa.types.is_float64(column.type):
                rows = rows.set_column(i, column.name, rows[i].fill_null(math.nan))
        columns = ", ".join(f"{identifier(each.name)} {_TYPES.get(str(each.type), _TIME_TYPE)}" for each in rows.schema)
        self._client.command(
            f"CREATE TABLE {identifier(f'demo_{name}')} ({columns}) ENGINE = MergeTree ORDER BY tuple()"
        )
        self._client.insert(f"demo_{name}", rows)

    def row(self, name: str, table: str = "") -> dict[str, Any]:
        """Return the first row of a query in `queries`, which may name a table in braces."""
        return self._rows(self._own.queries[name].replace("{table}", table))[0]

    def table(self, name: str) -> pa.Table:
        """Return the rows of a query in `queries`."""
        return self._client.arrow(self._sql(self._own.queries[name]))

    def show(self, terminal: Terminal, command: str) -> None:
        """Print all findings, each with a command that shows it again and begins with `command`."""
        for each in self._own.findings:
            rows = self._rows(each.query)
            heading(terminal, each.title.format_map(self.facts))
            if each.text:
                paragraph(terminal, each.text)
            if rows:
                terminal.table(_as_table(rows))
            terminal.line(f'  {command} query "\n{indent(self._sql(each.query).strip(), "    ")}"', "cyan")

    def check(self, terminal: Terminal) -> bool:
        """Print the expectations with what was observed; return whether all are met."""
        heading(terminal, "Expectations")
        are_met = True
        for each in self._own.expectations:
            rows = self._rows(each.query)
            row = (
                {name: _listed(value) if isinstance(value, list) else value for name, value in rows[0].items()}
                if rows
                else {}
            )
            is_met = bool(rows) and row["ok"] == 1
            mark, style = ("ok    ", "green") if is_met else ("FAILED", "bold red")
            observed = each.observed.format_map(row) if rows else "no rows"
            terminal.line(SafeText("  ").append(mark, style).append(f"  {each.expect.format_map(row)}: {observed}"))
            are_met &= is_met
        return are_met

    def _rows(self, query: str) -> list[dict[str, Any]]:
        result = self._client.query(self._sql(query), settings={})
        rows = zip(*result.columns, strict=True)
        return [
            dict(zip(result.names, (math.nan if each is None else each for each in row), strict=True)) for row in rows
        ]

    def _sql(self, query: str) -> str:
        return query.format_map({name: _literal(value) for name, value in self.facts.items()})


def heading(terminal: Terminal, text: str) -> None:
    terminal.line()
    terminal.line(text, "bold")


def paragraph(terminal: Terminal, text: str) -> None:
    width = min(terminal.width, WIDEST)
    terminal.line(fill(text, width, initial_indent="  ", subsequent_indent="  ", break_long_words=False))


def _as_table(rows: Sequence[Mapping[str, Any]]) -> AlignedTable:
    numbers = [name for name, value in rows[0].items() if isinstance(value, int | float)]
    table = AlignedTable(*rows[0], numbers=numbers, header_style="dim")
    for row in rows:
        cells = [_cell(value) for value in row.values()]
        table.row(*(SafeText(cell, LEVEL_STYLES.get(cell, "")) for cell in cells))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:g}"
    if isinstance(value, datetime):
        return utc_minute(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values)) or "none"


def _literal(value: Any) -> str:
    """Write a fact as SQL, without characters that a shell expands in double quotes."""
    if isinstance(value, datetime):
        return f"toDateTime('{value:%Y-%m-%d %H:%M:%S}', 'UTC')"
    if isinstance(value, str):
        assert not set(value) & set("'\\\"$`"), value
        return f"'{value}'"
    return f"[{', '.join(map(_literal, value))}]" if isinstance(value, list | tuple) else str(value)
