"""States at the few evaluated times equal those of a guard that evaluates every second."""

from __future__ import annotations

import random

import pytest
from barograph.contract import Fallback

from barograph_server.alerts.guard.degrading import degrading_instances
from barograph_server.alerts.guard.model_guard import ModelGuard
from barograph_server.alerts.rules import rules_of
from barograph_server.alerts.wall_clock import LiveInstance
from barograph_server.drills.guard_states import guard_states
from tests.support.drill_events import CONTRACT, without
from tests.support.drill_simulation import ON_CALL, rule_of, simulation


@pytest.mark.parametrize("seed", range(2))
def test_states_equal_those_of_every_second(seed: int) -> None:
    generator = random.Random(seed)
    contract = without(CONTRACT, fallback=Fallback(hold_s=generator.choice([0, 700]), recover_s=900))
    rules = rules_of(contract, ON_CALL)
    periods = []
    for rule, key in ((rule_of(contract, "psi-major", "x"), "x"), (rule_of(contract, "psi-major", "y"), "y"),
                      (rule_of(contract, "errors"), ""), (rule_of(contract, "silence"), "")):  # fmt: skip
        at = 0
        for _ in range(4):
            at += 1200 + 60 * generator.randrange(60)
            end = at + 600 + 60 * generator.randrange(40)
            periods.append((rule, key, at, end))
            at = end + 600
    replayed = simulation(rules, periods, 30_000)
    changes = sorted(
        ((change, replay.rule) for replay in replayed.replays for change in replay.transitions),
        key=lambda pair: pair[0].at,
    )
    guard = ModelGuard(contract.model, contract.fallback, "drill")
    active: dict[tuple[str, str], LiveInstance] = {}
    states: list[tuple[int, str]] = []
    for now in range(30_001):
        while changes and changes[0][0].at <= now:
            change, rule = changes.pop(0)
            active.pop((rule.uid, change.key), None)
            if change.after in ("Pending", "Alerting", "Recovering"):
                active[rule.uid, change.key] = LiveInstance(rule, change.key, change.after, change.at, {}, "")
        record = guard.evaluate(now, degrading_instances(contract, active.values()), "")
        if not states or states[-1][1] != record.state:
            states.append((now, record.state))
    assert [(each.at_ms // 1000, each.state) for each in guard_states(contract, replayed)] == states
    assert {"healthy", "degraded"} == {state for _, state in states}
