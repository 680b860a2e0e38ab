"""Numbered migrations: forward only, each recorded, each statement safe to run again.

A file `NNNN_name.sql` holds statements that end with `;` at the end of a line. Running is recorded in the
table `migrations` as in-progress, then completed; a file that was interrupted is run again from its first
statement, so statements must be repeatable (`IF NOT EXISTS`, `CREATE OR REPLACE VIEW`, `ADD COLUMN IF NOT
EXISTS`). A completed file is never changed: its checksum is compared at every run.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from typing import TYPE_CHECKING

import pyarrow as pa

from warehouse.client import Client, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

# `step` is the version column: a slow second run that still writes "in-progress" never hides "completed".
_BOOTSTRAP = """
CREATE TABLE IF NOT EXISTS migrations
(
    number UInt32 COMMENT 'Number of the migration, in the order of running',
    name String COMMENT 'What it does, from the name of its file',
    checksum String COMMENT 'SHA-256 of the file as it was run',
    state LowCardinality(String) COMMENT 'in-progress or completed; not-started has no row',
    step UInt8 COMMENT '1 in-progress, 2 completed: the row with the greater step replaces the other',
    at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the state was reached'
)
ENGINE = ReplacingMergeTree(step)
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Which migrations of the schema have run; kept for good.'
"""


class State(Enum):
    """How far a migration has come."""

    NOT_STARTED = "not-started"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    statements: tuple[str, ...]
    checksum: str

    def __str__(self) -> str:
        return f"{self.number:04d}_{self.name}"


def parse(file_name: str, text: str) -> Migration:
    """Read one migration file.

    Raises:
        ValueError: the file name or the text breaks the rules of the module's docstring.
    """
    match = _FILE_NAME.fullmatch(file_name)
    if match is None:
        raise ValueError(f"{file_name}: a migration is named NNNN_words.sql")
    statements = []
    for chunk in re.split(r";[ \t]*(?:\n|\Z)", text):
        lines = [line for line in chunk.splitlines() if line.strip() and not line.lstrip().startswith("--")]
        if lines:
            statements.append("\n".join(lines))
    if not statements or not text.rstrip().endswith(";"):
        raise ValueError(f"{file_name}: end each statement with `;` at the end of a line")
    return Migration(int(match[1]), match[2], tuple(statements), hashlib.sha256(text.encode()).hexdigest())


def load() -> tuple[Migration, ...]:
    """Read the migrations of this package, in their order."""
    found = [
        parse(entry.name, entry.read_text(encoding="utf-8"))
        for entry in files("warehouse").joinpath("migrations").iterdir()
        if entry.name.endswith(".sql")
    ]
    return in_order(found)


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """Sort migrations by number.

    Raises:
        ValueError: the numbers are not 1, 2, 3, …
    """
    ordered = tuple(sorted(migrations, key=lambda migration: migration.number))
    numbers = [migration.number for migration in ordered]
    if numbers != list(range(1, len(ordered) + 1)):
        raise ValueError(f"migrations are numbered 1, 2, 3, … without gap or repeat, not {numbers}")
    return ordered


def states(client: Client, migrations: Sequence[Migration] | None = None) -> dict[Migration, State]:
    """Compare the database with the migrations, without changing it.

    Args:
        client: a connection whose database exists.
        migrations: the ones that should have run; those of this package by default.

    Raises:
        WarehouseError: a completed migration was changed since, or the database is newer than this program.
        WarehouseBusy: ClickHouse cannot answer now.
    """
    known = load() if migrations is None else migrations
    exists = client.rows(
        "SELECT 1 FROM system.tables WHERE database = {database:String} AND name = 'migrations'",
        {"database": client.database},
    )
    recorded: dict[int, tuple[str, str, str]] = {}
    if exists:
        rows = client.rows("SELECT number, name, checksum, state FROM migrations FINAL")
        recorded = {number: (name, checksum, state) for number, name, checksum, state in rows}
    for number in sorted(recorded.keys() - {migration.number for migration in known}):
        raise WarehouseError(
            f"The database {client.database} at {client.where} has migration "
            f"{number:04d}_{recorded[number][0]}, which this program does not know (its last is "
            f"{len(known):04d}): update the program."
        )
    result = {}
    for migration in known:
        _, checksum, state = recorded.get(migration.number, ("", "", State.NOT_STARTED.value))
        result[migration] = State(state)
        if result[migration] is State.COMPLETED and checksum != migration.checksum:
            raise WarehouseError(
                f"Migration {migration} was changed after it had run on the database {client.database} at "
                f"{client.where}: restore the file, and make the change in a new migration."
            )
    return result


def pending(client: Client, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Name the migrations that `apply` would run, in their order. Raises as `states`."""
    return [m for m, state in states(client, migrations).items() if state is not State.COMPLETED]


def apply(client: Client, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Run what is pending and return it. Two processes may do so at once: each statement may be repeated.

    Raises:
        WarehouseError: a statement is refused; what is said there must be mended, then run again.
        WarehouseBusy: ClickHouse cannot do it now: run again.
    """
    todo = pending(client, migrations)
    client.command(_BOOTSTRAP)
    for migration in todo:
        _record(client, migration, State.IN_PROGRESS, 1)
        for i, statement in enumerate(migration.statements, start=1):
            try:
                client.command(statement)
            except WarehouseError as error:
                raise WarehouseError(
                    f"Statement {i} of migration {migration} failed; the next run begins with its "
                    f"first statement. {error}",
                    error.code,
                ) from error
        _record(client, migration, State.COMPLETED, 2)
    return todo


def _record(client: Client, migration: Migration, state: State, step: int) -> None:
    row = {
        "number": pa.array([migration.number], pa.uint32()),
        "name": [migration.name],
        "checksum": [migration.checksum],
        "state": [state.value],
        "step": pa.array([step], pa.uint8()),
    }
    client.insert("migrations", pa.table(row))
