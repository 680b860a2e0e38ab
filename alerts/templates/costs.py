"""Rules on the cost of a language model, and on what its numbers depend on."""

from collections.abc import Iterator
from typing import Any

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.templates.factory import REASON, RuleFactory
from barograph_server.alerts.text import LabelRef, NumberRef, percent
from barograph_server.dashboards.uids import panel_link
from barograph_server.warehouse.signals.costs import Period, budget_use, cache_hit_fall, token_coverage_fall

CACHE_FALL = 0.1
"""Default threshold of the rule cache-hit-fall, in shares: ten percentage points."""
COVERAGE_FALL = 0.05
"""Default threshold of the rule token-coverage."""
COST_EVERY_S = 600
"""Shortest evaluation interval: the numbers change by the hour."""
_SHARED: dict[str, Any] = {"about": "volume", "form": "percent", "every_s": COST_EVERY_S}
"""Arguments that all rules of this module share."""


def cost_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Rules on the budget, and for contracts with prices or the rule's key, on cached and on observed tokens."""
    contract = factory.contract
    budgets: dict[Period, float | None] = {"day": contract.budget.day, "month": contract.budget.month}
    yield from _budget_rule(factory, {period: value for period, value in budgets.items() if value is not None})
    if contract.prices or "cache-hit-fall" in contract.alerts.rules:
        yield from _cache_rule(factory)
    if contract.prices or "token-coverage" in contract.alerts.rules:
        yield from _coverage_rule(factory)


def _budget_rule(factory: RuleFactory, budgets: dict[Period, float]) -> Iterator[Rule]:
    threshold, clear = factory.threshold("cost-budget", 1.0)
    for period, value in budgets.items():
        yield from factory.rule(
            "cost-budget",
            "ticket",
            part=period,
            headline=f"the budget of the {period} is exceeded",
            summary=(
                f"Cost of the {period}, spent or forecast: ",
                NumberRef("E", "percent"),
                f" of the budget of {value:g} US dollars; the threshold is {threshold:.0%}.",
                REASON,
            ),
            description=(
                f"The budget is {value:g} US dollars per {period}, in UTC. Fires if more than {threshold:.0%} of it is "
                f"spent, or if the 95 % interval of the forecast is above. Clears below {clear:.0%}, at the latest in "
                "the next period."
            ),
            signal=budget_use(factory.contract.model, {period: value}, threshold),
            clear=clear,
            **_SHARED,
            panel=panel_link("llm", "cost_day"),
        )


def _cache_rule(factory: RuleFactory) -> Iterator[Rule]:
    threshold, clear = factory.threshold("cache-hit-fall", CACHE_FALL)
    yield from factory.rule(
        "cache-hit-fall",
        "ticket",
        headline="fewer input tokens come from the cache",
        summary=(
            "The share of input tokens that were read from a cache fell by ",
            NumberRef("A", "percent"),
            " points according to ",
            LabelRef("counted_by"),
            f"; the threshold is {percent(threshold)}.",
        ),
        description=(
            "The share of the last day is compared with that of the week before, in the spans of calls and in the "
            f"metrics of inference servers. Clears when the fall is below {percent(clear)}."
        ),
        signal=cache_hit_fall(factory.contract.model, threshold),
        clear=clear,
        **_SHARED,
        panel=panel_link("llm", "cache_hits"),
    )


def _coverage_rule(factory: RuleFactory) -> Iterator[Rule]:
    threshold, clear = factory.threshold("token-coverage", COVERAGE_FALL)
    yield from factory.rule(
        "token-coverage",
        "ticket",
        headline="tokens of fewer calls are observed",
        summary=(
            "The share of answered calls with observed tokens fell by ",
            NumberRef("A", "percent"),
            f" points; the threshold is {percent(threshold)}.",
        ),
        description=(
            "The share of the last day is compared with that of the week before. Costs and token counts now cover "
            f"fewer calls. Clears when the fall is below {percent(clear)}."
        ),
        signal=token_coverage_fall(factory.contract.model, threshold),
        clear=clear,
        **_SHARED,
        panel=panel_link("llm", "cost_coverage"),
    )
