import dataclasses
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from barograph.contract.file import parse_contract
from hypothesis import given
from hypothesis import strategies as st

from barograph_server.alerts import AlertSettings, Rule, rules_for, rules_of
from barograph_server.alerts.incidents import FiringChange, Incident, IncidentLog, firing_changes, fold
from barograph_server.alerts.simulator import Changes, Instance, Zone, replay, zone_of
from barograph_server.alerts.simulator.history import runs
from tests.support.alerting import BINARY

MINUTE = 60
OF_BINARY = rules_of(parse_contract(BINARY), AlertSettings())
PLAIN = next(each for each in OF_BINARY if each.name == "psi-major")


def plain_rule(**changes: Any) -> Rule:
    return dataclasses.replace(PLAIN, **{"for_s": 15 * MINUTE, "keep_firing_for_s": 0, "every_s": MINUTE} | changes)


def moves(of: Rule, *zones: tuple[Zone, int]) -> list[tuple[int, str, str]]:
    """The states after runs of so many evaluations: (minute, state, reason)."""
    instance, at, result = Instance(of, "k"), 0, []
    for zone, n in zones:
        result += instance.advance(at, at + (n - 1) * MINUTE, zone)
        at += n * MINUTE
    return [(each.at // MINUTE, each.after, each.reason) for each in result]


def test_an_instance_fires_after_its_wait() -> None:
    assert moves(plain_rule(), (Zone.FIRING, 15)) == [(0, "Pending", "")]
    assert moves(plain_rule(), (Zone.FIRING, 16)) == [(0, "Pending", ""), (15, "Alerting", "")]
    # A match that ends before is forgotten.
    result = moves(plain_rule(), (Zone.FIRING, 15), (Zone.CLEAR, 1), (Zone.FIRING, 16))
    assert result == [(0, "Pending", ""), (15, "Normal", ""), (16, "Pending", ""), (31, "Alerting", "")]
    assert moves(plain_rule(for_s=0), (Zone.FIRING, 3)) == [(0, "Alerting", "")]


def test_it_keeps_firing_and_begins_again_without_a_wait() -> None:
    keeps = plain_rule(keep_firing_for_s=10 * MINUTE)
    result = moves(keeps, (Zone.FIRING, 16), (Zone.CLEAR, 5), (Zone.FIRING, 2), (Zone.CLEAR, 11))
    assert result[2:] == [(16, "Recovering", ""), (21, "Alerting", ""), (23, "Recovering", ""), (33, "Normal", "")]
    assert moves(plain_rule(), (Zone.FIRING, 16), (Zone.CLEAR, 1))[-1] == (16, "Normal", "")


def test_between_the_thresholds_states_do_not_change() -> None:
    assert moves(plain_rule(), (Zone.BETWEEN, 60)) == []
    assert moves(plain_rule(), (Zone.FIRING, 1), (Zone.BETWEEN, 15))[-1] == (15, "Alerting", "")
    assert moves(plain_rule(), (Zone.FIRING, 16), (Zone.BETWEEN, 99)) == moves(plain_rule(), (Zone.FIRING, 16))
    keeps = plain_rule(keep_firing_for_s=10 * MINUTE)
    result = moves(keeps, (Zone.FIRING, 16), (Zone.CLEAR, 1), (Zone.BETWEEN, 20))
    assert result[2:] == [(16, "Recovering", ""), (26, "Normal", "")], "a recovering alert becomes normal"


def test_a_row_that_is_missing_keeps_its_state_for_half_an_hour() -> None:
    assert plain_rule().missing_evaluations == 30
    fired = (Zone.FIRING, 16)
    assert len(moves(plain_rule(), fired, (Zone.MISSING, 29))) == 2
    assert moves(plain_rule(), fired, (Zone.MISSING, 30))[-1] == (45, "Normal", "MissingSeries")
    back = moves(plain_rule(), fired, (Zone.MISSING, 20), (Zone.FIRING, 5), (Zone.MISSING, 29), (Zone.FIRING, 1))
    assert len(back) == 2, "one row in between restarts the count"
    again = moves(plain_rule(), fired, (Zone.MISSING, 40), (Zone.FIRING, 1))
    assert again[-1] == (56, "Pending", "")
    assert moves(plain_rule(), (Zone.MISSING, 99)) == []


@pytest.mark.parametrize("zone", [Zone.NO_DATA, Zone.ERROR])
def test_missing_data_has_the_effect_that_the_rule_configures(zone: Zone) -> None:
    member, reason = ("no_data", "NoData") if zone == Zone.NO_DATA else ("exec_err", "Error")

    def of(how: str) -> Rule:
        return plain_rule(**{member: how})

    fired = (Zone.FIRING, 16)
    assert moves(of("Alerting"), (zone, 16)) == [(0, "Pending", reason), (15, "Alerting", reason)]
    assert moves(of("OK"), fired, (zone, 1))[-1] == (16, "Normal", reason)
    assert len(moves(of("KeepLast"), fired, (zone, 99))) == 2
    assert moves(of("KeepLast"), (zone, 99)) == []
    assert moves(of("KeepLast"), (Zone.FIRING, 1), (zone, 15))[-1] == (15, "Alerting", "KeepLast")
    assert len(moves(of(reason), fired, (zone, 29))) == 2, "an instance of its own tells"
    assert moves(of(reason), fired, (zone, 30))[-1] == (45, "Normal", "MissingSeries")


def test_lines_are_passed_not_touched() -> None:
    above = plain_rule()
    zones = [zone_of(above, value) for value in (0.1, 0.15, 0.2, 0.201, float("nan"))]
    assert zones == [Zone.CLEAR, Zone.BETWEEN, Zone.BETWEEN, Zone.FIRING, Zone.BETWEEN]
    auc = next(each for each in OF_BINARY if each.part == "auc")
    assert [zone_of(auc, value) for value in (0.69, 0.7, 0.71)] == [Zone.FIRING, Zone.BETWEEN, Zone.CLEAR]


@given(
    st.lists(st.tuples(st.sampled_from(Zone), st.integers(1, 40)), max_size=12),
    st.sampled_from([0, 60, 300, 900]),
    st.sampled_from([0, 60, 600]),
    st.sampled_from(["OK", "KeepLast", "Alerting", "NoData"]),
    st.sampled_from(["OK", "KeepLast", "Alerting", "Error"]),
)
def test_runs_end_as_single_steps_do(zones: Any, for_s: int, keep_s: int, no_data: Any, exec_err: Any) -> None:
    of = plain_rule(for_s=for_s, keep_firing_for_s=keep_s, no_data=no_data, exec_err=exec_err)
    single = [(zone, 1) for zone, n in zones for _ in range(n)]
    assert moves(of, *zones) == moves(of, *single)


def changes(*rows: tuple[int, float, float]) -> Changes:
    at, value, growth = (np.array(column) for column in zip(*rows, strict=True))
    nothing = np.full(len(at), np.nan)
    return Changes(at.astype(np.int64), value.astype(float), nothing, nothing, growth.astype(float), nothing)


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from([0.0, 0.16, 0.3]), st.sampled_from([0, 1e-3, -1e-3])), min_size=1
    ),
    st.integers(0, 40),
)
def test_a_history_is_cut_where_its_zone_changes(steps: Any, first: int) -> None:
    of, at, rows = plain_rule(), 0, []
    for minutes, value, growth in steps:
        rows.append((at, value, growth))
        at += minutes * MINUTE
    own, start, end = changes(*rows), first * MINUTE, at + 60 * MINUTE
    result: dict[int, Zone] = {}
    for begin, last, zone in runs(of, own, start, end):
        result |= dict.fromkeys(range(begin, last + 1, of.every_s), zone)
    assert result == {moment: zone_of(of, own.numbers(moment)["A"]) for moment in range(start, end + 1, of.every_s)}


