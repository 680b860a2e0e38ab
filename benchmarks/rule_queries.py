"""The queries of the alert rules on a history: one evaluation of each rule, and a replay over the whole history."""

from __future__ import annotations

from datetime import UTC, datetime

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.simulator import simulate
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import point_sql
from benchmarks.history import History
from benchmarks.history_queries import HistoryQuery

RULE_LIMIT_MS = 500.0
REPLAY_LIMIT_MS = 10_000.0
"""A backtest should take seconds."""


def rule_queries(history: History) -> list[HistoryQuery]:
    """Every rule of the first model at the end of the history, and a replay of all rules over the history."""
    settings = AlertSettings()
    rules = rules_of(history.contract, settings)
    result = [
        HistoryQuery(
            f"rule {rule.name} ({rule.severity}, {len(rule.signal.keys)} instances)",
            point_sql(rule.signal, at=f"toUInt32({history.end_s})"),
            RULE_LIMIT_MS,
        )
        for rule in rules
    ]

    def replay(client: Client) -> list[object]:
        return list(simulate(client, rules, settings, history.start_s, history.end_s, "ended").replays)

    days = (datetime.fromtimestamp(history.end_s, UTC) - datetime.fromtimestamp(history.start_s, UTC)).days
    return [*result, HistoryQuery(f"replay of {len(rules)} rules over {days} days", replay, REPLAY_LIMIT_MS)]
