"""Writing contracts: the text reads back as an equal contract and is easy to read."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import yaml
from barograph import Contract, ContractError, dump_contract, parse_contract
from barograph.contract import Field, FieldType, LabelSpec, RateThresholds, Slice, Slo, Thresholds, Window, content_hash
from barograph.contract.alerts import AlertRule, Alerts
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=30)
ODD = st.sampled_from(
    ["NO", "null", "~", "1", "1e3", "<<", "- a", "a: b", "# x", "'", '"', "\\", "@", "%", " ", "{", "é", "💥"]
)
PROSE = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    name = draw(NAMES | ODD)
    kind: FieldType = draw(st.sampled_from(get_args(FieldType)))
    numeric = kind in ("float", "int", "timestamp")
    low, high = sorted(draw(st.tuples(NUMBERS, NUMBERS))) if numeric and draw(st.booleans()) else (None, None)
    if name in ("score", "class", "latency_ms"):
        name += "_"
    return Field(
        name=name,
        type=kind,
        source=draw(st.just(f"features.{name}") | NAMES.map(lambda member: f"features.{member}")),
        description=draw(PROSE),
        unit=draw(PROSE),
        critical=draw(st.booleans()),
        low=low,
        high=high if draw(st.booleans()) else None,
        nulls=draw(st.sampled_from(["allow", "refuse"])),
        weight=draw(st.floats(0.001, 1000)),
        sketch=draw(st.sampled_from(["kll", "req"])) if numeric else "kll",
        pii=draw(st.sampled_from(["keep", "drop"])),
    )


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    monitored = draw(st.lists(fields(), max_size=4, unique_by=(lambda f: f.name, lambda f: f.source)))
    taken = {field.source for field in monitored}
    dimensions = draw(st.lists((NAMES | ODD).filter(lambda name: "=" not in name), max_size=3, unique=True))
    slices = tuple(
        Slice(
            name=name,
            source=draw(st.sampled_from(["arm", "context.x", f"context.{name}"])),
            top=draw(st.integers(1, 1000)),
            values=tuple(draw(st.lists((NAMES | ODD).filter(lambda v: v != "other"), max_size=3, unique=True))),
        )
        for name in dimensions
    )
    minor, clear, major = sorted(draw(st.tuples(*[st.floats(0.001, 1)] * 3)))
    ignored = draw(st.dictionaries(NAMES | ODD, PROSE.filter(str.strip), max_size=3))
    return Contract(
        model=draw(NAMES | ODD),
        description=draw(PROSE),
        team=draw(PROSE),
        owners=tuple(draw(st.lists(NAMES, max_size=2, unique=True))),
        route=draw(PROSE),
        timezone=draw(st.sampled_from(["UTC", "America/New_York", "Etc/GMT+3"])),
        pane_s=300,
        lateness_s=draw(st.integers(0, 10**6)),
        out_of_order_s=draw(st.integers(0, 10**6)),
        windows=(Window(3600, 300), Window(7200, 7200), Window(86_400, 3600, last=500)),
        raw_share=draw(st.floats(0, 1)),
        fields=tuple(monitored),
        slices=slices,
        slice_min_n=draw(st.integers(0, 10**9)),
        label=draw(
            st.sampled_from([None, LabelSpec(type="bool", positive=True), LabelSpec(type="bool", positive="true")])
        ),
        thresholds=Thresholds(minor=minor, major=major, clear=clear),
        rate_thresholds=RateThresholds(minor=minor / 2, major=major),
        slo=draw(st.sampled_from([Slo(), Slo(latency_ms=1e-9, latency_share=0.999, error_rate=0.0)])),
        ignored={name: why for name, why in ignored.items() if f"features.{name}" not in taken},
    )


@given(contracts(), PROSE)
def test_a_written_contract_reads_back_equal_here_and_in_other_yaml_parsers(contract: Contract, comments: str) -> None:
    text = dump_contract(contract, comments)
    again = parse_contract(text)
    assert again == contract
    assert again.id == contract.id
    assert dump_contract(again, comments) == text
    read: dict[str, Any] = yaml.safe_load(text)
    assert read["model"] == contract.model
    assert list(read.get("fields", {})) == [field.name for field in contract.fields]
    for field in contract.fields:
        given_range = read["fields"][field.name].get("range", [None, None])
        assert given_range == [field.low, field.high]
        assert all(limit is None or math.isfinite(limit) for limit in given_range)


def test_the_id_depends_on_what_differs_from_the_defaults() -> None:
    plain = Contract(model="m")
    assert plain.id == content_hash({"model": "m"}), "a new member changes no id"
    whole = Field(name="x", type="int", source="features.x", low=0, high=1)
    parts = Field(name="x", type="int", source="features.x", low=-0.0, high=1.0)
    assert Contract(model="m", fields=(whole,)).id == Contract(model="m", fields=(parts,)).id != plain.id
    rules = [Alerts(rules={"latency": AlertRule(threshold=threshold)}) for threshold in (1, 1.0, 2.0, None)]
    ids = [Contract(model="m", alerts=alerts).id for alerts in rules]
    assert (ids[0], len({plain.id, *ids})) == (ids[1], 4)


def test_an_invalid_contract_is_not_written() -> None:
    with pytest.raises(ContractError, match=r"contract 'm': pane: 7s neither divides an hour"):
        dump_contract(Contract(model="m", pane_s=7))
