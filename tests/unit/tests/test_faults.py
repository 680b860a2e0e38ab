import random
from collections import Counter
from typing import Any

import pytest
from barograph.guard.health import HealthState, ModelHealth

from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.faults.guard_oracle import Limits, Planted, Record, check_client, check_order, check_topic
from tests.faults.guarded_serving import Line
from tests.faults.oracle import Verdict
from tests.faults.shadow import check_submitted
from tests.fuzz.corpus import read_corpus
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import GOOD, TARGETS, run
from tests.reference.shadow_pairs import differences, joined
from tests.support.warehouse import row

T0 = 1_800_000_000
PLANTED = Planted(T0, (T0 + 100.0, T0 + 200.0), T0 + 150.0)
LIMITS = Limits(every_s=10, blind_after_s=20, recover_s=2, stale_s=30, slack_s=5)


def test_missing_rows_and_duplicates_are_counted_separately() -> None:
    verdict = Verdict()
    verdict.rows("rows", Counter({"a": 1, "b": 1}), ["a", "b"])
    verdict.number("counts", "a", 2, 2)
    assert verdict.holds
    verdict.rows("rows", Counter({"a": 2}), {"a": 1, "b": 1})
    verdict.number("counts", "a", 3, 1)
    assert (verdict.lost, verdict.doubled) == ({"rows": 1}, {"rows": 1, "counts": 2})
    assert not verdict.holds


def test_a_serving_process_that_was_not_killed_loses_nothing() -> None:
    for lost, counted, difference in (
        ("r0", {"answered": 1}, "predictions of serving processes"),
        ("r1", {"answered": 1}, None),
        (None, {"answered": 2}, "outcomes of a shadow of (0, 'answered')"),
        (None, {"answered": 1, "error": 1}, "outcomes of a shadow of (0, 'error')"),
    ):
        events = [{"id": id, "error": ""} for id in ("r0", "r1")]
        rows = {"predictions": [each for each in events if each["id"] != lost], "shadow_predictions": events}
        verdict = Verdict()
        check_submitted(verdict, rows, [(0, 0), (1, 1)], {0: counted}, lambda _: None)
        assert verdict.holds == (difference is None)
        assert difference is None or any(difference in each for each in verdict.wrong)


def test_every_difference_of_pairs_is_reported() -> None:
    event = row("predictions", id="a", score=0.5, latency_ms=8.0, scores={}, metrics={}, context={"country": "de"})
    rows = {
        "predictions": [{**event, "version": "3"}, {**event, "id": "b", "version": "3"}],
        "shadow_predictions": [{**event, "version": "4", "score": 0.25}],
        "labels": [],
    }
    target = joined(rows)
    whole = target["all", 0]
    assert differences(target, target) == []
    assert (whole["requests"], whole["pairs"], whole["missing"]) == (2, 1, {"no-event": 1})
    for name, value in (("pairs", 2), ("missing", {"timeout": 1}), ("score_difference", 0.25), ("requests", 3)):
        changed = {**target, ("all", 0): {**whole, name: value}}
        assert any(name in each for each in differences(changed, target)), name
    assert "is missing" in differences({}, target)[0]


def record(at_s: int, state: HealthState, guard: str = "g1", sequence: int | None = None) -> Record:
    at_ms = (T0 + at_s) * 1000
    times: dict[str, Any] = {"since_ms": at_ms, "at_ms": at_ms, "evaluated_at_ms": at_ms}
    sequence = at_ms if sequence is None else sequence
    return Record(T0 + at_s, ModelHealth(model="m", state=state, sequence=sequence, guard=guard, **times))


def topic(*changes: tuple[int, HealthState]) -> list[Record]:
    """A record every 5 seconds until 240 s after the drift, with the state since the latest change."""
    return [
        record(at_s, next(state for since_s, state in reversed(changes) if since_s <= at_s))
        for at_s in range(changes[0][0], 240, 5)
    ]


AS_PLANTED = topic((5, "degraded"), (125, "unknown"), (205, "degraded"), (210, "healthy"))


def test_states_that_nothing_explains_are_noticed() -> None:
    def wrong(records: list[Record]) -> list[str]:
        verdict = Verdict()
        check_topic(verdict, records, PLANTED, LIMITS)
        return verdict.wrong

    assert wrong(AS_PLANTED) == []
    cases: dict[str, list[tuple[int, HealthState]]] = {
        "flaps": [(50, "healthy"), (55, "degraded"), (125, "unknown"), (205, "degraded"), (210, "healthy")],
        "never unknown": [(205, "degraded"), (210, "healthy")],
        "never recovers": [(125, "unknown"), (205, "degraded")],
        "unknown too soon": [(110, "unknown"), (205, "degraded"), (210, "healthy")],
        "unknown too late": [(140, "unknown"), (205, "degraded"), (210, "healthy")],
        "known too soon": [(125, "unknown"), (190, "degraded"), (210, "healthy")],
    }
    for name, changes in cases.items():
        assert wrong(topic((5, "degraded"), *changes)), name


def test_records_of_two_leaders_are_noticed() -> None:
    verdict = Verdict()
    late = record(60, "degraded", "g2", sequence=(T0 + 54) * 1000)
    check_order(verdict, [record(55, "degraded"), late, record(65, "degraded")])
    assert verdict.wrong


def test_a_serving_process_must_see_what_the_topic_says() -> None:
    def wrong(states: list[str], answers: list[str]) -> list[str]:
        verdict = Verdict()
        lines = [Line(0.0, "state", state) for state in states] + [Line(0.0, "answer", each) for each in answers]
        check_client(verdict, lines, AS_PLANTED, 30)
        return verdict.wrong

    followed, answers = ["degraded", "unknown", "degraded", "healthy"], ["primary", "fallback", "primary"]
    assert wrong(followed, answers) == []
    assert wrong(["degraded", "healthy"], answers)
    assert wrong([*followed, "unknown", "healthy"], answers)
    assert wrong(followed, [*answers, "fallback", "primary"])


MUTATIONS = 100
SEED = 20261126


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Mutate an input: flip bits, delete or repeat bytes, or append bytes of another input."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + rng.randint(1, 8)]
            case 2:
                changed[at:at] = changed[at : at + rng.randint(1, 32)]
            case 3:
                changed[at:] = other[rng.randrange(len(other) + 1) :]
            case _:
                changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"NaN", b'"}]', b"\x00"))
    return bytes(changed)


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_of_the_corpus_and_mutated_ones_are_decoded_or_rejected(target: str) -> None:
    rng, corpus = random.Random(f"{SEED} {target}"), read_corpus(target)
    assert corpus, "the corpus has inputs of every target"
    inputs = [*seeds()[target], *corpus]
    for data in inputs:
        run(target, data)
    for _ in range(MUTATIONS):
        run(target, mutated(rng.choice(inputs), rng.choice(inputs), rng))


def test_a_fault_after_decoding_is_found_for_every_accepted_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FlushSummaries, "add", fail)
    with pytest.raises(ZeroDivisionError):
        run("predictions-json", GOOD)
    run("predictions-json", b"{")
