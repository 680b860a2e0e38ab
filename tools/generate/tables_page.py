"""docs/tables.md and the pages of docs/views and docs/tables, from the comments of the schema.

The migrations run in a scratch engine inside this process, so no server is needed.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import clickhouse_connect

from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, select_database
from tools.generate import DOCS, NOTE, table

FOLDERS = VIEWS, TABLES = DOCS / "views", DOCS / "tables"
_SHARED_BY = 4
"""A column with the same type and meaning in at least as many tables and views is described once, in the index."""

_HEAD = f"""\
# Tables and views

{NOTE}

All of Barograph's results are in one ClickHouse database. Processors write the tables, and analysts read the views. A
view has the latest revision of everything, without duplicate rows. Conditions on model, version, slice, field, window
and time are as fast on a view as on its table. Times are UTC. Event time is when a prediction was made; received time
is Kafka's timestamp.
"""


class _Column(NamedTuple):
    name: str
    type: str
    meaning: str


class _Relation(NamedTuple):
    """A table or a view."""

    name: str
    is_view: bool
    comment: str
    sorting_key: str
    columns: Sequence[_Column]

    @property
    def page(self) -> Path:
        return (VIEWS if self.is_view else TABLES) / f"{self.name}.md"


def _relations(client: Client) -> list[_Relation]:
    """Return the views and tables of a client's database by name."""
    columns: dict[str, list[_Column]] = {}
    for relation, *column in client.rows(
        "SELECT table, name, type, comment FROM system.columns "
        "WHERE database = {database:String} ORDER BY table, position",
        {"database": client.database},
    ):
        columns.setdefault(relation, []).append(_Column(*column))
    tables = client.rows(
        "SELECT name, engine = 'View', comment, sorting_key FROM system.tables "
        "WHERE database = {database:String} ORDER BY name",
        {"database": client.database},
    )
    return [_Relation(name, bool(view), comment, key, columns[name]) for name, view, comment, key in tables]


def _index(relations: Iterable[_Relation], shared: Iterable[_Column]) -> str:
    lines = [_HEAD]
    for are_views, title, heading in ((True, "Views", "view"), (False, "Tables", "table")):
        shown = [each for each in relations if each.is_view is are_views]
        rows = ((f"[{each.name}]({each.page.parent.name}/{each.name}.md)", each.comment) for each in shown)
        lines += [f"## {title}", "", table((heading, "content"), rows), ""]
    lines += [
        "## Shared columns",
        "",
        "Many tables and views have these columns. A page names them, and does not repeat them.",
        "",
    ]
    return "\n".join([*lines, _table(sorted(shared)), ""])


def _page(relation: _Relation, shared: frozenset[_Column], described: _Relation | None) -> str:
    """Describe a relation without the columns that another page describes.

    Args:
        shared: those of the index.
        described: a relation with a page of its own that has many of the same columns, or None.
    """
    lines = [f"# {relation.name}", "", NOTE, "", relation.comment, ""]
    if relation.sorting_key:
        lines += [f"Sorted by `{relation.sorting_key}`.", ""]
    elsewhere = frozenset(described.columns if described else ()) - shared
    own = [column for column in relation.columns if column not in shared | elsewhere]
    if own:
        lines += [_table(own), ""]
    if described and (names := [column.name for column in relation.columns if column in elsewhere]):
        lines += [
            f"As in [{described.name}](../{described.page.parent.name}/{described.name}.md): {_names(names)}.",
            "",
        ]
    if names := [column.name for column in relation.columns if column in shared]:
        lines += [f"[Shared](../tables.md#shared-columns): {_names(names)}.", ""]
    return "\n".join(lines)


def _table(columns: Iterable[_Column]) -> str:
    rows = ((name, f"`{kind}`", meaning) for name, kind, meaning in columns)
    return table(("column", "type", "meaning"), rows)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def pages(relations: Sequence[_Relation]) -> Mapping[Path, str]:
    """Return the index and one page for each view and table."""
    counts = Counter(column for relation in relations for column in relation.columns)
    most_common = {column.name: column for column, n in reversed(counts.most_common()) if n >= _SHARED_BY}
    shared = frozenset(most_common.values())
    texts = {DOCS / "tables.md": _index(relations, shared)}
    described: list[_Relation] = []
    for relation in sorted(relations, key=lambda each: not each.is_view):
        own = frozenset(relation.columns) - shared
        closest = max(described, key=lambda each: len(own.intersection(each.columns)), default=None)
        texts[relation.page] = _page(relation, shared, closest)
        described.append(relation)
    return texts


def generate() -> tuple[Mapping[Path, str], list[str]]:
    """Return the pages about the schema that the migrations create; a process can run one engine."""
    with tempfile.TemporaryDirectory(prefix="barograph-schema-") as folder:
        driver = clickhouse_connect.get_client(interface="chdb", path=folder)
        with Client(driver, "the scratch engine") as client:
            select_database(client, "schema", create=True)
            migrate.apply(client)
            return pages(_relations(client)), []
