"""Questions to ClickHouse as they are printed: what the demo tells is what their SQL answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cli.demo.flights import MODEL
from warehouse.client import Client

OF_MODEL = f"model = '{MODEL}'"
# Nothing in the demo's SQL comes from anyone's input: names and times are those of its own tables.


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and its rows."""

    sql: str
    """In lines, without anything that a shell would replace in double quotes."""
    rows: tuple[tuple[Any, ...], ...]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def ask(client: Client, *lines: str) -> Answer:
    """Ask a question, written in lines.

    Raises:
        WarehouseBusy: ClickHouse cannot answer now.
        WarehouseError: it refuses.
    """
    sql = "\n".join(lines)
    return Answer(sql, tuple(client.rows(sql)))


def moment(at: datetime) -> str:
    """A time as SQL has it."""
    return f"'{at:%Y-%m-%d %H:%M:%S}'"
