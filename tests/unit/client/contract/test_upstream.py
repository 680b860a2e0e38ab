"""The section `sources` of a contract."""

from __future__ import annotations

import pytest
from barograph.contract.file import dump_contract, parse_contract
from barograph.contract.problems import ContractError
from barograph.contract.upstream import DeclaredSource

START = """
contract: 1
model: m
fields:
  seats: {type: int}
sources:
"""


def test_sources_read_back() -> None:
    text = "  fleet: {owner: ana, system: airflow, code: fleet/seats.py, window: 30d, fields: [seats]}\n"
    contract = parse_contract(START + text, "c.yaml")
    assert contract.declared_sources == {
        "fleet": DeclaredSource(owner="ana", system="airflow", code="fleet/seats.py", window="30d", fields=("seats",))
    }
    assert parse_contract(dump_contract(contract), "c.yaml") == contract


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{owner: ana}", "fields"),
        ("{fields: []}", "is empty; name the fields that the source computes"),
        ("{fields: [rows]}", "'rows' is no field of the contract"),
        ("{fields: [seats], table: t}", "table"),
    ],
)
def test_a_wrong_source_is_reported_with_its_line(source: str, message: str) -> None:
    with pytest.raises(ContractError) as error:
        parse_contract(START + f"  fleet: {source}\n", "c.yaml")
    assert message in str(error.value)
    assert "c.yaml:7" in str(error.value)
