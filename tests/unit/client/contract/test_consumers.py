"""The section `consumers` of a contract."""

from __future__ import annotations

import pytest
from barograph.contract.consumers import DeclaredConsumer
from barograph.contract.file import dump_contract, parse_contract
from barograph.contract.problems import ContractError

START = """
contract: 1
model: m
fields:
  seats: {type: int}
consumers:
"""


def test_consumers_read_back() -> None:
    contract = parse_contract(START + "  pricing: {owner: ana, group: pricing, fields: [seats]}\n", "c.yaml")
    assert contract.consumers == {"pricing": DeclaredConsumer(owner="ana", group="pricing", fields=("seats",))}
    assert contract.consumers["pricing"].kind == "group"
    assert contract.consumers["pricing"].reader == "pricing"
    assert parse_contract(dump_contract(contract), "c.yaml") == contract


@pytest.mark.parametrize(
    ("consumer", "message"),
    [
        ("{owner: ana}", "needs exactly one of group, user, dashboard, rule, caller, and none is set"),
        ("{owner: ana, group: g, user: u}", "and group and user are set"),
        ("{group: g}", "owner"),
        ("{owner: ana, group: g, fields: [rows]}", "'rows' is no field of the contract"),
        ("{owner: ana, topic: t}", "topic"),
        ("{owner: ana, caller: web}", "needs caller of the contract"),
    ],
)
def test_a_wrong_consumer_is_reported_with_its_line(consumer: str, message: str) -> None:
    with pytest.raises(ContractError) as error:
        parse_contract(START + f"  pricing: {consumer}\n", "c.yaml")
    assert message in str(error.value)
    assert "c.yaml:7" in str(error.value)
