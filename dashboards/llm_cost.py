"""The row Cost of the page LLM: what the model costs, against its budget, and by version, prompt and user."""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, table_panel, time_series
from barograph_server.dashboards.style import STYLE
from barograph_server.warehouse.panels import costs

UNITS = STYLE.units
DOLLARS = "currencyUSD"
"""Grafana's name of the unit."""
_info = partial(PanelInfo, "llm")
_FORECAST = (
    "Spent up to the last whole hour of the range, the forecast at the end of the {} with its 95 % interval, and the "
    "budget of the contract; UTC. Empty: no forecast yet, or no budget. If fewer than all calls have a cost, the "
    "amounts are lower bounds."
)
_AMOUNTS = ("spent", "forecast", "at least", "at most", "budget")
_BUDGET_UNITS = {**dict.fromkeys(_AMOUNTS, DOLLARS), "calls with cost": UNITS.share}


def _day() -> AnyPanel:
    return table_panel(_info("cost_day", "Today", _FORECAST.format("day")), costs.DAY, units=_BUDGET_UNITS)


def _month() -> AnyPanel:
    return table_panel(_info("cost_month", "This month", _FORECAST.format("month")), costs.MONTH, units=_BUDGET_UNITS)


def _by_version() -> AnyPanel:
    info = _info("cost_versions", "Cost by version", "Cost in each step, by version of the model.", DOLLARS)
    return time_series(info, costs.BY_VERSION, stacked=True, at_least=0)


def _by_prompt() -> AnyPanel:
    info = _info("cost_prompts", "Cost by prompt", "Cost in each step, by prompt and its version.", DOLLARS)
    return time_series(info, costs.BY_PROMPT, stacked=True, at_least=0)


def _per_call() -> AnyPanel:
    info = _info(
        "cost_per_call",
        "Cost per call",
        "Cost of all calls, failed ones included, divided by the answered calls whose cost is known, by version of the "
        "model.",
        DOLLARS,
    )
    return time_series(info, costs.PER_CALL, at_least=0)


def _coverage() -> AnyPanel:
    info = _info(
        "cost_coverage",
        "Calls with known cost and tokens",
        "Share of the answered calls whose cost, and whose input and output tokens, are known. Below 100 % all amounts "
        "are lower bounds.",
        UNITS.share,
    )
    return time_series(info, costs.COVERAGE, at_least=0)


def _users() -> AnyPanel:
    info = _info(
        "cost_users",
        "Users that cost most",
        "The 50 users with the highest cost in the range, for contracts that name `user`.",
    )
    units = {"cost": DOLLARS, "calls": UNITS.count, "calls with cost": UNITS.share}
    return table_panel(info, costs.USERS, units=units)


def row() -> Row:
    return Row(
        "Cost",
        (
            *(PlacedPanel(panel, 12, 5) for panel in (_day(), _month())),
            *(PlacedPanel(panel, 12, 8) for panel in (_by_version(), _by_prompt())),
            *(PlacedPanel(panel, 12, 8) for panel in (_per_call(), _coverage())),
            PlacedPanel(_users(), 24, 9),
        ),
    )
