"""Where a value is not of the shape that Grafana reads."""

from __future__ import annotations

from typing import Any

from barograph_server.alerts.schema import DURATION, Shape, faults

GROUP: Shape = {"name": str, "interval": DURATION, "*limit": int, "*ratio": float, "*rules": [{"labels": {"": str}}]}
VALID: dict[str, Any] = {"name": "drift", "interval": "1m"}


def test_a_valid_value_has_no_fault() -> None:
    rules = [{"labels": {"model": "m"}}]
    assert list(faults({**VALID, "limit": 3, "ratio": 0.5, "rules": rules}, GROUP)) == []


def test_a_fault_says_where_it_is() -> None:
    values: list[tuple[Any, str]] = [
        ([], "it: is no object"),
        ({"name": "drift"}, ".interval: is missing"),
        ({**VALID, "Name": "drift"}, ".Name: is no key that Grafana reads here"),
        ({**VALID, "name": 3}, ".name: is 3, no str"),
        ({**VALID, "limit": True}, ".limit: is True, no int"),
        ({**VALID, "ratio": "0.5"}, ".ratio: is '0.5', no number"),
        ({**VALID, "ratio": True}, ".ratio: is True, no number"),
        ({**VALID, "rules": {}}, ".rules: is no list"),
        ({**VALID, "rules": [{"labels": []}]}, ".rules[0].labels: is no object"),
        ({**VALID, "rules": [{"labels": {"model": 1}}]}, ".rules[0].labels.model: is 1, no str"),
    ]
    for value, fault in values:
        assert list(faults(value, GROUP)) == [fault]
    # A duration has a form, and a choice its words.
    (fault,) = faults({**VALID, "interval": "soon"}, GROUP)
    assert fault.startswith(".interval: is 'soon', not of the form ")
    assert list(faults("fax", ("slack", "webhook"))) == ["it: is 'fax', not one of slack, webhook"]
