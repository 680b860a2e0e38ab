"""ClickHouse roles: one definition for `plan --roles`, the docs and the tests.

Each processor has a role with exactly the privileges that it needs. Two roles only read: `analyst` for people, and
`grafana` for dashboards and alert rules. Both have a quota, so that one expensive query does not affect other users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warehouse.client import identifier

_REGISTRY = ("baselines", "contracts", "topics")
_SCORED = (
    "arm_ratios",
    "hour_labels",
    "maturity",
    "performance",
    "performance_reference",
    "performance_state",
    "prediction_hours",
    "duplicate_predictions",
    "scorer_checkpoints",
    "scorer_models",
    "pending_labels",
)
_JUDGED = (
    "offset_ledger",
    "comparisons",
    "dead_letter_counts",
    "distances",
    "drift",
    "errors",
    "losses",
    "new_categories",
    "panes",
    "producers",
    "progress",
    "rates",
    "rollups",
    "violations",
    "volume",
)
_REPORTED = ("processor_metrics", "processors")
_ALL = ("*",)


@dataclass(frozen=True, slots=True)
class Quota:
    """The hourly quota of each user of a role."""

    queries: int
    read_rows: int
    execution_s: int


@dataclass(frozen=True, slots=True)
class Role:
    """A role and its privileges in the database."""

    name: str
    info: str
    """The users of the role, for people."""
    reads: tuple[str, ...]
    """Tables and views that it reads; `*` for all."""
    writes: tuple[str, ...] = ()
    """Tables that it inserts into."""
    further: tuple[str, ...] = ()
    """Other privileges on the whole database."""
    settings: tuple[str, ...] = ()
    """Limits of each query, as in a settings profile."""
    quota: Quota | None = None


_SYNC = ("SYSTEM SYNC REPLICA",)
"""A process that loads state first waits until its replica has it; unused without replicas."""
_BOUNDED = ("max_memory_usage = 4000000000 MAX 4000000000", "max_rows_to_read = 2000000000 MAX 20000000000")

ROLES: tuple[Role, ...] = (
    Role(
        "barograph_apply",
        "`barograph apply`: creates tables and views, and stores contracts and baselines",
        _ALL,
        ("baselines", "contracts", "migrations", "topics"),
        (
            *("CREATE DATABASE", "CREATE TABLE", "CREATE VIEW", "DROP VIEW"),
            *("ALTER ADD COLUMN", "ALTER COMMENT COLUMN", "ALTER MODIFY COMMENT", "ALTER SETTINGS"),
            *("ALTER ADD INDEX", "ALTER MATERIALIZE INDEX", "ALTER ADD PROJECTION", "ALTER MATERIALIZE PROJECTION"),
        ),
    ),
    Role("barograph_sketcher", "the sketcher", _REGISTRY, _REPORTED),
    Role(
        "barograph_recorder",
        "the recorder",
        _REGISTRY,
        ("labels", "predictions", *_REPORTED, "topics"),
        _SYNC,
    ),
    Role(
        "barograph_monitor",
        "the monitor",
        (*_REGISTRY, "offset_ledger", "losses", "panes", "progress", "rollups", "volume"),
        (*_JUDGED, *_REPORTED),
        _SYNC,
    ),
    Role(
        "barograph_scorer",
        "the scorer",
        (*_REGISTRY, *_SCORED, "labels", "latest_performance", "predictions"),
        (*_SCORED, *_REPORTED),
        _SYNC,
    ),
    Role(
        "analyst",
        "people, and the read-only commands: `status`, `query`, `distribution`, `simulate`, `backtest`, `skew`",
        _ALL,
        settings=("readonly = 2", "max_execution_time = 60 MAX 600", *_BOUNDED),
        quota=Quota(queries=5_000, read_rows=200_000_000_000, execution_s=7_200),
    ),
    Role(
        "grafana",
        "Grafana's data source, for dashboards and alert rules",
        _ALL,
        settings=("readonly = 1", "max_execution_time = 60 MAX 60 CHANGEABLE_IN_READONLY", *_BOUNDED),
        quota=Quota(queries=200_000, read_rows=2_000_000_000_000, execution_s=36_000),
    ),
)
"""All roles, in the order in which they are created."""


def statements(database: str, roles: Sequence[Role] = ROLES) -> list[tuple[Role, list[str]]]:
    """Return the statements that create each role; they are idempotent.

    Args:
        database: the database of the privileges.
        roles: the roles.

    Raises:
        WarehouseError: the database's name is not a plain identifier.
    """
    return [(role, _statements(identifier(database), role)) for role in roles]


def _statements(database: str, role: Role) -> list[str]:
    name = identifier(role.name)
    result = [f"CREATE ROLE IF NOT EXISTS {name}"]
    result += [f"GRANT SELECT ON {database}.{_grant_target(table)} TO {name}" for table in role.reads]
    result += [f"GRANT INSERT ON {database}.{_grant_target(table)} TO {name}" for table in role.writes]
    result += [f"GRANT {privilege} ON {database}.* TO {name}" for privilege in role.further]
    if role.settings:
        limits = ", ".join(role.settings)
        result.append(f"CREATE SETTINGS PROFILE OR REPLACE {_prefixed(name)} SETTINGS {limits} TO {name}")
    if role.quota is not None:
        limits = (
            f"queries = {role.quota.queries}, read_rows = {role.quota.read_rows}, "
            f"execution_time = {role.quota.execution_s}"
        )
        result.append(
            f"CREATE QUOTA OR REPLACE {_prefixed(name)} KEYED BY user_name FOR INTERVAL 1 hour MAX {limits} TO {name}"
        )
    return result


def _prefixed(name: str) -> str:
    """Return the name of a profile or quota, prefixed to avoid collisions."""
    return name if name.startswith("barograph_") else f"barograph_{name}"


def _grant_target(table: str) -> str:
    return table if table == "*" else identifier(table)
