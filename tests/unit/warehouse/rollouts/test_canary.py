"""A candidate is a canary if the contracts exchanged it with the primary, and a roll back ends that."""

from __future__ import annotations

from datetime import UTC, datetime

from barograph.contract import Contract, ShadowTest
from barograph.contract.file import dump_contract

from barograph_server.warehouse.queries import ContractRow
from barograph_server.warehouse.rollouts.canary import is_canary


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
    ):
        *earlier, current = history
        assert is_canary(made_shadow(current), map(applied, earlier)) is expected, name
