"""ClickHouse roles: one definition for `plan --roles`, the compose file, the docs and the tests.

Each processor has a role with exactly the privileges that it needs. Two roles only read: `barograph_analyst` for
people, and `barograph_grafana` for dashboards and alert rules. Both have limits for each query and a quota, so that one
user does not affect the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from barograph_server.warehouse.client import identifier
from barograph_server.warehouse.tables import SCHEMAS

PREFIX = "barograph_"
"""Roles, profiles and quotas belong to a server, not to a database: the prefix distinguishes them from others."""

REGISTRY = ("baselines", "contracts", "topics")
"""Tables that every processor reads."""
_SCORED = (
    *("arm_ratios", "hour_labels", "maturity", "performance", "performance_reference", "performance_state"),
    *("prediction_hours", "duplicate_predictions", "scorer_checkpoints", "scorer_models", "shadow_pairs"),
    *("arm_counts", "arm_comparisons", "rollback_proposals", "shadow_verdicts", "pending_labels", "evaluation_rates"),
)
_JUDGED = (
    *("offset_ledger", "comparisons", "dead_letter_counts", "distances", "drift", "errors", "heartbeats", "losses"),
    *("new_categories", "panes", "producers", "progress", "rates", "rollups", "violations", "volume"),
)
_RECORDED = ("labels", "predictions", "shadow_predictions")
_GUARDED = ("model_health", "suspected_causes")
REPORTED = ("processor_metrics", "processors")
"""Tables into which every processor reports its state."""
_OF_DRILLS = tuple(
    sorted(
        table
        for table in {"baselines", "contracts", *_RECORDED, *_JUDGED, *_SCORED, *_GUARDED, *REPORTED}
        if "model" in SCHEMAS[table].names
    )
)
"""Tables with rows of a model of a live drill: those that the drill and processors write."""
_EVALUATIONS = ("eval_acceptances", "eval_items", "eval_runs")
_PROMPTS = ("changes", "prompt_labels", "prompts")
_ALL = ("*",)

_NAMED_BY_GRAFANA = (
    *("all_panes", "all_volume", "arm_comparison", "arm_comparisons", "baselines", "anchor_runs", "all_changes"),
    *("changes", "contracts", "dead_letters", "distances", "drift", "drift_levels", "drills", "duplicates"),
    *("errors_by_kind", "hours", "label_counts", "label_maturity", "label_times", "latest_arm_ratios"),
    *("latest_distances", "latest_drift", "latest_lineage", "latest_performance", "latest_rates", "likely_causes"),
    *("lost_ranges", "maturity", "model_health", "performance", "processor_metrics", "processors", "producer_totals"),
    *("progress", "rate_levels", "rates", "readers", "shadow_pairs", "cost_settings", "model_costs", "serving_facts"),
    *("traced_calls", "user_costs", "evaluation_counts", "evaluation_rates", *_EVALUATIONS, "shadow_verdicts"),
    *("topic_counts", "unmatched_labels", "unseen_categories", "volume"),
)
"""Tables and views that a dashboard or an alert rule names."""
_BELOW_VIEWS = (
    *("arm_counts", "arm_ratios", "comparisons", "dead_letter_counts", "errors", "heartbeats", "latest_comparisons"),
    *("losses", "new_categories", "lineage", "performance_state", "producers", "promotions", "scorer_models"),
    "suspected_causes",
)
"""Tables and views that these views read with the privileges of their caller. Views over raw rows and sketches read
with the privileges of their definer instead (decision 36)."""
_READ_BY_GUARD = ("deployments", "latest_deployments", "rollback_proposals")
"""Tables and views that the guard reads besides those of alert rules."""

LEAST = 1
"""Smallest value of a limit that a query may set: 0 would lift nearly every limit."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A setting of each query of a role, and the values that a query may set instead."""

    setting: str
    value: int | str | None
    """None: the server's own value, which a query may change within the bounds."""
    most: int | None = None
    """Largest value that a query may set. None: a query may not change the setting."""
    in_readonly: bool = False
    """Whether a query may set it where `readonly` is 1, which otherwise forbids every setting."""

    def __str__(self) -> str:
        """Return the limit as an element of CREATE SETTINGS PROFILE."""
        value = "" if self.value is None else f" = {self.value!r}"
        if self.most is None:
            return f"{self.setting}{value} CONST"
        bounds = f"MIN {LEAST} MAX {self.most}"
        return f"{self.setting}{value} {bounds}{' CHANGEABLE_IN_READONLY' if self.in_readonly else ''}"


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
    deletes: tuple[str, ...] = ()
    """Tables whose rows it deletes."""
    readonly: int | None = None
    """ClickHouse's setting: 1 forbids writes and settings, 2 writes; None forbids neither."""
    limits: tuple[Limit, ...] = ()
    """Limits of each query."""
    quota: Quota | None = None

    @property
    def user(self) -> str:
        """The name of its user in the compose file.

        It differs from that of the role: ClickHouse takes a name after TO for a user before it looks for a role.
        """
        return self.name.removeprefix(PREFIX)


