"""Counts of arms that ClickHouse does not accept."""

from __future__ import annotations

from typing import Any, cast

import pytest
from barograph.contract import Arms, Contract, Rollback
from clickhouse_connect.driver.exceptions import DatabaseError

from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.scoring.arms import count_arms


class RefusingDriver:
    def __init__(self) -> None:
        self.statements: list[str] = []

    def command(self, sql: str, **_: Any) -> None:
        self.statements.append(sql)
        raise DatabaseError("not allowed")


def test_no_row_is_emptied_after_a_refused_count() -> None:
    shares = {"answer@7": 0.5, "answer@8": 0.5}
    rollback = Rollback(prompt="answer", margins={"errors": 0.01}, events=10)
    contract = Contract(model="m", arms=Arms(shares=shares), rollback=rollback)
    rules = make_rules(contract, build_registry([(contract, 0)], []))
    driver = RefusingDriver()
    with pytest.raises(WarehouseError, match="db:8123 refused to write rows to arm_counts: not allowed"):
        count_arms(Client(cast(Any, driver), "db:8123"), rules, (), [3600], 7_200_000, has_repeats=False)
    assert [sql.partition(" (")[0] for sql in driver.statements] == ["INSERT INTO arm_counts"]
