"""Notifications: recipients and times with groups, waits, repeats and mute timings."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from barograph_server.alerts import rules_for
from barograph_server.alerts.routing import PAGE_REPEAT_S, TICKET_REPEAT_S, branch
from barograph_server.alerts.settings import MuteTiming
from barograph_server.alerts.simulator import Alert, dispatch
from barograph_server.alerts.simulator.notify import destination, is_muted
from tests.support.alerting import ODD, contracts, installation

SETTINGS = installation()
TREE = branch(rules_for(contracts(), SETTINGS), SETTINGS)
HOUR, DAY = 3600, 86_400
T0 = int(datetime(2026, 3, 2, tzinfo=ZoneInfo("UTC")).timestamp())
"""A Monday."""
BERLIN = ZoneInfo("Europe/Berlin")


def alert(start: int, end: int | None, field: str = "x", **labels: str) -> Alert:
    known = {"source": "barograph", "model": "m", "severity": "page", "route": "#risk", "field": field}
    return Alert(tuple(sorted((known | labels).items())), T0 + start, None if end is None else T0 + end)


def sent(*alerts: Alert, until: int = 30 * DAY) -> list[tuple[int, str, int, int, bool]]:
    return [
        (each.at - T0, each.point, len(each.firing), len(each.resolved), each.is_repeat)
        for each in dispatch(alerts, TREE, SETTINGS, T0 + until)
    ]


def test_fields_of_one_model_are_one_message_and_models_and_severities_have_their_own() -> None:
    result = sent(alert(0, None, "a"), alert(10, None, "b"), alert(100, None, "c"), until=HOUR)
    assert result == [(30, "oncall", 2, 0, False), (330, "oncall", 3, 0, False)]
    result = sent(alert(0, None), alert(0, None, model="n"), alert(0, None, severity="ticket"), until=60)
    assert result == [(30, "oncall", 1, 0, False), (30, "oncall", 1, 0, False), (30, "tickets", 1, 0, False)]


def test_firing_alerts_repeat_and_pages_sooner_than_tickets() -> None:
    repeats = [at for at, _, _, _, is_repeat in sent(alert(0, None), until=DAY) if is_repeat]
    assert repeats[:2] == [30 + PAGE_REPEAT_S, 30 + 2 * PAGE_REPEAT_S]
    repeats = [at for at, _, _, _, again in sent(alert(0, None, severity="ticket"), until=3 * DAY) if again]
    assert repeats == [30 + TICKET_REPEAT_S, 30 + 2 * TICKET_REPEAT_S]


def test_an_alert_that_is_resolved_within_the_wait_is_not_sent_and_a_group_starts_again() -> None:
    assert sent(alert(0, 20)) == []
    assert sent(alert(0, HOUR), alert(40, 200, "b"))[0][2:4] == (1, 0)
    assert len(sent(alert(0, HOUR), alert(40, 200, "b"))) == 2
    assert [at for at, *_ in sent(alert(0, HOUR), alert(DAY, DAY + HOUR))] == [30, HOUR + 30, DAY + 30, DAY + HOUR + 30]


def test_a_mute_timing_holds_back_until_it_ends() -> None:
    sunday = int(datetime(2026, 3, 8, 1, 30, tzinfo=BERLIN).timestamp()) - T0
    end = int(datetime(2026, 3, 8, 5, tzinfo=BERLIN).timestamp()) - T0
    result = sent(alert(sunday, None, mute="retraining", model=ODD), until=sunday + DAY // 4)
    assert result[0][0] == pytest.approx(end, abs=300)
    assert result[0][0] >= end
    assert sent(alert(sunday, sunday + HOUR, mute="retraining", model=ODD), until=sunday + DAY) == []
    assert sent(alert(sunday, None, model=ODD), until=sunday + HOUR)[0][0] == sunday + 30


def test_rules_that_cannot_be_evaluated_alert_the_platform_team() -> None:
    labels = {"source": "barograph", "severity": "page", "route": "#risk", "alertname": "DatasourceError"}
    where = destination(TREE, labels)
    assert (where.point, where.group_by) == ("platform", ("alertname",))
    assert destination(TREE, {"source": "barograph", "route": "nowhere"}).point == "tickets"


def test_mute_timings_hold_by_local_clock() -> None:
    def at(day: int, hour: int, minute: int) -> int:
        return int(datetime(2026, 3, day, hour, minute, tzinfo=BERLIN).timestamp())

    zone = "Europe/Berlin"
    for timing, muted, told_at in (
        (MuteTiming(times=(("01:00", "05:00"),), timezone=zone), (2, 1, 0), (2, 5, 0)),
        (MuteTiming(weekdays=("monday:friday",), timezone=zone), (6, 23, 59), (7, 0, 0)),
        (MuteTiming(days_of_month=("-1",), timezone=zone), (31, 12, 0), (30, 12, 0)),
        (MuteTiming(months=("3",), days_of_month=("1:7",), timezone=zone), (7, 9, 0), (8, 9, 0)),
    ):
        assert is_muted(timing, at(*muted)), timing
        assert not is_muted(timing, at(*told_at)), timing