def test_a_replay_returns_episodes() -> None:
    of = plain_rule(for_s=0, keep_firing_for_s=300)
    rows = changes((0, 0.0, 0), (600, 0.5, 0), (1200, 0.0, 0), (7200, 0.5, 0))
    done = replay(of, {"amount": rows}, 0, 9000)
    episodes = [(each.key, each.start, each.end) for each in done.episodes]
    assert episodes == [("amount", 600, 1500), ("amount", 7200, None)]
    assert done.state("amount", 1300) == "Recovering"
    assert done.state("amount", 599) == "Normal"


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
RULES: dict[tuple[str, str], Rule] = {
    (rule.name, rule.severity): rule for rule in rules_for([CONTRACT], AlertSettings())
}


def fired(name: str, key: str, start: int, end: int | None = None, severity: str = "page") -> list[FiringChange]:
    return list(firing_changes(RULES[name, severity], key, start, end))


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


NULLS = [fired("null-rate", field, hour * HOUR) for field, hour in (("a", 0), ("b", 1), ("c", 5))]
ONSETS: dict[str, tuple[list[list[FiringChange]], list[str]]] = {
    "together": ([*NULLS, fired("null-rate", "u", 9 * HOUR, severity="ticket")], ["data quality of a, b, c and u"]),
    "apart": ([NULLS[0], fired("null-rate", "b", DAY + 1)], ["data quality of a", "data quality of b"]),
    # The drift windows are a week long: the same shift may exceed the thresholds a week apart.
    "a week": ([fired("psi-major", "a", 0), fired("psi-major", "b", 7 * DAY)], ["drift of a and b"]),
    "more": ([fired("psi-major", "a", 0), fired("psi-major", "b", 7 * DAY + 1)], ["drift of a", "drift of b"]),
    "a chain": (
        [fired("psi-major", field, day * DAY) for field, day in (("a", 0), ("b", 6), ("c", 12))],
        ["drift of a and b", "drift of c"],
    ),
    "nulls and drift": ([NULLS[0], fired("psi-major", "a", 5 * DAY)], ["data quality of a; drift of a"]),
}


