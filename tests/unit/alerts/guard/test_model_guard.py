"""The states of a model: degraded, healthy again, unknown, and across restarts of the guard."""

from __future__ import annotations

import msgspec
from barograph.contract import Fallback
from barograph.guard.health import FiringState, HealthReason, ModelHealth, RuleProgress, decode_health, encode_health

from barograph_server.alerts.guard.model_guard import BLIND_AFTER_S, ActiveInstance, ModelGuard, is_news

FALLBACK = Fallback(hold_s=30, recover_s=100)
BLIND_TEXT = "ClickHouse does not answer."


def drift(state: FiringState = "Alerting") -> ActiveInstance:
    return ActiveInstance(
        RuleProgress(uid="u", key="temp", state=state, since_s=0),
        HealthReason(rule="psi-major", field="temp", value=0.5, text="PSI of temp is 0.5."),
    )


def guard(last: ModelHealth | None = None, fallback: Fallback = FALLBACK) -> ModelGuard:
    return ModelGuard("m", fallback, "g1", last)


def states(model: ModelGuard, times: range, active: list[ActiveInstance], blind: str = "") -> list[str]:
    return [model.evaluate(now, active, blind).state for now in times]


def test_a_rule_must_fire_for_the_hold() -> None:
    model = guard()
    assert states(model, range(1000, 1030, 10), [drift()]) == ["healthy"] * 3
    record = model.evaluate(1030, [drift()], "")
    assert (record.state, record.since_ms) == ("degraded", 1_030_000)
    assert [(each.rule, each.field, each.since_ms) for each in record.reasons] == [("psi-major", "temp", 1_000_000)]


def test_a_pending_rule_neither_degrades_nor_lets_recover() -> None:
    model = guard(fallback=Fallback(recover_s=100))
    assert states(model, range(1000, 1500, 100), [drift("Pending")]) == ["healthy"] * 5
    assert model.evaluate(1500, [drift()], "").state == "degraded"
    assert states(model, range(1600, 2000, 100), [drift("Pending")]) == ["degraded"] * 4


def test_a_model_recovers_after_an_uninterrupted_quiet_time() -> None:
    model = guard(fallback=Fallback(recover_s=100))
    model.evaluate(1000, [drift()], "")
    assert states(model, range(1010, 1100, 30), []) == ["degraded"] * 3
    model.evaluate(1100, [drift("Recovering")], "")
    assert states(model, range(1110, 1210, 50), []) == ["degraded"] * 2
    record = model.evaluate(1210, [], "")
    assert (record.state, record.since_ms) == ("healthy", 1_210_000)


def test_blindness_becomes_unknown_and_the_state_before_returns() -> None:
    model = guard(fallback=Fallback(recover_s=100))
    model.evaluate(1000, [drift()], "")
    latest = model.evaluate(1010, [], "")
    assert states(model, range(1020, 1020 + BLIND_AFTER_S, 20), [], BLIND_TEXT) == ["degraded"] * 3
    record = model.evaluate(1020 + BLIND_AFTER_S, [], BLIND_TEXT)
    assert (record.state, record.known_state, record.since_ms) == ("unknown", "degraded", 1_080_000)
    assert record.evaluated_at_ms == latest.evaluated_at_ms, "nothing was evaluated since"
    assert [each.text for each in record.reasons] == [BLIND_TEXT]
    assert states(model, range(1100, 1200, 50), []) == ["degraded"] * 2, "the quiet time starts over"
    assert model.evaluate(1200, [], "").state == "healthy"


def test_a_restarted_guard_gives_the_same_states() -> None:
    """Every record, decoded, is a point at which another guard may continue."""
    script: list[tuple[list[ActiveInstance], str]] = [
        *[([], "")] * 2,
        *[([drift("Pending")], "")] * 2,
        *[([drift()], "")] * 6,
        *[([], BLIND_TEXT)] * 9,
        *[([], "")] * 6,
        *[([drift("Recovering")], "")] * 2,
        *[([], "")] * 12,
    ]
    steady = guard()
    restarted = guard()
    for i, (active, blind) in enumerate(script):
        now = 1000 + 10 * i
        expected = steady.evaluate(now, active, blind)
        record = restarted.evaluate(now, active, blind)
        assert record == expected
        restarted = guard(decode_health(encode_health(record)))
    assert expected.state == "healthy"
    assert expected.sequence == 1_000_000 + len(script) - 1


def test_the_numbers_of_records_grow_even_if_the_topic_is_created_again() -> None:
    before = guard()
    before.evaluate(1000, [], "")
    newest = before.evaluate(1010, [], "")
    assert guard().evaluate(1011, [], "").sequence > newest.sequence


def test_a_guard_after_one_whose_clock_was_ahead_waits_no_longer_than_the_contract_says() -> None:
    fallback = Fallback(hold_s=30, recover_s=100)
    ahead = guard(fallback=fallback)
    assert ahead.evaluate(9000, [drift()], "").state == "healthy"
    assert states(guard(ahead.last, fallback), range(1000, 1031, 10), [drift()])[-2:] == ["healthy", "degraded"]
    ahead.evaluate(9030, [drift()], "")
    quiet = ahead.evaluate(9040, [], "")
    assert states(guard(quiet, fallback), range(1000, 1101, 50), []) == ["degraded", "degraded", "healthy"]
    blind = ahead.evaluate(9050, [], BLIND_TEXT)
    behind = guard(blind, fallback)
    assert states(behind, range(1000, 1001 + BLIND_AFTER_S, 30), [], BLIND_TEXT) == ["degraded", "degraded", "unknown"]


def test_records_are_news_only_if_their_content_changed() -> None:
    model = guard(fallback=Fallback(recover_s=100))
    first = model.evaluate(1000, [drift()], "")
    later = model.evaluate(1010, [drift()], "")
    assert is_news(first, None)
    assert not is_news(later, first)
    assert is_news(msgspec.structs.replace(later, when_unknown="degrade"), first)
    assert is_news(model.evaluate(1020, [], ""), later)
