"""Simulations with given firing periods, without a warehouse."""

from collections.abc import Iterable, Sequence

import numpy as np
from barograph.contract import Contract

from barograph_server.alerts.routing import branch
from barograph_server.alerts.rule import Rule
from barograph_server.alerts.rules import rules_of
from barograph_server.alerts.settings import AlertSettings, Integration, Route
from barograph_server.alerts.simulator import Changes, Replay, Simulation, Transition, dispatch
from barograph_server.alerts.simulator.simulate import alert_of

HOUR_S = 3600
ON_CALL = AlertSettings(
    contact_points={"on-call": (Integration("slack", "SLACK"),), "tickets": (Integration("webhook", "TICKETS"),)},
    default="tickets",
    platform="tickets",
    routes={"shop": Route("on-call", "tickets")},
    configured=True,
)


def rule_of(contract: Contract, name: str, key: str = "") -> Rule:
    return next(
        rule for rule in rules_of(contract, ON_CALL) if rule.name == name and (not key or key in rule.signal.keys)
    )


def simulation(
    rules: Sequence[Rule], periods: Iterable[tuple[Rule, str, int, int]], until: int, settings: AlertSettings = ON_CALL
) -> Simulation:
    by_rule: dict[str, list[Transition]] = {}
    keys: dict[str, set[str]] = {}
    alerts, one = [], np.ones(1)
    changes = Changes(np.zeros(1, np.int64), one, 0.9 * one, 1.1 * one, 0 * one, one)
    for rule, key, start, end in periods:
        by_rule.setdefault(rule.uid, []).extend(
            [
                Transition(start - rule.every_s, key, "Normal", "Pending"),
                Transition(start, key, "Pending", "Alerting"),
                Transition(end - rule.every_s, key, "Alerting", "Recovering"),
                Transition(end, key, "Recovering", "Normal"),
            ]
        )
        keys.setdefault(rule.uid, set()).add(key)
        alerts.append(alert_of(rule, key, start, end))
    replays = tuple(
        Replay(
            rule,
            0,
            until,
            dict.fromkeys(keys.get(rule.uid, ()), changes),
            sorted(by_rule.get(rule.uid, []), key=lambda each: each.at),
        )
        for rule in rules
    )
    return Simulation(0, until, replays, tuple(dispatch(alerts, branch(rules, settings), settings, until)), ())
