"""The signals of overdue drills and of a silent guard on the real engine."""

import time
from typing import Any

from barograph_server.alerts.settings import AlertSettings
from barograph_server.alerts.templates import guard_rule
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import EventTimeRange, point_sql, series_sql
from barograph_server.warehouse.signals.drills import drills_overdue
from barograph_server.warehouse.tables import insert_rows
from tests.support.warehouse import row

HOUR_S, DAY_S = 3600, 86_400
T0 = (int(time.time()) // DAY_S - 400) * DAY_S
ODD = 'it\'s "50 %" {{ $__interval }} -- /* \\ 名前'
OVERDUE = drills_overdue(ODD, "drills-overdue", 30.0 * DAY_S)
SILENT = guard_rule(AlertSettings())


def apply_contract(client: Client, day: int, yaml: str = "drills-overdue: {}", model: str = ODD) -> None:
    values = {"model": model, "contract_id": f"{day}", "yaml": yaml, "applied_at": (T0 + day * DAY_S) * 1000}
    insert_rows(client, "contracts", [row("contracts", **values)])


def drill(client: Client, day: float, passed: bool, fault: str = "silence", **changes: Any) -> None:
    at_s = T0 + round(day * DAY_S)
    values = {
        "drill_id": f"{day} {fault} {changes.get('field')}",
        "model": ODD,
        "fault": fault,
        "at": at_s * 1000,
        "passed": passed,
    }
    insert_rows(client, "drills", [row("drills", **values | changes)])


def days(client: Client, day: float) -> float:
    ((value,),) = client.rows(point_sql(OVERDUE, at=str(T0 + round(day * DAY_S))))
    return float(value) / DAY_S


def test_time_without_any_drill_counts_from_the_first_contract_with_the_rule(client: Client) -> None:
    assert days(client, 40) == 30, "no contract: neither fires nor clears"
    apply_contract(client, -300, "contract: 1")
    apply_contract(client, -300, model="another")
    apply_contract(client, 10)
    apply_contract(client, 20)
    assert days(client, 10.5) == 0.5, "an old model that asks for drills today has 30 days, too"
    assert days(client, 45) == 35
    assert days(client, 390) == 380, "however long ago"


def test_a_drill_that_passed_counts_until_the_next(client: Client) -> None:
    apply_contract(client, 0)
    drill(client, 50, passed=True)
    drill(client, 60, passed=True, model="another")
    assert days(client, 49) == 49
    assert days(client, 51) == 1
    assert days(client, 85) == 35
    drill(client, 85.25, passed=True, fault="null-rise", field="x")
    assert days(client, 86.25) == 1
    assert days(client, 380) == 380, "after half a year without drills, time counts from the contract again"


def test_a_failed_drill_must_be_repeated_with_success(client: Client) -> None:
    apply_contract(client, 0)
    drill(client, 10, passed=True, fault="null-rise", field="x")
    for day in range(20, 80, 7):
        drill(client, day, passed=True)
        drill(client, day, passed=False, fault="null-rise", field="x")
        drill(client, day, passed=True, fault="null-rise", field="y")
    assert days(client, 21) == 11, "since the last time that it passed"
    assert days(client, 77) == 67
    drill(client, 78, passed=True, fault="null-rise", field="x")
    assert days(client, 79) == 1


def test_the_history_equals_the_rule_and_replays_have_none(client: Client) -> None:
    apply_contract(client, 0)
    for day, passed in ((10, True), (20, False), (30, True), (31, False)):
        drill(client, day, passed)
    period = EventTimeRange(f"{T0 + 5 * DAY_S}", f"{T0 + 100 * DAY_S}")
    rows = client.rows(series_sql(OVERDUE, period, "judged", str(HOUR_S)))
    assert len(rows) >= 5
    for at, _, value, *_ in rows:
        assert days(client, (at - T0) / DAY_S) * DAY_S == value, (at - T0) / DAY_S
    assert {each[2] for each in client.rows(series_sql(OVERDUE, period, "ended", str(HOUR_S)))} == {30.0 * DAY_S}


def test_a_guard_is_as_old_as_its_last_record_of_any_model(client: Client) -> None:
    start_s = int(time.time()) // 60 * 60 - 3 * DAY_S

    def age_s(after_s: int) -> float:
        ((value,),) = client.rows(point_sql(SILENT.signal, at=str(start_s + after_s)))
        return float(value)

    assert age_s(0) == SILENT.threshold, "no guard ever ran: neither fires nor clears"
    for model, after_s in (("a", 0), ("b", 30), ("a", 60)):
        insert_rows(client, "model_health", [row("model_health", model=model, at=(start_s + after_s) * 1000)])
    assert age_s(70) == 10
    assert age_s(60 + 600) == 600 > SILENT.threshold
    assert age_s(59 + DAY_S) == DAY_S - 1
    assert age_s(60 + DAY_S) == SILENT.threshold, "removed"
    period = EventTimeRange(f"{start_s}", f"{start_s + 1000}")
    replayed = client.rows(series_sql(SILENT.signal, period, "ended", "1"))
    assert {each[2] for each in replayed} == {SILENT.threshold}, "replayed history has no guard"
