"""The model of a drill has the rules of the model, and a name of its own."""

from __future__ import annotations

import pytest
from barograph.contract import Field
from barograph.contract.alerts import AlertRule, Alerts
from barograph.contract.check import check_contract
from barograph.contract.file import dump_contract, parse_contract

from barograph_server.drills.derived_model import derive_baseline, derive_contract, drill_name
from barograph_server.drills.errors import DrillError
from barograph_server.sketches.baseline.fit import fit_problems
from tests.support.drill_events import CONTRACT, baseline, without


def test_only_the_name_differs() -> None:
    name = drill_name("shop", "1")
    derived = derive_contract(CONTRACT, name)
    assert derived == without(CONTRACT, model="drill.shop.1")
    check_contract(derived)
    assert parse_contract(dump_contract(derived), "drill") == derived
    assert derive_baseline(baseline(), name).model == name
    assert fit_problems(derived, derive_baseline(baseline(), name)) == fit_problems(CONTRACT, baseline())


def test_values_are_published_as_they_are_recorded() -> None:
    fields = (
        Field(name="a", type="category", source="features.a", pii="hash"),
        Field(name="b", type="category", source="features.b", pii="drop"),
    )
    derived = derive_contract(without(CONTRACT, fields=fields, raw_share=0.1), "drill.shop.1")
    assert [field.pii for field in derived.fields] == ["keep", "drop"]
    assert derived.raw_share == 1.0


def test_a_route_replaces_all_routes() -> None:
    rules = {"psi-major": AlertRule(route="a", threshold=0.3)}
    contract = without(CONTRACT, route="b", alerts=Alerts(rules=rules))
    assert derive_contract(contract, "m").alerts.rule("psi-major").route == "a"
    derived = derive_contract(contract, "m", "c")
    assert (derived.route, derived.alerts.rule("psi-major")) == ("c", AlertRule(threshold=0.3))


def test_a_drill_of_a_drill_is_rejected() -> None:
    with pytest.raises(DrillError, match="is the model of a drill; run the drill on the model itself"):
        drill_name("drill.shop.1", "2")
