"""Numbered schema migrations: forward only, checksummed, and safe to resume; and the views, which follow them.

A migration is a folder `NNNN_name` of SQL files, which run in the order of their names, or one file `NNNN_name.sql`.
Statements end with `;` at the end of a line. The table `migrations` records each migration as in-progress, then as
completed. An interrupted migration starts again from its first statement, so every statement must be repeatable
(`IF NOT EXISTS`). A completed migration never changes: every run compares its checksum.

Views hold no data, so each is defined once, in `views/` (`warehouse.schema` says how). After the last migration a run
creates all of them again if a definition, or a column that they show, has changed.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from importlib.resources.abc import Traversable

import pyarrow as pa

from barograph_server.warehouse.client import Client, WarehouseError
from barograph_server.warehouse.schema import Relations, declare

VIEWS = 0
"""The number under which the views are recorded; they run last."""

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)(?:\.sql)?")

# `step` is the version column: a slow second run that still writes "in-progress" never hides "completed".
_BOOTSTRAP = """
CREATE TABLE IF NOT EXISTS migrations
(
    number UInt32 COMMENT 'Number of the migration; migrations run in this order',
    name String COMMENT 'Name of the migration, from the name of its file or folder',
    checksum String COMMENT 'SHA-256 of the migration''s text when it ran',
    state LowCardinality(String) COMMENT 'in-progress or completed; a migration that has not started has no row',
    step UInt8 COMMENT '1 in-progress, 2 completed: the row with the greater step replaces the other',
    at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'Time at which the migration reached the state'
)
ENGINE = ReplacingMergeTree(step)
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Migrations of the schema that have run; kept forever.'
"""


class MigrationState(Enum):
    NOT_STARTED = "not-started"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"


@dataclass(frozen=True)
class Migration:
    """One numbered migration, or the views."""

    number: int
    name: str
    statements: tuple[str, ...]
    checksum: str

    def __str__(self) -> str:
        return self.name if self.number == VIEWS else f"{self.number:04d}_{self.name}"


def parse(name: str, text: str) -> Migration:
    """Parse one migration.

    Args:
        text: the text of the file, or of all files of the folder in order.

    Raises:
        ValueError: the name or the text breaks the rules of the module's docstring.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name}: name a migration NNNN_words.sql, or NNNN_words for a folder")
    return Migration(int(match[1]), match[2], _statements(name, text), _checksum(text))


def load(root: Traversable | None = None) -> tuple[Migration, ...]:
    """Read the migrations of this package or of another folder, in order; then its views.

    Raises:
        ValueError: as `parse`, `in_order` and `warehouse.schema.declare`.
    """
    root = root or files("barograph_server.warehouse")
    texts = {entry.name: _text(entry) for entry in root.joinpath("migrations").iterdir()}
    migrations = in_order(parse(name, text) for name, text in texts.items() if text)
    relations = relations_of(migrations)
    views = _declare_all("views", _statements("views", _text(root.joinpath("views"))), relations)
    return *migrations, Migration(VIEWS, "views", views, _checksum("\n".join(views)))


def relations_of(migrations: Iterable[Migration]) -> Relations:
    """Return the columns of all tables that migrations create and alter.

    Raises:
        ValueError: the columns of a statement cannot be read; the message says which statement, and what to write.
    """
    relations: Relations = {}
    for migration in migrations:
        if migration.number != VIEWS:
            _declare_all(str(migration), migration.statements, relations)
    return relations


def _declare_all(where: str, statements: Iterable[str], relations: Relations) -> tuple[str, ...]:
    declared = []
    for i, statement in enumerate(statements, start=1):
        try:
            declared.append(declare(statement, relations))
        except ValueError as error:
            raise ValueError(f"{where}, statement {i}, {statement.splitlines()[0].strip()!r}: {error}") from error
    return tuple(declared)


def _text(entry: Traversable) -> str:
    sources = sorted(entry.iterdir(), key=lambda source: source.name) if entry.is_dir() else [entry]
    return "\n".join(source.read_text(encoding="utf-8") for source in sources if source.name.endswith(".sql"))


def _statements(name: str, text: str) -> tuple[str, ...]:
    statements = []
    for chunk in re.split(r";[ \t]*(?:\n|\Z)", text):
        lines = [line for line in chunk.splitlines() if line.strip() and not line.lstrip().startswith("--")]
        if lines:
            statements.append("\n".join(lines))
    if not statements or not text.rstrip().endswith(";"):
        raise ValueError(f"{name}: end each statement with `;` at the end of a line")
    return tuple(statements)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """Sort migrations by number, and check that no number is missing.

    Raises:
        ValueError: the numbers are not 1, 2, 3, …
    """
    ordered = tuple(sorted(migrations, key=lambda migration: migration.number))
    numbers = [migration.number for migration in ordered]
    if numbers != list(range(1, len(ordered) + 1)):
        raise ValueError(f"migrations are numbered 1, 2, 3, … without gap or repeat, not {numbers}")
    return ordered


def states(client: Client, migrations: Sequence[Migration] | None = None) -> dict[Migration, MigrationState]:
    """Read the state of each migration in the database; changes nothing.

    Args:
        client: a connection whose database exists.
        migrations: the migrations that should have run; those of this package by default.
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
            f"{max(migration.number for migration in known):04d}): update the program."
        )
    result = {}
    for migration in known:
        _, checksum, state = recorded.get(migration.number, ("", "", MigrationState.NOT_STARTED.value))
        result[migration] = MigrationState(state)
        if checksum != migration.checksum and migration.number == VIEWS:
            result[migration] = MigrationState.NOT_STARTED
        elif checksum != migration.checksum and result[migration] is MigrationState.COMPLETED:
            raise WarehouseError(
                f"Migration {migration} changed after it had run on the database {client.database} at "
                f"{client.where}: restore its text, and make the change in a new migration."
            )
    return result


def pending(client: Client, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """List the migrations that `apply` would run, in order. Raises as `states`."""
    return [m for m, state in states(client, migrations).items() if state is not MigrationState.COMPLETED]


def apply(client: Client, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Run the pending migrations and return them. Concurrent runs are safe, because every statement is repeatable."""
    remaining = pending(client, migrations)
    client.command(_BOOTSTRAP)
    for migration in remaining:
        # The row of the views is written again whenever they change, so the latest one counts.
        _record(client, migration, MigrationState.IN_PROGRESS, 2 if migration.number == VIEWS else 1)
        for i, statement in enumerate(migration.statements, start=1):
            try:
                client.command(statement)
            except WarehouseError as error:
                raise WarehouseError(
                    f"Statement {i} of migration {migration} failed; the next run starts with its "
                    f"first statement. {error}",
                    error.code,
                ) from error
        _record(client, migration, MigrationState.COMPLETED, 2)
    return remaining


def _record(client: Client, migration: Migration, state: MigrationState, step: int) -> None:
    row = {
        "number": pa.array([migration.number], pa.uint32()),
        "name": [migration.name],
        "checksum": [migration.checksum],
        "state": [state.value],
        "step": pa.array([step], pa.uint8()),
    }
    client.insert("migrations", pa.table(row))
