"""The states that the guard would publish over the replayed event time.

The guard evaluates rules when they are due and follows each model every second. Its state can only change when an
instance changes its state, and when `fallback.hold_s` or `recover_s` after that has passed, so only these times are
evaluated.
"""

from collections import defaultdict

from barograph.contract import Contract
from barograph.guard.health import FiringState, ModelHealth

from barograph_server.alerts.guard.degrading import degrading_instances
from barograph_server.alerts.guard.model_guard import ModelGuard
from barograph_server.alerts.simulator import Replay, Simulation
from barograph_server.alerts.simulator.states import Transition
from barograph_server.alerts.text import words
from barograph_server.alerts.wall_clock import LiveInstance

INSTANCE = "drill"
"""The name of the guard in its records."""


def guard_states(contract: Contract, simulation: Simulation) -> list[ModelHealth]:
    """Return the first record of each state of a model, in order of time."""
    transitions: defaultdict[int, list[tuple[Replay, Transition]]] = defaultdict(list)
    for replay in simulation.replays:
        if replay.rule.model == contract.model and replay.rule.name in contract.fallback.rules:
            for change in replay.transitions:
                transitions[change.at].append((replay, change))
    waits = (0, contract.fallback.hold_s, contract.fallback.recover_s)
    times = {simulation.since} | {at + wait for at in transitions for wait in waits}
    guard = ModelGuard(contract.model, contract.fallback, INSTANCE)
    active: dict[tuple[str, str], LiveInstance] = {}
    records: list[ModelHealth] = []
    for at in sorted(time for time in times if time <= simulation.until):
        for replay, change in transitions.get(at, ()):
            active.pop((replay.rule.uid, change.key), None)
            if change.after in ("Pending", "Alerting", "Recovering"):
                active[replay.rule.uid, change.key] = _instance(replay, change, change.after)
        record = guard.evaluate(at, degrading_instances(contract, active.values()), "")
        if not records or records[-1].state != record.state:
            records.append(record)
    return records


def _instance(replay: Replay, change: Transition, state: FiringState) -> LiveInstance:
    rule, changes = replay.rule, replay.changes[change.key]
    numbers = changes.numbers(change.at)
    labels = changes.details(change.at) | ({rule.signal.label: change.key} if rule.signal.label else {})
    summary = words(rule.summary, labels, numbers)
    return LiveInstance(rule, change.key, state, change.at, numbers, summary)
