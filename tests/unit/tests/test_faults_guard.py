"""The oracle of the scenario `guard`: it accepts what was planted, and notices flapping, lateness and two leaders."""

from __future__ import annotations

import msgspec
import pytest
from barograph.guard.health import HealthState, ModelHealth

from tests.faults.guard_oracle import Limits, Planted, Record, check_client, check_order, check_topic, client_states
from tests.faults.guarded_serving import Line
from tests.faults.oracle import Verdict

T0 = 1_800_000_000
PLANTED = Planted(T0, (T0 + 100.0, T0 + 200.0), T0 + 150.0)
LIMITS = Limits(every_s=10, blind_after_s=20, recover_s=2, stale_s=30, slack_s=5)


def record(at_s: int, state: HealthState, guard: str = "g1", sequence: int | None = None) -> Record:
    at_ms = (T0 + at_s) * 1000
    health = ModelHealth(
        model="m",
        state=state,
        since_ms=at_ms,
        at_ms=at_ms,
        evaluated_at_ms=at_ms,
        sequence=at_ms if sequence is None else sequence,
        guard=guard,
    )
    return Record(T0 + at_s, health)


def topic(*changes: tuple[int, HealthState]) -> list[Record]:
    """A record every 5 seconds until 240 s after the drift, with the state since the latest change."""
    return [
        record(at_s, next(state for since_s, state in reversed(changes) if since_s <= at_s))
        for at_s in range(changes[0][0], 240, 5)
    ]


AS_PLANTED = topic((5, "degraded"), (125, "unknown"), (205, "degraded"), (210, "healthy"))


def topic_differences(records: list[Record]) -> list[str]:
    verdict = Verdict()
    check_topic(verdict, records, PLANTED, LIMITS)
    return verdict.wrong


def test_what_was_planted_has_no_difference() -> None:
    assert topic_differences(AS_PLANTED) == []


@pytest.mark.parametrize(
    "records",
    [
        topic(
            (5, "degraded"), (50, "healthy"), (55, "degraded"), (125, "unknown"), (205, "degraded"), (210, "healthy")
        ),
        topic((5, "degraded"), (205, "degraded"), (210, "healthy")),
        topic((5, "degraded"), (125, "unknown"), (205, "degraded")),
        topic((5, "degraded"), (110, "unknown"), (205, "degraded"), (210, "healthy")),
        topic((5, "degraded"), (140, "unknown"), (205, "degraded"), (210, "healthy")),
        topic((5, "degraded"), (125, "unknown"), (190, "degraded"), (210, "healthy")),
    ],
    ids=[
        "flaps",
        "never unknown",
        "never recovers",
        "unknown too soon",
        "unknown too late",
        "known too soon",
    ],
)
def test_states_that_nothing_explains_are_noticed(records: list[Record]) -> None:
    assert topic_differences(records)


def test_records_of_two_leaders_are_noticed() -> None:
    for late in (
        record(60, "degraded", "g2", sequence=(T0 + 60) * 1000 - 6_000),
        msgspec.structs.replace(record(60, "degraded", "g2").health, at_ms=(T0 + 50) * 1000),
    ):
        stale = late if isinstance(late, Record) else Record(T0 + 60.0, late)
        verdict = Verdict()
        check_order(verdict, [record(55, "degraded"), stale, record(65, "degraded")])
        assert verdict.wrong


def test_a_client_is_unknown_while_there_are_no_records() -> None:
    gap = [record(0, "degraded"), record(5, "degraded"), record(50, "degraded")]
    assert client_states(gap, 30) == {("degraded", "unknown", "degraded")}
    assert client_states(gap, 60) == {("degraded",)}
    assert client_states(gap, 45) == {("degraded",), ("degraded", "unknown", "degraded")}


def client_differences(states: list[str], answers: list[str]) -> list[str]:
    verdict = Verdict()
    lines = [Line(0.0, "state", state) for state in states] + [Line(0.0, "answer", each) for each in answers]
    check_client(verdict, lines, AS_PLANTED, 30)
    return verdict.wrong


def test_a_serving_process_must_see_what_the_topic_says() -> None:
    followed, answers = ["degraded", "unknown", "degraded", "healthy"], ["primary", "fallback", "primary"]
    assert client_differences(followed, answers) == []
    assert client_differences(["degraded", "healthy"], answers)
    assert client_differences([*followed, "unknown", "healthy"], answers)
    assert client_differences(followed, ["primary", "fallback", "primary", "fallback", "primary"])