_SYNC = ("SYSTEM SYNC REPLICA",)
"""A process that loads state first waits until its replica has it; unused without replicas."""

_GIB = 1 << 30
_BOUNDED = (
    Limit("max_memory_usage", 4_000_000_000, 4_000_000_000),
    # Each thread uses this much before it counts.
    Limit("max_untracked_memory", None, 4 << 20),
    Limit("max_rows_to_read", 2_000_000_000, 20_000_000_000),
    Limit("max_bytes_to_read", 200 * _GIB, 2_000 * _GIB),
    Limit("max_result_bytes", _GIB, 4 * _GIB),
    Limit("max_threads", None, 16),
    Limit("max_temporary_data_on_disk_size_for_query", 10 * _GIB, 10 * _GIB),
    Limit("max_temporary_data_on_disk_size_for_user", 20 * _GIB, 20 * _GIB),
    # With `break` a query that exceeds a limit would return a part of its rows as if they were all.
    *(Limit(f"{kind}_overflow_mode{suffix}", "throw") for kind in ("timeout", "read") for suffix in ("", "_leaf")),
    Limit("result_overflow_mode", "throw"),
    # A web page must not read a response.
    Limit("add_http_cors_header", 0),
)

MODELS = 500
"""Number of models that the quota of Grafana is sized for."""
_MODEL_MINUTE = Quota(queries=150, read_rows=60_000_000, execution_s=2)
"""Budget of one model and minute. A rule sends one or two queries each time it is evaluated, at most once a minute; the
rest is for dashboards."""

