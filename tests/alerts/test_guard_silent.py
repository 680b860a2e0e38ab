"""The signal of a silent guard on the real engine."""

from __future__ import annotations

import time

import pytest

from alerts.settings import AlertSettings
from alerts.templates import guard_rule
from local.clickhouse import LocalClickHouse
from tests.support.warehouse import migrated, row
from warehouse.client import Client
from warehouse.signals import EventTimeRange, point_sql, series_sql
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

DAY_S = 86_400
T0 = int(time.time()) // 60 * 60 - 3 * DAY_S
RULE = guard_rule(AlertSettings())


def age_s(client: Client, after_s: int) -> float:
    ((value,),) = client.rows(point_sql(RULE.signal, at=str(T0 + after_s)))
    return float(value)


def test_the_age_of_the_last_record_of_any_model(engine: LocalClickHouse) -> None:
    with migrated(engine) as client:
        assert age_s(client, 0) == RULE.threshold, "no guard ever ran: neither fires nor clears"
        for model, after_s in (("a", 0), ("b", 30), ("a", 60)):
            insert_rows(client, "model_health", [row("model_health", model=model, at=(T0 + after_s) * 1000)])
        assert age_s(client, 70) == 10
        assert age_s(client, 60 + 600) == 600 > RULE.threshold
        assert age_s(client, 59 + DAY_S) == DAY_S - 1
        assert age_s(client, 60 + DAY_S) == RULE.threshold, "removed"
        period = EventTimeRange(f"{T0}", f"{T0 + 1000}")
        replayed = client.rows(series_sql(RULE.signal, period, "ended", "1"))
        assert {each[2] for each in replayed} == {RULE.threshold}, "replayed history has no guard"
