"""What `model-health` and a serving process must show, computed from planted verdicts and outages alone."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from barograph.guard.health import ModelHealth

from tests.faults.guarded_serving import Line
from tests.faults.oracle import Verdict

STALE_TOLERANCE_S = 3.0
"""How exactly the age of a record decides: the client looks every 0.2 s, and a record travels and waits for a core."""


@dataclass(frozen=True)
class Record:
    appended_s: float
    """When the broker appended it, Unix seconds."""
    health: ModelHealth


@dataclass(frozen=True)
class Planted:
    drift_s: float
    """When the verdict was planted that makes the model degraded."""
    blind_s: tuple[float, float]
    calm_s: float
    """When the verdict was planted that ends the drift, while ClickHouse was unavailable to the guards."""


@dataclass(frozen=True)
class Limits:
    every_s: float
    """The interval of the rules: a change in ClickHouse is seen after at most so long."""
    blind_after_s: float
    recover_s: float
    stale_s: float
    slack_s: float
    """An evaluation in progress: its pause, one query that waits for its time limit, and one change of the leader."""


def check_topic(verdict: Verdict, records: Sequence[Record], planted: Planted, limits: Limits) -> None:
    verdict.compared["records of model-health"] += len(records)
    check_order(verdict, records)
    changes = [next(group) for _, group in itertools.groupby(records, key=lambda each: each.health.state)]
    began_s, ended_s = planted.blind_s
    if changes and changes[0].health.state == "healthy":
        # The first evaluation may precede the drift.
        changes = changes[1:]
    late_s = limits.every_s + limits.slack_s
    expected = [
        ("degraded", planted.drift_s, planted.drift_s + late_s),
        ("unknown", began_s + limits.blind_after_s, began_s + limits.blind_after_s + late_s),
        ("degraded", ended_s, ended_s + late_s),
        ("healthy", max(ended_s, planted.calm_s) + limits.recover_s, ended_s + limits.recover_s + late_s),
    ]
    states = [each.health.state for each in changes]
    verdict.compared["changes of a state"] += len(expected)
    if states != [state for state, _, _ in expected]:
        verdict.say(f"the states were {states}, and what was planted explains {[state for state, _, _ in expected]}")
        return
    for (state, earliest_s, latest_s), change in zip(expected[1:], changes[1:], strict=True):
        # `at_ms` has whole seconds: it may be one below the time of the cause.
        at_s = change.health.at_ms / 1000
        if not earliest_s - 1 <= at_s <= latest_s:
            verdict.say(
                f"{state} at {at_s - planted.drift_s:.1f} s after the drift, expected between "
                f"{earliest_s - planted.drift_s:.1f} and {latest_s - planted.drift_s:.1f}"
            )


def check_order(verdict: Verdict, records: Sequence[Record]) -> None:
    """Check that each record is newer than the one before: two leaders at once would write stale ones."""
    for before, after in itertools.pairwise(records):
        if after.health.sequence <= before.health.sequence:
            verdict.say(
                f"{after.health.guard} wrote sequence {after.health.sequence} after {before.health.guard} had written "
                f"{before.health.sequence}"
            )
        if after.health.at_ms < before.health.at_ms:
            verdict.say(
                f"{after.health.guard} wrote a record that is {before.health.at_ms - after.health.at_ms} ms older than "
                f"that of {before.health.guard} before it"
            )


def check_client(verdict: Verdict, journal: Sequence[Line], records: Sequence[Record], stale_s: float) -> None:
    states = [line.value for line in journal if line.what == "state"]
    verdict.compared["changes that a serving process saw"] += len(states)
    possible = client_states(records, stale_s)
    if tuple(states) not in possible:
        verdict.say(f"a serving process saw {states}, and the records explain {sorted(possible)}")
    answers = [line.value for line in journal if line.what == "answer"]
    # The first record may arrive before the first request.
    if answers not in (["primary", "fallback", "primary"], ["fallback", "primary"]):
        verdict.say(f"the answers of a serving process came from {answers}: the fallback must stay while it is unknown")


def client_states(records: Iterable[Record], stale_s: float) -> set[tuple[str, ...]]:
    """Return the sequences of states that a client may see; those at the limit of `stale_s` may be missing."""
    possible: set[tuple[str, ...]] = {()}
    before_s: float | None = None
    for record in records:
        gap_s = 0.0 if before_s is None else record.appended_s - before_s
        if gap_s > stale_s - STALE_TOLERANCE_S:
            stale = {_with(states, "unknown") for states in possible}
            possible = stale if gap_s > stale_s + STALE_TOLERANCE_S else possible | stale
        possible = {_with(states, record.health.state) for states in possible}
        before_s = record.appended_s
    # A client is unknown before its first record, which is no change.
    return {states[1:] if states[:1] == ("unknown",) else states for states in possible}


def _with(states: tuple[str, ...], state: str) -> tuple[str, ...]:
    return states if states[-1:] == (state,) else (*states, state)