ROLES: tuple[Role, ...] = (
    Role(
        "barograph_apply",
        "`barograph apply`, `drill` and `consumers --store`: create tables and views, and store contracts and results",
        _ALL,
        (
            *("baselines", "codebooks", "contracts", "cost_settings", "deployments", "drills", "lineage"),
            *("migrations", "promotions", "readers", "reference_choices", "topics"),
        ),
        (
            *("CREATE DATABASE", "CREATE TABLE", "CREATE VIEW", "DROP VIEW"),
            *("ALTER ADD COLUMN", "ALTER COMMENT COLUMN", "ALTER MODIFY COMMENT", "ALTER SETTINGS", "ALTER TTL"),
            *("ALTER ADD INDEX", "ALTER MATERIALIZE INDEX", "ALTER ADD PROJECTION", "ALTER MATERIALIZE PROJECTION"),
        ),
    ),
    Role(
        "barograph_drill",
        "`barograph drill run --live` and `drill clean`: store contracts, baselines and states of models of drills, "
        "and delete their rows",
        _ALL,
        ("baselines", "contracts", "drills", "model_health"),
        deletes=_OF_DRILLS,
    ),
    Role("barograph_prompts", "`barograph prompts`: store versions and labels of prompts", _PROMPTS, _PROMPTS),
    Role(
        "barograph_changes",
        "`barograph changes add` and `barograph changes serve`: store reported changes",
        ("latest_lineage", "lineage"),
        ("changes",),
    ),
    Role(
        "barograph_review",
        "`barograph review`: reads answers with their texts, and stores labels of people",
        ("contracts", "evaluations", "labels", "predictions", "reviews"),
        ("reviews",),
    ),
    Role(
        "barograph_eval",
        "`barograph eval`: store runs of evaluation suites, and which of them were accepted",
        (*_EVALUATIONS, "prompts"),
        _EVALUATIONS,
    ),
    Role("barograph_sketcher", "the sketcher, and the receiver of spans", (*REGISTRY, "codebooks"), REPORTED),
    Role(
        "barograph_evaluator",
        "the evaluator, and `barograph judges`: store runs of judges on their anchors",
        (*REGISTRY, "anchor_runs", "codebooks"),
        ("anchor_runs", *REPORTED),
    ),
    Role("barograph_recorder", "the recorder", REGISTRY, (*_RECORDED, *REPORTED, "topics"), _SYNC),
    Role(
        "barograph_monitor",
        "the monitor",
        (*REGISTRY, "offset_ledger", "losses", "panes", "progress", "rollups", "volume"),
        (*_JUDGED, *REPORTED),
        _SYNC,
    ),
    Role(
        "barograph_scorer",
        "the scorer",
        (
            *(*REGISTRY, *_SCORED, "evaluations", "labels", "latest_arm_ratios", "latest_performance"),
            *("predictions", "reference_choices", "reviews", "shadow_predictions"),
        ),
        (*_SCORED, *REPORTED),
        _SYNC,
    ),
    Role("barograph_scrape", "`barograph run scrape`", REGISTRY, ("serving_facts", *REPORTED)),
    Role(
        "barograph_guard",
        "the guard, which evaluates the alert rules, stores the states of models and the causes of verdicts, and "
        "rolls prompts back",
        tuple(sorted({*_NAMED_BY_GRAFANA, *_BELOW_VIEWS, *REGISTRY, *_PROMPTS, *_READ_BY_GUARD})),
        (*_GUARDED, *_PROMPTS, *REPORTED),
        _SYNC,
    ),
    Role(
        "barograph_analyst",
        "people, and commands that read: `status`, `doctor`, `query`, `detectability`, `distribution`, `evaluations`, "
        "`simulate`, `backtest`, `skew`, `promote`, `report`, `shadow`, `loops`, `debt`, `lineage`, "
        "`changes list` and `changes explain`",
        _ALL,
        readonly=2,
        limits=(
            Limit("max_execution_time", 60, 600),
            Limit("max_result_rows", 100_000_000, 100_000_000),
            Limit("max_concurrent_queries_for_user", 20, 20),
            *_BOUNDED,
        ),
        quota=Quota(queries=5_000, read_rows=200_000_000_000, execution_s=7_200),
    ),
    Role(
        "barograph_grafana",
        "Grafana's data source, for dashboards and alert rules",
        tuple(sorted((*_NAMED_BY_GRAFANA, *_BELOW_VIEWS))),
        readonly=1,
        limits=(
            # Its plugin sets the remaining time of the request plus 5 s, up to 65 s, in every query.
            Limit("max_execution_time", 60, 75, in_readonly=True),
            Limit("max_result_rows", 1_000_000, 1_000_000),
            Limit("max_concurrent_queries_for_user", 100, 100),
            *_BOUNDED,
        ),
        quota=Quota(
            queries=MODELS * 60 * _MODEL_MINUTE.queries,
            read_rows=MODELS * 60 * _MODEL_MINUTE.read_rows,
            execution_s=MODELS * 60 * _MODEL_MINUTE.execution_s,
        ),
    ),
)
"""All roles, in the order in which they are created."""


def statements(database: str, roles: Sequence[Role] = ROLES) -> list[tuple[Role, list[str]]]:
    """Return the statements that create each role; they are idempotent.

    A role that exists loses the privileges that it no longer has here.
    """
    return [(role, _statements(identifier(database), role)) for role in roles]


def _statements(database: str, role: Role) -> list[str]:
    name = identifier(role.name)
    grants = [f"SELECT ON {database}.{_grant_target(table)}" for table in role.reads]
    grants += [f"INSERT ON {database}.{_grant_target(table)}" for table in role.writes]
    grants += [f"ALTER DELETE ON {database}.{identifier(table)}" for table in role.deletes]
    grants += [f"{privilege} ON {database}.*" for privilege in role.further]
    result = [f"CREATE ROLE IF NOT EXISTS {name}", f"GRANT {', '.join(grants)} TO {name} WITH REPLACE OPTION"]
    settings = [f"readonly = {role.readonly}"] if role.readonly is not None else []
    settings += [str(limit) for limit in role.limits]
    if settings:
        result.append(f"CREATE SETTINGS PROFILE OR REPLACE {name} SETTINGS {', '.join(settings)} TO {name}")
    if role.quota is not None:
        limits = (
            f"queries = {role.quota.queries}, read_rows = {role.quota.read_rows}, "
            f"execution_time = {role.quota.execution_s}"
        )
        result.append(f"CREATE QUOTA OR REPLACE {name} KEYED BY user_name FOR INTERVAL 1 hour MAX {limits} TO {name}")
    return result


def _grant_target(table: str) -> str:
    return table if table == "*" else identifier(table)
