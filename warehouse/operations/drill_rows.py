"""The models of live drills that have a contract or rows, and the removal of their rows."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

from barograph_server.warehouse.client import Client, identifier
from barograph_server.warehouse.queries import PREFIX
from barograph_server.warehouse.signals.literals import literals

IN_USE_S = 150
"""Age of the newest state or contract from which a drill no longer runs: it writes a state every minute."""
_PREFIX = {"prefix": PREFIX}


def registered(client: Client) -> set[str]:
    """Return the models of drills that have a contract."""
    return _models_in(client, "contracts")


def leftovers(client: Client) -> set[str]:
    """Return the models of drills that have rows in any table."""
    return {model for table in _tables(client) for model in _models_in(client, table)}


def in_use(client: Client) -> set[str]:
    """Return the models of drills that run: their contract or their newest state is not old."""
    rows = client.rows(
        "SELECT model FROM contracts WHERE startsWith(model, {prefix:String}) AND applied_at > {since:DateTime64(3)} "
        "UNION DISTINCT "
        "SELECT model FROM model_health WHERE startsWith(model, {prefix:String}) AND at > {since:DateTime64(3)}",
        {**_PREFIX, "since": datetime.now(UTC) - timedelta(seconds=IN_USE_S)},
    )
    return {model for (model,) in rows}


def delete_rows(client: Client, models: Collection[str]) -> bool:
    """Delete the rows of models from all tables; return whether there were any."""
    tables = [table for table in _tables(client) if not _models_in(client, table).isdisjoint(models)]
    for table in tables:
        delete_from(client, table, models)
    return bool(tables)


def delete_from(client: Client, table: str, models: Collection[str]) -> None:
    # A mutation is stored as text, so it takes no parameters.
    client.command(
        f"ALTER TABLE {identifier(table)} DELETE WHERE model IN {literals(models)} SETTINGS mutations_sync = 1"
    )


def _tables(client: Client) -> Iterator[str]:
    rows = client.rows(
        "SELECT DISTINCT table FROM system.columns WHERE database = currentDatabase() AND name = 'model' AND table IN "
        "(SELECT name FROM system.tables WHERE database = currentDatabase() AND endsWith(engine, 'MergeTree')) "
        "AND table != 'drills' ORDER BY table"
    )
    return (identifier(table) for (table,) in rows)


def _models_in(client: Client, table: str) -> set[str]:
    rows = client.rows(f"SELECT DISTINCT model FROM {table} WHERE startsWith(model, {{prefix:String}})", _PREFIX)
    return {model for (model,) in rows}
