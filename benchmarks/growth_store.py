"""Databases for the growth measurements, and their size on disk after merging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client
from benchmarks.stack import Testbed
from benchmarks.synthetic_models import SyntheticModel

CATALOGUE = ("contracts", "baselines", "topics", "processors", "schema_migrations")
"""Tables that do not grow with events; `stored` leaves them out."""


@dataclass(frozen=True, slots=True)
class BenchmarkDatabase:
    """A database of the testbed's engine."""

    testbed: Testbed
    database: str

    def client(self) -> Client:
        """A client of the database."""
        return self.testbed.client(self.database)

    def engine_cpu_s(self) -> float:
        """CPU time of the engine so far (s)."""
        return self.testbed.engine_cpu_s()

    def stored(self, client: Client) -> dict[str, tuple[int, int]]:
        """Merge every table; return rows and bytes on disk of each, without empty tables and `CATALOGUE`."""
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


def empty_database(testbed: Testbed, database: str) -> BenchmarkDatabase:
    """Create a database with all tables."""
    with testbed.client(database) as client:
        migrate.apply(client)
    return BenchmarkDatabase(testbed, database)


def register(testbed: Testbed, database: str, models: Sequence[SyntheticModel]) -> BenchmarkDatabase:
    """Create a database with the contracts and baselines of models."""
    for model in models:
        testbed.register(database, model)  # type: ignore[arg-type]
    return BenchmarkDatabase(testbed, database)
