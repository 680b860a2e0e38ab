"""The sections `sources` and `consumers` of a contract."""

from __future__ import annotations

import pytest
from barograph.contract import DeclaredConsumer, DeclaredSource
from barograph.contract.file import dump_contract, parse_contract
from barograph.contract.problems import ContractError

START = "contract: 1\nmodel: m\nfields:\n  seats: {type: int}\n"


def test_sources_and_consumers_read_back() -> None:
    text = (
        "sources:\n  fleet: {owner: ana, system: airflow, code: fleet/seats.py, window: 30d, fields: [seats]}\n"
        "consumers:\n  pricing: {owner: ana, group: pricing, fields: [seats]}\n"
    )
    contract = parse_contract(START + text, "c.yaml")
    assert contract.declared_sources == {
        "fleet": DeclaredSource(owner="ana", system="airflow", code="fleet/seats.py", window="30d", fields=("seats",))
    }
    assert contract.consumers == {"pricing": DeclaredConsumer(owner="ana", group="pricing", fields=("seats",))}
    assert (contract.consumers["pricing"].kind, contract.consumers["pricing"].reader) == ("group", "pricing")
    assert parse_contract(dump_contract(contract), "c.yaml") == contract


def test_a_wrong_source_or_consumer_is_reported_with_its_line() -> None:
    for section, entry, message in (
        ("sources", "{owner: ana}", "fields"),
        ("sources", "{fields: [rows]}", "'rows' is no field of the contract"),
        ("sources", "{fields: [seats], table: t}", "table"),
        ("consumers", "{owner: ana}", "needs exactly one of group, user, dashboard, rule, caller, and none is set"),
        ("consumers", "{owner: ana, group: g, user: u}", "and group and user are set"),
        ("consumers", "{owner: ana, group: g, fields: [rows]}", "'rows' is no field of the contract"),
        ("consumers", "{owner: ana, caller: web}", "needs caller of the contract"),
    ):
        with pytest.raises(ContractError) as error:
            parse_contract(f"{START}{section}:\n  name: {entry}\n", "c.yaml")
        assert message in str(error.value), entry
        assert "c.yaml:6" in str(error.value), entry
