"""Costs of the selected model: against its budget, and by version, prompt and user."""

from __future__ import annotations

from barograph_server.warehouse.panels.fragments import MODEL
from barograph_server.warehouse.panels.query import HOUR_S, PanelQuery, hourly, table
from barograph_server.warehouse.signals.costs import Period, budget_numbers_sql

_RANGE = "$__timeFilter(call.hour)"
_END = "toUnixTimestamp($__toTime)"
_TOTAL = "spent + newest.one.3"
_BUDGET_COLUMNS = (
    f"newest.one.2 AS spent, if(isNaN({_TOTAL}), NULL, {_TOTAL}) AS forecast, "
    f'if(isNaN({_TOTAL}), NULL, greatest(spent, {_TOTAL} - newest.one.4)) AS "at least", '
    f'if(isNaN({_TOTAL}), NULL, {_TOTAL} + newest.one.4) AS "at most", '
    "if(isNaN(setting.budget), NULL, setting.budget) AS budget, "
    'newest.one.6 / nullIf(newest.one.5, 0) AS "calls with cost"'
)
"""Columns of a row of `budget_numbers_sql`, for people; NULL for what is not known."""


def _budget(period: Period) -> PanelQuery:
    """Return the query for the newest whole hour of a period: spent, forecast and budget."""
    numbers = budget_numbers_sql(MODEL, f"({_END} - 86400)", _END)
    return table(
        f"costs.{period}",
        f"""
        SELECT {_BUDGET_COLUMNS}
        FROM ({numbers}) AS newest
        CROSS JOIN
        (
            SELECT argMax(budget_{period}, applied_at) AS budget FROM cost_settings WHERE {MODEL}
        ) AS setting
        WHERE newest.one.1 = '{period}'
        ORDER BY newest.until DESC
        LIMIT 1
        """,
        "spent | forecast | at least | at most | budget | calls with cost",
        grain_s=HOUR_S,
    )


DAY = _budget("day")
MONTH = _budget("month")


def _over_time(name: str, key: str) -> PanelQuery:
    return hourly(
        f"costs.{name}",
        f"""
        SELECT $__timeInterval(call.hour) AS time, {key} AS {name}, sum(call.cost) AS cost
        FROM model_costs AS call
        WHERE {MODEL} AND {_RANGE}
        GROUP BY time, {name}
        ORDER BY time, {name}
        """,
        f"{name}:text | cost",
    )


BY_VERSION = _over_time("version", "call.version")
BY_PROMPT = _over_time("prompt", "if(call.prompt = '', 'no prompt', call.prompt)")

PER_CALL = hourly(
    "costs.per_call",
    f"""
    SELECT $__timeInterval(call.hour) AS time, call.version AS version,
        sum(call.cost) / nullIf(sum(call.with_cost), 0) AS cost
    FROM model_costs AS call
    WHERE {MODEL} AND {_RANGE}
    GROUP BY time, version
    ORDER BY time, version
    """,
    "version:text | cost",
)

COVERAGE = hourly(
    "costs.coverage",
    f"""
    SELECT $__timeInterval(call.hour) AS time,
        sum(call.with_cost) / nullIf(sum(call.answered), 0) AS "with cost",
        sum(call.with_tokens) / nullIf(sum(call.answered), 0) AS "with tokens"
    FROM model_costs AS call
    WHERE {MODEL} AND {_RANGE}
    GROUP BY time
    ORDER BY time
    """,
    "with cost | with tokens",
)

USERS = table(
    "costs.users",
    f"""
    SELECT call.user AS user, sum(call.cost) AS cost, sum(call.calls) AS calls,
        sum(call.with_cost) / nullIf(sum(call.answered), 0) AS "calls with cost"
    FROM user_costs AS call
    WHERE {MODEL} AND {_RANGE}
    GROUP BY user
    ORDER BY cost DESC, user
    LIMIT 50
    """,
    "user:text | cost | calls | calls with cost",
    grain_s=HOUR_S,
)
