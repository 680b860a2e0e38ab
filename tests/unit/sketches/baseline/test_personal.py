"""Personal data that a baseline would carry where events do not is found, and not shown."""

from __future__ import annotations

import enum
from typing import Any

import msgspec
from barograph import Contract
from barograph.contract import Field, Slice
from barograph.publisher.pii import FieldHash, Pii

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts, SliceValues
from barograph_server.sketches.baseline.fit import bare_values, fit_problems

KEY = b"a key of sixteen bytes"
HASHED = FieldHash(KEY, "m", "features.email")("ana@x.example")
CONTRACT = Contract(
    model="m",
    fields=(
        Field(name="email", type="category", source="features.email", pii="hash"),
        Field(name="zip", type="category", source="context.zip", pii="truncate"),
        Field(name="ssn", type="category", source="features.ssn", pii="drop"),
        Field(name="city", type="category", source="features.city"),
    ),
    slices=(Slice(name="who", source="features.email * features.city"),),
)


def crossed(value: str) -> SliceValues:
    return SliceValues(name="who", source="features.email * features.city", values=(value,), trained=True)


def baseline(**categories: tuple[str, ...]) -> Baseline:
    keep_field: dict[str, tuple[str, ...]] = {
        "email": (HASHED,),
        "zip": ("109",),
        "ssn": (),
        "city": ("Berlin",),
        **categories,
    }
    return Baseline(
        model="m",
        version="1",
        rows=0,
        slice_rows={"all": 0},
        dimensions=(crossed(f"{HASHED} * Berlin"),),
        fields=tuple(
            FieldBaseline(
                name=name,
                kind="category",
                categories=values,
                slices={"all": SliceCounts(cells=(0,) * (len(values) + 2))},
            )
            for name, values in keep_field.items()
        ),
    )


def test_unprotected_values_are_counted_and_not_shown() -> None:
    assert bare_values(CONTRACT, baseline()) == []
    cases: tuple[tuple[dict[str, tuple[str, ...]], str], ...] = (
        ({"email": (HASHED, "bo@x.example")}, "field email: the contract says pii: hash, and 1 values"),
        ({"email": (HASHED.upper(),)}, "field email"),
        ({"email": (HASHED.partition(":")[2],)}, "field email"),
        ({"zip": ("109", "10997")}, "field zip: the contract says pii: truncate, and 1 values"),
        ({"ssn": ("1", "2")}, "field ssn: the contract says pii: drop, and 2 values"),
    )
    for categories, message in cases:
        (problem,) = bare_values(CONTRACT, baseline(**categories))
        assert problem.startswith(message)
        assert "bo@x.example" not in problem
        assert "10997" not in problem
        assert problem in fit_problems(CONTRACT, baseline(**categories))
    # Crossed slices are checked, too.
    bare = crossed("bo@x.example * Berlin")
    (problem,) = bare_values(CONTRACT, msgspec.structs.replace(baseline(), dimensions=(bare,)))
    assert problem.startswith("slice who: the contract says pii: hash")
    assert "bo@x.example" not in problem


def test_order_of_members_does_not_change_the_id() -> None:
    """An Enum or a number as a key is written as text: it must not slip past by being none yet."""

    class Column(enum.Enum):
        EMAIL = "email"
        CITY = "city"

    pii = Pii(CONTRACT, KEY)
    odd: dict[Any, Any] = {Column.EMAIL: "ana@x.example", Column.CITY: "Berlin", 7: 1.0}
    assert pii.protect("features", odd) == {"email": HASHED, "city": "Berlin", "7": 1.0}
    assert odd[Column.EMAIL] == "ana@x.example"
