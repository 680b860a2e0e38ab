"""The sections `sources` and `consumers` of a contract."""

from __future__ import annotations

import pytest
from barograph.contract.file import parse_contract
from barograph.contract.problems import ContractError

START = "contract: 1\nmodel: m\nfields:\n  seats: {type: int}\n"


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
