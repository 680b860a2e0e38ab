"""The ranking of changes by source, time and onset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from warehouse.change_ranking import LEAD, Change, OnsetInterval, rank_changes

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
ONSET = OnsetInterval(AT, AT - timedelta(minutes=10), AT + timedelta(minutes=10))
FLEET = frozenset({"fleet"})


def change(minutes: float, source: str = "", model: str = "m", subject: str = "job") -> Change:
    time = AT + timedelta(minutes=minutes)
    return Change(time, "deploy", model, subject, "", "", source, "", "", "")


@pytest.mark.parametrize(
    ("minutes", "source", "model", "expected"),
    [
        (0, "fleet", "", ("own source", "at onset", "likely")),
        (10, "fleet", "", ("own source", "at onset", "likely")),
        (11, "fleet", "", ("own source", "after", "unlikely")),
        (-10 - LEAD.total_seconds() / 60, "fleet", "", ("own source", "at onset", "likely")),
        (-11 - LEAD.total_seconds() / 60, "fleet", "", ("own source", "before", "possible")),
        (0, "", "m", ("model", "at onset", "likely")),
        (-600, "", "m", ("model", "before", "unlikely")),
        (0, "", "", ("unknown", "at onset", "possible")),
        (0, "weather", "", ("other source", "at onset", "unlikely")),
        (0, "weather", "m", ("other source", "at onset", "unlikely")),
    ],
)
def test_a_change_is_judged_by_source_and_time(
    minutes: float, source: str, model: str, expected: tuple[str, str, str]
) -> None:
    (ranked,) = rank_changes([change(minutes, source, model)], ONSET, FLEET)
    assert (ranked.relation, ranked.timing, ranked.likelihood) == expected


def test_a_source_is_unknown_if_the_field_declares_none() -> None:
    (ranked,) = rank_changes([change(0, "weather")], ONSET, frozenset())
    assert (ranked.relation, ranked.likelihood) == ("unknown", "possible")


def test_the_nearest_change_of_the_own_source_comes_first() -> None:
    changes = [
        change(5, "", "m", "model"),
        change(9, "fleet", "", "second"),
        change(2, "fleet", "", "first"),
        change(0, "weather", "", "weather"),
        change(1, "", "", "other"),
    ]
    ranked = rank_changes(changes, ONSET, FLEET)
    assert [each.change.subject for each in ranked] == ["first", "second", "model", "other", "weather"]


def test_without_an_onset_no_change_is_likely_and_the_latest_comes_first() -> None:
    changes = [change(-5, "fleet", "", "old"), change(20, "fleet", "", "new"), change(0, "", "m", "model")]
    ranked = rank_changes(changes, None, FLEET)
    assert [each.change.subject for each in ranked] == ["new", "old", "model"]
    assert {each.likelihood for each in ranked} == {"possible"}
    assert {each.timing for each in ranked} == {"unknown"}
