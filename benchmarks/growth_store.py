"""Databases that growth is measured in, and what is stored in them once everything is merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.stack import World
from benchmarks.synthetic_models import Grown
from warehouse import migrate
from warehouse.client import Client

CATALOGUE = ("contracts", "baselines", "topics", "processors", "schema_migrations")
"""Tables that do not grow with events."""


@dataclass(frozen=True, slots=True)
class Warehoused:
    """A database of the run's engine."""

    world: World
    database: str

    def client(self) -> Client:
        """A client of it."""
        return self.world.client(self.database)

    def engine_cpu_s(self) -> float:
        """CPU time of the engine so far (s)."""
        return self.world.engine_cpu_s()

    def stored(self, client: Client) -> dict[str, tuple[int, int]]:
        """Merge every table, and return its rows and bytes on disk; those of the catalogue and empty ones left out."""
        tables = [str(name) for (name,) in client.rows(
            "SELECT DISTINCT table FROM system.parts WHERE database = {database:String} AND active AND rows > 0",
            {"database": self.database},
        )]  # fmt: skip
        for table in tables:
            client.command(f"OPTIMIZE TABLE {table} FINAL")
        result = client.rows(
            "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts "
            "WHERE database = {database:String} AND active GROUP BY table",
            {"database": self.database},
        )
        return {str(table): (int(n), int(size)) for table, n, size in result if table not in CATALOGUE}


def empty_database(world: World, database: str) -> Warehoused:
    """Lay out a database."""
    with world.client(database) as client:
        migrate.apply(client)
    return Warehoused(world, database)


def register(world: World, database: str, models: Sequence[Grown]) -> Warehoused:
    """Lay out a database with the contracts and baselines of models."""
    for model in models:
        world.register(database, model)  # type: ignore[arg-type]
    return Warehoused(world, database)