@pytest.mark.parametrize(("changes", "expected"), ONSETS.values(), ids=ONSETS)
def test_fields_that_move_together_are_one_incident_that_names_them(changes: Any, expected: list[str]) -> None:
    assert titles(*changes) == expected


def test_a_source_that_fails_long_after_the_drift_pages_again() -> None:
    drift = [fired("psi-major", "a", 0), fired("psi-major", "b", DAY)]
    outage = [fired("null-rate", "a", 100 * DAY), fired("null-rate", "b", 100 * DAY + HOUR)]
    incidents = [(each.title, each.paged_at) for each in fold(change for each in (*drift, *outage) for change in each)]
    assert incidents == [("drift of a and b", 0), ("data quality of a and b", 100 * DAY)]


def test_a_ticket_pages_when_a_paging_instance_joins() -> None:
    changes = [*fired("null-rate", "u", 0, severity="ticket"), *fired("null-rate", "a", HOUR)]
    (incident,) = fold(changes)
    assert (incident.severity, incident.opened_at, incident.paged_at) == ("page", 0, HOUR)
    (ticket,) = fold(changes[:1])
    assert (ticket.severity, ticket.paged_at) == ("ticket", None)


def test_an_instance_prefers_an_incident_that_has_paged() -> None:
    drift, page = fired("psi-major", "u", 0, severity="ticket"), fired("psi-major", "a", 8 * DAY)
    outside = fired("range-rate", "u", 8 * DAY, severity="ticket")
    assert titles(drift, page, outside) == ["drift of u", "drift of a and u"]


def test_models_never_share_an_incident() -> None:
    other = dataclasses.replace(RULES["psi-major", "page"], model="n")
    incidents = fold([*fired("psi-major", "a", 0), *firing_changes(other, "a", 0, None)])
    assert [each.model for each in incidents] == ["m", "n"]


def test_every_rule_with_a_window_keeps_its_incident_open_for_the_short_one() -> None:
    psi, nulls, silence = (RULES[name, "page"] for name in ("psi-major", "null-rate", "silence"))
    assert [(each.onset_s, each.quiet_s) for each in (psi, nulls)] == [(7 * DAY, DAY), (DAY, DAY)]
    assert (silence.quiet_s, RULES["cbpe-drop", "ticket"].quiet_s) == (0, DAY)


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
