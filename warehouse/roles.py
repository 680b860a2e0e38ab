"""Who needs which right in ClickHouse: one definition for `plan --roles`, the docs and the tests.

A role per processor that reads and writes what its processor does and nothing else, and two that read: `analyst` for
people and `grafana` for dashboards and alert rules, within a quota each, so that one careless query harms nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warehouse.client import identifier

_CATALOGUE = ("baselines", "contracts", "topics")
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
    """What the users of a role may use, each by itself, in an hour."""

    queries: int
    read_rows: int
    execution_s: int


@dataclass(frozen=True, slots=True)
class Role:
    """One role and all that it may do in the database."""

    name: str
    what: str
    """Who has it, for people."""
    reads: tuple[str, ...]
    """Tables and views; `*` for all."""
    writes: tuple[str, ...] = ()
    """Tables that it inserts into."""
    further: tuple[str, ...] = ()
    """Further privileges on the whole database."""
    settings: tuple[str, ...] = ()
    """Bounds of each query, as a settings profile has them."""
    quota: Quota | None = None


_SYNC = ("SYSTEM SYNC REPLICA",)
"""Whoever takes over state waits until its replica has it; without replicas it is not used."""
_BOUNDED = ("max_memory_usage = 4000000000 MAX 4000000000", "max_rows_to_read = 2000000000 MAX 20000000000")

ROLES: tuple[Role, ...] = (
    Role(
        "barograph_apply",
        "`barograph apply`: makes tables and views, and stores contracts and baselines",
        _ALL,
        ("baselines", "contracts", "migrations", "topics"),
        (
            *("CREATE DATABASE", "CREATE TABLE", "CREATE VIEW", "DROP VIEW"),
            *("ALTER ADD COLUMN", "ALTER COMMENT COLUMN", "ALTER MODIFY COMMENT", "ALTER SETTINGS"),
            *("ALTER ADD INDEX", "ALTER MATERIALIZE INDEX", "ALTER ADD PROJECTION", "ALTER MATERIALIZE PROJECTION"),
        ),
    ),
    Role("barograph_sketcher", "the sketcher", _CATALOGUE, _REPORTED),
    Role(
        "barograph_recorder",
        "the recorder",
        _CATALOGUE,
        ("labels", "predictions", *_REPORTED, "topics"),
        _SYNC,
    ),
    Role(
        "barograph_monitor",
        "the monitor",
        (*_CATALOGUE, "offset_ledger", "losses", "panes", "progress", "rollups", "volume"),
        (*_JUDGED, *_REPORTED),
        _SYNC,
    ),
    Role(
        "barograph_scorer",
        "the scorer",
        (*_CATALOGUE, *_SCORED, "labels", "latest_performance", "predictions"),
        (*_SCORED, *_REPORTED),
        _SYNC,
    ),
    Role(
        "analyst",
        "people, and the commands that only read: `status`, `query`, `distribution`, `simulate`, `backtest`, `skew`",
        _ALL,
        settings=("readonly = 2", "max_execution_time = 60 MAX 600", *_BOUNDED),
        quota=Quota(queries=5_000, read_rows=200_000_000_000, execution_s=7_200),
    ),
    Role(
        "grafana",
        "Grafana's data source: dashboards and alert rules",
        _ALL,
        settings=("readonly = 1", "max_execution_time = 60 MAX 60 CHANGEABLE_IN_READONLY", *_BOUNDED),
        quota=Quota(queries=200_000, read_rows=2_000_000_000_000, execution_s=36_000),
    ),
)
"""Every role, in the order in which they are made."""


def statements(database: str, roles: Sequence[Role] = ROLES) -> list[tuple[Role, list[str]]]:
    """The SQL that makes each role, statement by statement; running it again changes nothing.

    Raises:
        WarehouseError: the database's name is no plain identifier.
    """
    return [(role, _statements(identifier(database), role)) for role in roles]


def _statements(database: str, role: Role) -> list[str]:
    name = identifier(role.name)
    found = [f"CREATE ROLE IF NOT EXISTS {name}"]
    found += [f"GRANT SELECT ON {database}.{_named(table)} TO {name}" for table in role.reads]
    found += [f"GRANT INSERT ON {database}.{_named(table)} TO {name}" for table in role.writes]
    found += [f"GRANT {privilege} ON {database}.* TO {name}" for privilege in role.further]
    if role.settings:
        bounds = ", ".join(role.settings)
        found.append(f"CREATE SETTINGS PROFILE OR REPLACE {_ours(name)} SETTINGS {bounds} TO {name}")
    if role.quota is not None:
        most = (
            f"queries = {role.quota.queries}, read_rows = {role.quota.read_rows}, "
            f"execution_time = {role.quota.execution_s}"
        )
        found.append(
            f"CREATE QUOTA OR REPLACE {_ours(name)} KEYED BY user_name FOR INTERVAL 1 hour MAX {most} TO {name}"
        )
    return found


def _ours(name: str) -> str:
    """The name of a profile or quota, which must not meet another's."""
    return name if name.startswith("barograph_") else f"barograph_{name}"


def _named(table: str) -> str:
    return table if table == "*" else identifier(table)
