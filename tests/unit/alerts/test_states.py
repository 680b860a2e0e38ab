"""States of alert instances: each move that Grafana makes, and runs of evaluations that end as single steps do."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from barograph.contract.file import parse_contract
from hypothesis import given
from hypothesis import strategies as st

from barograph_server.alerts import AlertSettings, Rule, rules_of
from barograph_server.alerts.simulator import Changes, Instance, Zone, replay, zone_of
from barograph_server.alerts.simulator.history import runs
from tests.support.alerting import BINARY

MINUTE = 60
PLAIN = next(rule for rule in rules_of(parse_contract(BINARY), AlertSettings()) if rule.name == "psi-major")


def rule(**changes: Any) -> Rule:
    given_ = {"for_s": 15 * MINUTE, "keep_firing_for_s": 0, "every_s": MINUTE}
    return dataclasses.replace(PLAIN, **{**given_, **changes})


def moves(of: Rule, *zones: tuple[Zone, int]) -> list[tuple[int, str, str]]:
    """The states after runs of so many evaluations: (minute, state, reason)."""
    instance, at, result = Instance(of, "k"), 0, []
    for zone, n in zones:
        result += instance.advance(at, at + (n - 1) * MINUTE, zone)
        at += n * MINUTE
    return [(each.at // MINUTE, each.after, each.reason) for each in result]


def test_an_instance_fires_after_its_wait() -> None:
    assert moves(rule(), (Zone.FIRING, 15)) == [(0, "Pending", "")]
    assert moves(rule(), (Zone.FIRING, 16)) == [(0, "Pending", ""), (15, "Alerting", "")]
    # A match that ends before is forgotten.
    result = moves(rule(), (Zone.FIRING, 15), (Zone.CLEAR, 1), (Zone.FIRING, 16))
    assert result == [(0, "Pending", ""), (15, "Normal", ""), (16, "Pending", ""), (31, "Alerting", "")]
    assert moves(rule(for_s=0), (Zone.FIRING, 3)) == [(0, "Alerting", "")]


def test_it_keeps_firing_and_begins_again_without_a_wait() -> None:
    keeps = rule(keep_firing_for_s=10 * MINUTE)
    result = moves(keeps, (Zone.FIRING, 16), (Zone.CLEAR, 5), (Zone.FIRING, 2), (Zone.CLEAR, 11))
    assert result[2:] == [(16, "Recovering", ""), (21, "Alerting", ""), (23, "Recovering", ""), (33, "Normal", "")]
    assert moves(rule(), (Zone.FIRING, 16), (Zone.CLEAR, 1))[-1] == (16, "Normal", "")


def test_between_the_thresholds_states_do_not_change() -> None:
    assert moves(rule(), (Zone.BETWEEN, 60)) == []
    assert moves(rule(), (Zone.FIRING, 1), (Zone.BETWEEN, 15))[-1] == (15, "Alerting", "")
    assert moves(rule(), (Zone.FIRING, 16), (Zone.BETWEEN, 99)) == moves(rule(), (Zone.FIRING, 16))
    keeps = rule(keep_firing_for_s=10 * MINUTE)
    result = moves(keeps, (Zone.FIRING, 16), (Zone.CLEAR, 1), (Zone.BETWEEN, 20))
    assert result[2:] == [(16, "Recovering", ""), (26, "Normal", "")], "a recovering alert becomes normal"


def test_a_row_that_is_missing_keeps_its_state_for_half_an_hour() -> None:
    assert rule().missing_evaluations == 30
    fired = (Zone.FIRING, 16)
    assert len(moves(rule(), fired, (Zone.MISSING, 29))) == 2
    assert moves(rule(), fired, (Zone.MISSING, 30))[-1] == (45, "Normal", "MissingSeries")
    back = moves(rule(), fired, (Zone.MISSING, 20), (Zone.FIRING, 5), (Zone.MISSING, 29), (Zone.FIRING, 1))
    assert len(back) == 2, "one row in between restarts the count"
    again = moves(rule(), fired, (Zone.MISSING, 40), (Zone.FIRING, 1))
    assert again[-1] == (56, "Pending", "")
    assert moves(rule(), (Zone.MISSING, 99)) == []


@pytest.mark.parametrize("zone", [Zone.NO_DATA, Zone.ERROR])
def test_missing_data_has_the_effect_that_the_rule_configures(zone: Zone) -> None:
    def of(how: str) -> Rule:
        return rule(**{"no_data" if zone == Zone.NO_DATA else "exec_err": how})

    reason = "NoData" if zone == Zone.NO_DATA else "Error"
    fired = (Zone.FIRING, 16)
    assert moves(of("Alerting"), (zone, 16)) == [(0, "Pending", reason), (15, "Alerting", reason)]
    assert moves(of("OK"), fired, (zone, 1))[-1] == (16, "Normal", reason)
    assert len(moves(of("KeepLast"), fired, (zone, 99))) == 2
    assert moves(of("KeepLast"), (zone, 99)) == []
    assert moves(of("KeepLast"), (Zone.FIRING, 1), (zone, 15))[-1] == (15, "Alerting", "KeepLast")
    own = "NoData" if zone == Zone.NO_DATA else "Error"
    assert len(moves(of(own), fired, (zone, 29))) == 2, "an instance of its own tells"
    assert moves(of(own), fired, (zone, 30))[-1] == (45, "Normal", "MissingSeries")


def test_lines_are_passed_not_touched() -> None:
    above = rule()
    assert [zone_of(above, value) for value in (0.1, 0.15, 0.2, 0.201, float("nan"))] == [
        *(Zone.CLEAR, Zone.BETWEEN, Zone.BETWEEN, Zone.FIRING, Zone.BETWEEN)
    ]
    auc = next(each for each in rules_of(parse_contract(BINARY), AlertSettings()) if each.part == "auc")
    assert [zone_of(auc, value) for value in (0.69, 0.7, 0.71)] == [Zone.FIRING, Zone.BETWEEN, Zone.CLEAR]


@given(
    st.lists(st.tuples(st.sampled_from(Zone), st.integers(1, 40)), max_size=12),
    st.sampled_from([0, 60, 300, 900]),
    st.sampled_from([0, 60, 600]),
    st.sampled_from(["OK", "KeepLast", "Alerting", "NoData"]),
    st.sampled_from(["OK", "KeepLast", "Alerting", "Error"]),
)
def test_runs_end_as_single_steps_do(zones: Any, for_s: int, keep_s: int, no_data: Any, exec_err: Any) -> None:
    of = rule(for_s=for_s, keep_firing_for_s=keep_s, no_data=no_data, exec_err=exec_err)
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
    of, at, rows = rule(), 0, []
    for minutes, value, growth in steps:
        rows.append((at, value, growth))
        at += minutes * MINUTE
    own, start, end = changes(*rows), first * MINUTE, at + 60 * MINUTE
    result = {
        moment: zone for begin, last, zone in runs(of, own, start, end) for moment in range(begin, last + 1, of.every_s)
    }
    assert result == {moment: zone_of(of, own.numbers(moment)["A"]) for moment in range(start, end + 1, of.every_s)}


def test_a_replay_returns_episodes() -> None:
    of = rule(for_s=0, keep_firing_for_s=300)
    rows = changes((0, 0.0, 0), (600, 0.5, 0), (1200, 0.0, 0), (7200, 0.5, 0))
    done = replay(of, {"amount": rows}, 0, 9000)
    assert [(each.key, each.start, each.end) for each in done.episodes] == [
        *(("amount", 600, 1500), ("amount", 7200, None))
    ]
    assert done.state("amount", 1300) == "Recovering"
    assert done.state("amount", 599) == "Normal"
