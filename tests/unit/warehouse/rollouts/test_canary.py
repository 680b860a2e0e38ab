"""A candidate is a canary if the contracts exchanged it with the primary, and a roll back ends that."""

from __future__ import annotations

from dataclasses import astuple
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from barograph.contract import Contract, ShadowTest
from barograph.contract.file import dump_contract

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import ContractRow
from barograph_server.warehouse.rollouts.canary import is_canary, read_is_canary


def applied(versions: str) -> ContractRow:
    """Make an applied contract from its versions: `43` names candidate 4 beside 3; empty names no candidate."""
    if versions == "unreadable":
        return ContractRow("m", "", "not: [a contract", datetime(2026, 5, 1, tzinfo=UTC))
    contract = Contract(model="m", shadow=made_shadow(versions) if versions else None)
    return ContractRow("m", contract.id, dump_contract(contract), datetime(2026, 5, 1, tzinfo=UTC))


def made_shadow(versions: str) -> ShadowTest:
    return ShadowTest(candidate=versions[0], of=versions[1], margins={"missing": 0.1})


def test_history_of_contracts_decides() -> None:
    for name, history, expected in (
        ("first", ["43"], False),
        ("promoted", ["43", "34"], True),
        ("contracts without a candidate between", ["43", "", "unreadable", "34"], True),
        ("rolled back", ["43", "34", "43"], False),
        ("promoted again", ["43", "34", "43", "34"], True),
        ("another pair between", ["43", "54", "34"], False),
        ("another candidate", ["43", "53"], False),
        ("applied again", ["43", "34", "34"], True),
    ):
        *earlier, current = history
        assert is_canary(made_shadow(current), map(applied, earlier)) is expected, name


class Driver:
    """Answers the query for the history of contracts."""

    def __init__(self, *history: str) -> None:
        self.rows = [astuple(applied(each)) for each in history]

    def query(self, _sql: str, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(result_rows=self.rows)


def test_later_contracts_of_other_versions_do_not_count() -> None:
    client = Client(cast(Any, Driver("43", "34", "54")), "db:8123")
    for versions, expected in (("43", False), ("34", True), ("54", False)):
        assert read_is_canary(client, Contract(model="m", shadow=made_shadow(versions))) is expected, versions
    assert not read_is_canary(client, Contract(model="m"))
