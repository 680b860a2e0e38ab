"""Incidents: which firing instances belong together, when an incident opens, pages and ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from barograph.contract.file import parse_contract
from hypothesis import given
from hypothesis import strategies as st

from barograph_server.alerts import AlertSettings, Rule, rules_for
from barograph_server.alerts.incidents import FiringChange, Incident, IncidentLog, firing_changes, fold

HOUR, DAY = 3600, 86_400
CONTRACT = parse_contract(
    """
contract: 1
model: m
pane: 1h
windows: [{length: 1d, hop: 1h}, {length: 7d, hop: 1d}]
fields:
  a: {type: float, critical: true, range: [0, 1]}
  b: {type: float, critical: true, range: [0, 1]}
  c: {type: float, critical: true, range: [0, 1]}
  u: {type: float, range: [0, 1]}
label: {type: bool, positive: true}
"""
)
RULES = {(rule.name, rule.severity): rule for rule in rules_for([CONTRACT], AlertSettings())}


def rule(name: str, severity: str = "page") -> Rule:
    return next(each for (known, level), each in RULES.items() if (known, level) == (name, severity))


def fired(name: str, key: str, start: int, end: int | None = None, severity: str = "page") -> list[FiringChange]:
    return list(firing_changes(rule(name, severity), key, start, end))


def titles(*changes: list[FiringChange]) -> list[str]:
    return [incident.title for incident in fold(change for each in changes for change in each)]


def test_values_out_of_range_join_the_drift_of_their_field_however_old_it_is() -> None:
    again = [fired("range-rate", "a", day * DAY, day * DAY + HOUR) for day in range(30, 90, 4)]
    (incident,) = fold(change for each in (fired("psi-major", "a", 0), *again) for change in each)
    assert (incident.title, incident.firings) == ("drift of a", 16)
    assert (incident.opened_at, incident.paged_at, incident.end) == (0, 0, None)


def test_an_instance_that_returns_within_one_window_is_the_same_incident() -> None:
    assert len(titles(fired("range-rate", "a", 0, HOUR), fired("range-rate", "a", HOUR + DAY, 3 * DAY))) == 1
    assert len(titles(fired("range-rate", "a", 0, HOUR), fired("range-rate", "a", HOUR + DAY + 1, 3 * DAY))) == 2


def test_fields_that_move_together_are_one_incident_that_names_them() -> None:
    nulls = [fired("null-rate", field, hour * HOUR) for field, hour in (("a", 0), ("b", 1), ("c", 5))]
    assert titles(*nulls, fired("null-rate", "u", 9 * HOUR, severity="ticket")) == ["data quality of a, b, c and u"]


def test_fields_that_move_at_different_times_are_different_incidents() -> None:
    assert titles(fired("null-rate", "a", 0), fired("null-rate", "b", DAY + 1)) == [
        "data quality of a",
        "data quality of b",
    ]
    # The drift windows are a week long: the same shift may exceed the thresholds a week apart.
    assert titles(fired("psi-major", "a", 0), fired("psi-major", "b", 7 * DAY)) == ["drift of a and b"]
    assert len(titles(fired("psi-major", "a", 0), fired("psi-major", "b", 7 * DAY + 1))) == 2


def test_a_chain_of_changes_is_not_one_incident() -> None:
    chain = [fired("psi-major", field, day * DAY) for field, day in (("a", 0), ("b", 6), ("c", 12))]
    assert titles(*chain) == ["drift of a and b", "drift of c"]


def test_nulls_and_drift_of_one_field_with_the_same_onset_are_one_incident() -> None:
    assert titles(fired("null-rate", "a", 0), fired("psi-major", "a", 5 * DAY)) == ["data quality of a; drift of a"]


def test_a_source_that_fails_long_after_the_drift_pages_again() -> None:
    drift = [fired("psi-major", "a", 0), fired("psi-major", "b", DAY)]
    outage = [fired("null-rate", "a", 100 * DAY), fired("null-rate", "b", 100 * DAY + HOUR)]
    incidents = fold(change for each in (*drift, *outage) for change in each)
    assert [(each.title, each.paged_at) for each in incidents] == [
        ("drift of a and b", 0),
        ("data quality of a and b", 100 * DAY),
    ]


def test_a_ticket_pages_when_a_paging_instance_joins() -> None:
    changes = [*fired("null-rate", "u", 0, severity="ticket"), *fired("null-rate", "a", HOUR)]
    (incident,) = fold(changes)
    assert (incident.severity, incident.opened_at, incident.paged_at) == ("page", 0, HOUR)
    (ticket,) = fold(changes[:1])
    assert (ticket.severity, ticket.paged_at) == ("ticket", None)


def test_an_instance_prefers_an_incident_that_has_paged() -> None:
    incidents = fold(
        [
            *fired("psi-major", "u", 0, severity="ticket"),
            *fired("psi-major", "a", 8 * DAY),
            *fired("range-rate", "u", 8 * DAY, severity="ticket"),
        ]
    )
    assert [each.title for each in incidents] == ["drift of u", "drift of a and u"]


def test_models_never_share_an_incident() -> None:
    other = dataclasses.replace(rule("psi-major"), model="n")
    incidents = fold([*fired("psi-major", "a", 0), *firing_changes(other, "a", 0, None)])
    assert [each.model for each in incidents] == ["m", "n"]


def test_every_rule_with_a_window_keeps_its_incident_open_for_the_short_one() -> None:
    psi, nulls, silence = rule("psi-major"), rule("null-rate"), rule("silence")
    assert [(each.onset_s, each.quiet_s) for each in (psi, nulls)] == [(7 * DAY, DAY), (DAY, DAY)]
    assert (silence.quiet_s, rule("cbpe-drop", "ticket").quiet_s) == (0, DAY)


# ------------------------------------------------------------------------------------------------ properties

_INSTANCES: list[tuple[Rule, str]] = [
    (each, key)
    for each in RULES.values()
    if each.name in ("psi-major", "range-rate", "null-rate", "cbpe-drop", "silence")
    for key in each.signal.keys
]


@st.composite
def histories(draw: st.DrawFn) -> list[FiringChange]:
    """Alternating starts and ends of several instances, in hours, in any order."""
    changes: list[FiringChange] = []
    for index in draw(st.lists(st.integers(0, len(_INSTANCES) - 1), unique=True, min_size=1, max_size=8)):
        times = sorted(draw(st.lists(st.integers(0, 24 * 30), unique=True, min_size=1, max_size=8)))
        changes += [FiringChange(at * HOUR, *_INSTANCES[index], i % 2 == 0) for i, at in enumerate(times)]
    return draw(st.permutations(changes))


def content(incidents: Sequence[Incident]) -> list[Any]:
    return [
        (each.model, each.name, each.opened_at, each.paged_at, [(key, own.periods) for key, own in members])
        for each in incidents
        for members in [each.members.items()]
    ]


@given(histories(), st.randoms())
def test_incidents_of_any_history(changes: list[FiringChange], random: Any) -> None:
    log = IncidentLog()
    ordered = sorted(changes, key=lambda change: change.at)
    for at, batch in groupby(ordered, key=lambda change: change.at):
        log.advance(batch)
        names = [incident.name for incident in log.incidents if incident.is_open(at)]
        assert len(names) == len(set(names)), "open incidents of one model have different names"
    incidents = fold(changes)
    assert content(log.incidents) == content(incidents), "evaluation by evaluation, and all at once"
    shuffled = list(changes)
    random.shuffle(shuffled)
    assert content(fold(shuffled)) == content(incidents), "the order within one evaluation does not matter"
    periods = []
    for incident in incidents:
        members = incident.members.values()
        assert incident.opened_at == min(member.since for member in members)
        pages = [member.since for member in members if member.rule.severity == "page"]
        assert incident.paged_at == min(pages, default=None), "it pages when its first paging instance fires"
        periods += [(key, start) for key, member in incident.members.items() for start, _ in member.periods]
    fired_at = [(change.member, change.at) for change in changes if change.is_firing]
    assert sorted(periods) == sorted(fired_at), "every firing period belongs to exactly one incident"
