"""Columns that SQL statements declare: of tables, and of views, which take them from what they read.

A view is written as its columns, what follows `SELECT …` in it, and its comment:

    CREATE OR REPLACE VIEW latest
    (
        model,                                                   the type and the comment of the table's column
        hour COMMENT 'Start of the hour',                        its type
        age UInt32 ALIAS hour - start COMMENT 'Age in seconds',  the expression that the view selects
        LIKE other                                               all columns of a table or view, with their expressions
    )
    FROM readings FINAL
    COMMENT 'The latest reading of each model.'

A column without type or comment has those of the first table or view after `FROM` or `JOIN` with a column of its name.
So a column that a migration adds to a table is one word in the views that have it. If a query follows `AS` instead of
`FROM`, it selects the columns itself.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\n\(\n(.*?)\n\)\nENGINE", re.DOTALL)
_VIEW = re.compile(r"CREATE OR REPLACE VIEW (\w+)\n\(\n(.*?)\n\)\n(DEFINER [^\n]*\n)?(.*)\n(COMMENT '.*)", re.DOTALL)
_ALTER = re.compile(
    r"ALTER TABLE\s+(\w+)\s+(ADD|COMMENT|MODIFY|DROP|RENAME|CLEAR)\s+COLUMN\s+(?:IF (?:NOT )?EXISTS )?(.*)", re.DOTALL
)
_COLUMN = re.compile(
    r"(?P<name>\w+)(?: (?P<type>[A-Z]\w+(?:\((?:[^()]|\([^()]*\))*\))?)(?= |$))??"
    r"(?: (?P<default>DEFAULT|MATERIALIZED|ALIAS) (?P<expression>.*?))?(?: COMMENT '(?P<comment>(?:[^']|'')*)')?"
    r"(?: CODEC\(.*\))?(?: (?P<order>FIRST|AFTER (?P<after>\w+)))?",
    re.DOTALL,
)
_DECLARES = re.compile(r"\s*(CREATE\s+(OR\s+REPLACE\s+)?(TABLE|VIEW)|ALTER\s+TABLE\b[^']*?\bCOLUMN)\b", re.IGNORECASE)
_FORMS = (
    "write CREATE TABLE IF NOT EXISTS or CREATE OR REPLACE VIEW with a list of columns in lines of its own, or ALTER "
    "TABLE name ADD COLUMN … or COMMENT COLUMN …, one column per statement, in capitals"
)
_SOURCE = re.compile(r"\b(?:FROM|JOIN) (\w+)")
_SEPARATOR = re.compile(r"'(?:[^'\\]|''|\\.)*'|[()\[\],]")


@dataclass(frozen=True, slots=True)
class DeclaredColumn:
    """A column of a table or view; what its declaration omits is empty."""

    name: str
    type: str
    default: str
    """DEFAULT, MATERIALIZED or ALIAS."""
    expression: str
    comment: str
    """As SQL writes it, with quotes twice."""


Relations = dict[str, list[DeclaredColumn]]
"""The columns of tables and views by name, in order."""


def declare(statement: str, relations: Relations) -> str:
    """Record the columns that a statement declares, and return the statement as the engine runs it.

    Raises:
        ValueError: a column has no type, or the statement changes columns in a way that nothing here follows.
    """
    if table := _TABLE.match(statement):
        declared = (each for each in _split(table[2]) if not each.startswith(("INDEX ", "PROJECTION ")))
        relations[table[1]] = [column for column, _ in map(_column, declared)]
    elif alter := _ALTER.match(statement):
        _alter(relations, *alter.groups())
    elif view := _VIEW.fullmatch(statement):
        name, entries, definer, body, comment = view.groups()
        columns = relations[name] = list(_view_columns(name, entries, body, relations))
        listed = ",\n".join(f"    {each.name} {each.type} COMMENT '{each.comment}'" for each in columns)
        if not body.startswith("AS"):
            body = "AS\nSELECT\n" + ",\n".join(map(_selected, columns)) + f"\n{body}"
        return f"CREATE OR REPLACE VIEW {name}\n(\n{listed}\n)\n{definer or ''}{body}\n{comment}"
    elif _DECLARES.match(statement):
        raise ValueError(f"its columns cannot be read; {_FORMS}")
    return statement


def _selected(column: DeclaredColumn) -> str:
    # A join may name a column `table.column`, so each expression has its name.
    return f"    {column.expression} AS {column.name}" if column.default == "ALIAS" else f"    {column.name}"


def _alter(relations: Relations, table: str, verb: str, declaration: str) -> None:
    if table not in relations:
        raise ValueError(f"no earlier statement creates the table {table}; write the name of one that exists")
    columns = relations[table]
    names = [each.name for each in columns]

    def position_of(name: str) -> int:
        if name not in names:
            raise ValueError(f"{table} has no column {name}; write one of {', '.join(names)}")
        return names.index(name)

    if verb == "ADD":
        column, after = _column(declaration)
        if column.name not in names:
            columns.insert(len(columns) if after is None else position_of(after) + 1 if after else 0, column)
    elif verb == "COMMENT":
        name, comment = declaration.split(" ", 1)
        columns[position_of(name)] = replace(columns[position_of(name)], comment=comment[1:-1])
    else:
        raise ValueError("migrations only add columns and comment on them")


def _view_columns(view: str, entries: str, body: str, relations: Relations) -> Iterator[DeclaredColumn]:
    sources = [relations[name] for name in _SOURCE.findall(body) if name in relations]
    for entry in _split(entries):
        if entry.startswith("LIKE "):
            yield from relations[entry.removeprefix("LIKE ")]
            continue
        column, _ = _column(entry)
        if not column.type or not column.comment:
            named = (each for source in sources for each in source if each.name == column.name)
            own = next(named, None)
            if own is None:
                raise ValueError(
                    f"view {view}: no table that it reads has a column {column.name}: declare type and comment"
                )
            column = replace(column, type=column.type or own.type, comment=column.comment or own.comment)
        yield column


def _column(declaration: str) -> tuple[DeclaredColumn, str | None]:
    """Read a declaration; also return the column after which it stands, empty for FIRST and None for the end."""
    match = _COLUMN.fullmatch(declaration)
    if match is None:
        raise ValueError(f"{declaration!r} declares no column")
    column = DeclaredColumn(*(match[part] or "" for part in ("name", "type", "default", "expression", "comment")))
    return column, match["order"] and (match["after"] or "")


def _split(entries: str) -> Iterable[str]:
    """Split a list at its commas outside of quotes and parentheses."""
    depth, start = 0, 0
    for match in _SEPARATOR.finditer(entries):
        if match[0] in "([":
            depth += 1
        elif match[0] in ")]":
            depth -= 1
        elif match[0] == "," and depth == 0:
            yield entries[start : match.start()].strip()
            start = match.end()
    yield entries[start:].strip()
