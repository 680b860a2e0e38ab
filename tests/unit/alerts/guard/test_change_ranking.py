"""The ranking of changes by source, time and onset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from barograph_server.alerts.guard.change_ranking import LEAD, rank_changes
from barograph_server.warehouse.governance.changes import Change
from barograph_server.warehouse.governance.major_verdicts import OnsetInterval

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
ONSET = OnsetInterval(AT, AT - timedelta(minutes=10), AT + timedelta(minutes=10))
FLEET = frozenset({"fleet"})


def change(minutes: float, source: str = "", model: str = "m", subject: str = "job") -> Change:
    time = AT + timedelta(minutes=minutes)
    return Change(time, "deploy", model, subject, "", "", source, "", "", "")


def test_a_change_is_judged_by_source_and_time() -> None:
    for minutes, source, model, expected in (
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
    ):
        (ranked,) = rank_changes([change(minutes, source, model)], ONSET, FLEET)
        assert (ranked.relation, ranked.timing, ranked.likelihood) == expected, (minutes, source, model)
    (ranked,) = rank_changes([change(0, "weather")], ONSET, frozenset())
    assert (ranked.relation, ranked.likelihood) == ("unknown", "possible"), "the field declares no source"


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


def test_the_first_traffic_of_a_version_concerns_its_own_verdicts() -> None:
    first = Change(AT, "version", "m", "", "", "2", "", "", "", "")
    for version, likelihood in (("2", "likely"), ("1", "possible")):
        (ranked,) = rank_changes([first], ONSET, FLEET, version)
        assert ranked.likelihood == likelihood
