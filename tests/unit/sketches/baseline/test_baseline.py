import enum
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph import Contract
from barograph.contract import Field, Slice
from barograph.publisher.pii import FieldHash, Pii

from barograph_server.sketches.baseline.baseline import (
    ALL,
    FORMAT,
    QUANTILE_RANKS,
    Baseline,
    BaselineError,
    FieldBaseline,
    Phi,
    SliceCounts,
    SliceValues,
    baseline_problems,
    dump_baseline,
    load_baseline,
)
from barograph_server.sketches.baseline.columns import TAIL, TAIL_KEYS
from barograph_server.sketches.baseline.fit import bare_values, fit_problems
from barograph_server.sketches.baseline.layout import EVENTS, HEADER, Layout, LayoutError
from barograph_server.sketches.sketch.merge import N_MOMENTS

AGE = FieldBaseline(
    name="age",
    kind="numeric",
    edges=(0.1, 20.0, 1e-310 + 40),
    low=0.0,
    high=120.0,
    mean=31.5,
    std=12.25,
    quantiles=tuple(np.linspace(0, 120, QUANTILE_RANKS).tolist()),
    slices={
        ALL: SliceCounts(cells=(1, 2, 3, 4, 0), invalid=2, below=1, above=1, phi={"7d": Phi(2.5, 8, "rough")}),
        "country=DE": SliceCounts(cells=(1, 2, 0, 0, 0), invalid=1),
        "country=other": SliceCounts(cells=(0, 0, 3, 4, 0), invalid=1),
    },
)
COLOUR = FieldBaseline(
    name="colour",
    kind="category",
    categories=('["red",\n 1]', "", "grün"),
    slices={ALL: SliceCounts(cells=(4, 3, 2, 1, 2), singletons=1)},
)
BASELINE = Baseline(
    model="m",
    version="3",
    rows=12,
    slice_rows={ALL: 12, "country=DE": 4, "country=other": 8},
    dimensions=(SliceValues(name="country", source="context.country", values=("DE",), trained=True),),
    fields=(AGE, COLOUR),
    source="train.parquet",
)
CONTRACT = Contract(
    model="m",
    fields=(
        Field(name="age", type="float", source="features.age", low=0.0, high=120.0),
        Field(name="colour", type="category", source="features.colour"),
    ),
    slices=(Slice(name="country", source="context.country", top=1),),
)


def but(field: FieldBaseline | None = None, **changes: Any) -> Baseline:
    if field is None:
        return msgspec.structs.replace(BASELINE, **changes)
    fields = tuple(msgspec.structs.replace(f, **changes) if f is field else f for f in BASELINE.fields)
    return msgspec.structs.replace(BASELINE, fields=fields)


def counts_but(**changes: Any) -> Baseline:
    whole = msgspec.structs.replace(AGE.slices[ALL], **changes)
    return but(AGE, slices={**AGE.slices, ALL: whole})


def test_a_baseline_is_readable_and_keeps_its_id_when_written_and_read() -> None:
    assert baseline_problems(BASELINE) == []
    data = dump_baseline(BASELINE)
    loaded = load_baseline(data, "b.json")
    assert (loaded, loaded.id) == (BASELINE, BASELINE.id)
    assert dump_baseline(loaded) == data
    text = data.decode()
    lines = text.splitlines()
    assert json.loads(text)["baseline"]["fields"][1]["categories"] == list(COLOUR.categories)
    assert f'  "id": "{BASELINE.id}",' in lines
    # A row of numbers is one line, not a thousand.
    assert any(line.strip().startswith('"cells": [1, 2, 3, 4, 0]') for line in lines)
    assert len(lines) < 120
    # The id changes with the content, and not with the order of slices.
    assert but(source="other.parquet").id != BASELINE.id
    assert counts_but(cells=(2, 1, 3, 4, 0)).id != BASELINE.id
    assert but(slice_rows=dict(reversed(BASELINE.slice_rows.items()))).id == BASELINE.id
    # Errors of sketches are written only if there are any.
    assert "noise" not in text
    assert "quantile_error" not in text
    sketched = but(AGE, slices=counts_but(noise=1e-4).fields[0].slices, quantile_error=0.0133)
    data = dump_baseline(sketched)
    assert b'"noise": 0.0001,' in data
    assert load_baseline(data, "b.json") == sketched
    assert sketched.id != BASELINE.id
    assert [field.has_sketched_bins for field in sketched.fields] == [True, False]
    # A field without valid values is sound.
    empty = FieldBaseline(name="gone", kind="numeric", slices={ALL: SliceCounts(cells=(0, 12))})
    assert load_baseline(dump_baseline(but(fields=(empty,))), "b.json").fields == (empty,)


def test_other_files_are_rejected() -> None:
    data = dump_baseline(BASELINE)
    not_a_baseline = r"b\.json: this is not a baseline file"
    for wrong, message in (
        (data.replace(b'"mean": 31.5', b'"mean": 32.5'), r"b\.json: the file says id .*, its .*changed by hand"),
        (data.replace(f'"format": {FORMAT}'.encode(), b'"format": 9'), r"b\.json: the baseline has format 9"),
        # Whatever else that format holds.
        (b'{"baseline": {"format": 9, "anything": []}}', "format 9"),
        *((other, not_a_baseline) for other in (b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b'{"baseline": 1}')),
        (b'{"id": "x", "baseline": {"format": 1}}', not_a_baseline),
    ):
        with pytest.raises(BaselineError, match=message):
            load_baseline(wrong, "b.json")


def test_an_inconsistent_baseline_is_neither_written_nor_read() -> None:
    wrong = but(COLOUR, categories=("red", "red", "blue"))
    with pytest.raises(BaselineError, match="field colour: category 'red' is repeated"):
        dump_baseline(wrong)
    data = msgspec.json.encode({"id": wrong.id, "baseline": wrong})
    with pytest.raises(BaselineError, match=r"b\.json: .*field colour: category 'red' is repeated"):
        load_baseline(data, "b.json")
    # Many problems are abbreviated.
    with pytest.raises(BaselineError, match=r"; and \d more$"):
        dump_baseline(but(AGE, categories=("a",), quantiles=(2.0, 1.0), std=-1.0, low=500.0, edges=()))
    # JSON would bring a whole number back as a float, under another id.
    with pytest.raises(BaselineError, match="a whole number in place of a float"):
        dump_baseline(but(AGE, edges=(0.1, 20, 40.0)))


def test_every_disagreement_is_named() -> None:
    dimension = BASELINE.dimensions[0]
    for wrong, problem in (
        (but(model=""), "model is empty"),
        (but(rows=13), "slice_rows must hold `all` with all 13 rows"),
        (but(slice_rows={**BASELINE.slice_rows, "country=DE": -1}), "slice country=DE has -1 rows"),
        (but(slice_rows={**BASELINE.slice_rows, "sex=f": 1}), "slice sex=f belongs to no dimension"),
        (but(dimensions=(dimension, dimension)), "dimension country is repeated"),
        (
            but(dimensions=(msgspec.structs.replace(dimension, values=("DE", "other")),)),
            "dimension country: value 'other' is repeated",
        ),
        (but(AGE, edges=(20.0, 0.1, 40.0)), "field age: edges must ascend"),
        (but(AGE, edges=(0.1, 20.0, float("inf"))), "field age: an edge, quantile, limit or moment is not finite"),
        (but(AGE, edges=(0.1, 20.0)), "field age: slice all: 5 cells; its edges or categories need 4"),
        (but(AGE, quantiles=AGE.quantiles[:-1]), "field age: 1000 quantiles; there must be 1001 or none"),
        (but(AGE, categories=("a",)), "field age: a numeric field has no categories"),
        (but(COLOUR, edges=(1.0,)), "field colour: a category field has neither edges nor quantiles"),
        (but(AGE, low=130.0), "field age: low 130.0 is above high 120.0"),
        (but(AGE, slices={}), "field age: the slice `all` is missing"),
        (
            but(AGE, slices={**AGE.slices, "sex=f": SliceCounts(cells=(0,) * 5)}),
            "field age: slice sex=f has no rows in slice_rows",
        ),
        (counts_but(cells=(1, 2, 3, 5, -1)), "field age: slice all: a count is negative"),
        (counts_but(invalid=3), "field age: slice all: cells and invalid add up to 13, the slice has 12 rows"),
        (counts_but(above=11), "field age: slice all: above is 11, only 10 rows have a valid value"),
        (counts_but(phi={"7d": Phi(0.5, 8, "ok")}), "field age: slice all: φ of window 7d is 0.5 from 8 windows"),
        (counts_but(noise=1.5), "field age: slice all: noise is 1.5; 1/n_eff is from 0 to 1"),
        (but(AGE, quantile_error=-0.1), "field age: quantile_error is -0.1"),
    ):
        problems = baseline_problems(wrong)
        assert any(text.startswith(problem) for text in problems), problems


def test_every_misfit_is_named() -> None:
    assert fit_problems(CONTRACT, BASELINE) == []
    # Limits that the contract leaves open are training's own.
    loose = tuple(msgspec.structs.replace(field, low=None, high=None) for field in CONTRACT.fields)
    assert fit_problems(msgspec.structs.replace(CONTRACT, fields=loose), BASELINE) == []
    age, _ = CONTRACT.fields
    contract = Contract(
        model="n",
        fields=(
            msgspec.structs.replace(age, type="category", low=1.0, high=99.0),
            Field(name="height", type="float", source="features.height"),
        ),
        slices=(Slice(name="country", source="features.country", values=("DE", "FR")), Slice(name="arm", source="arm")),
    )
    sex = SliceValues(name="sex", source="context.sex", values=(), trained=True)
    assert fit_problems(contract, but(dimensions=(*BASELINE.dimensions, sex))) == [
        "the contract is for model n, the baseline for m",
        "field age: type category needs a category baseline, not a numeric one",
        "field age: low is 1.0 in the contract, 0.0 in the baseline",
        "field age: high is 99.0 in the contract, 120.0 in the baseline",
        "field height: the baseline does not have it",
        "field colour: the contract does not have it",
        "slice country: source is features.country in the contract, context.country in the baseline",
        "slice country: contract and baseline have different values: FR",
        "slice arm: the baseline does not have it",
        "slice sex: the contract does not have it",
    ]
    two = but(dimensions=(msgspec.structs.replace(BASELINE.dimensions[0], values=("DE", "FR")),))
    assert fit_problems(CONTRACT, two) == ["slice country: the contract keeps the top 1 values, the baseline 2"]


def test_a_crossed_slice_fits_a_baseline_of_the_same_sources() -> None:
    source = "context.country * arm"
    cut = msgspec.structs.replace(CONTRACT.slices[0], source=source, top=20)
    dimension = msgspec.structs.replace(BASELINE.dimensions[0], source=source, values=("DE * a", "DE * b"))
    contract = msgspec.structs.replace(CONTRACT, slices=(cut,))
    assert fit_problems(contract, but(dimensions=(dimension,))) == []
    strange = msgspec.structs.replace(dimension, values=("DE * a", "FR"))
    assert fit_problems(contract, but(dimensions=(strange,))) == [
        f"slice country: the baseline's value 'FR' is not a value of {source}"
    ]
    turned = msgspec.structs.replace(cut, source="arm * context.country")
    [problem] = fit_problems(msgspec.structs.replace(CONTRACT, slices=(turned,)), but(dimensions=(dimension,)))
    assert problem == f"slice country: source is arm * context.country in the contract, {source} in the baseline"


def baseline(*fields: FieldBaseline, dimensions: tuple[SliceValues, ...] = ()) -> Baseline:
    return Baseline(model="m", version="1", rows=0, slice_rows={ALL: 0}, fields=fields, dimensions=dimensions)


def numeric(name: str, *edges: float) -> FieldBaseline:
    return FieldBaseline(
        name=name, kind="numeric", edges=edges, slices={ALL: SliceCounts(cells=(0,) * (len(edges) + 2))}
    )


def category(name: str, *categories: str) -> FieldBaseline:
    return FieldBaseline(
        name=name, kind="category", categories=categories, slices={ALL: SliceCounts(cells=(0,) * (len(categories) + 2))}
    )


def test_fields_lie_end_to_end_behind_the_header() -> None:
    layout = Layout(baseline(numeric("x", 1.0, 2.0), category("c", "a"), numeric("y")))
    assert HEADER == 4
    # Bins or categories, unseen of categories, null.
    assert layout.n_cells.tolist() == [4, 3, 2]
    assert layout.starts.tolist() == [HEADER, HEADER + 4 + TAIL, HEADER + 4 + TAIL + 3 + TAIL]
    assert layout.width == HEADER + (4 + 3 + 2) + 3 * TAIL
    assert layout.field_index == {"x": 0, "c": 1, "y": 2}
    assert layout.n_fields == 3
    assert layout.span(0, 2) == slice(HEADER, int(layout.starts[2]))
    assert layout.span(2, 2) == slice(HEADER, HEADER), "no field"
    # Without fields it still counts events.
    bare = Layout(baseline())
    assert (bare.width, bare.starts.shape, bare.empty_moments().shape) == (HEADER, (0,), (0, N_MOMENTS))
    counts = bare.empty_counts()
    counts[0, EVENTS] += 1
    assert counts.tolist() == [[1, 0, 0, 0]]


def test_counts_that_a_shorter_tail_lacks_are_zero() -> None:
    layout = Layout(baseline(numeric("x"), category("c", "a")))
    # Header; x: bin, null, invalid, above; c: a, unseen, null, invalid, above.
    counts = np.array([[9, 1, 0, 0, 5, 4, 1, 2, 6, 3, 1, 7, 8]])
    fitted = layout.fit(counts, 0, 2, ("invalid", "above"))
    more = [0] * (TAIL - 3)
    assert fitted.tolist() == [[9, 1, 0, 0, 5, 4, 1, 0, 2, *more, 6, 3, 1, 7, 0, 8, *more]]
    assert layout.fit(counts[:, [0, 1, 2, 3, 8, 9, 10, 11, 12]], 1, 2, ("invalid", "above")).tolist() == [
        [9, 1, 0, 0, 6, 3, 1, 7, 0, 8, *more]
    ]
    assert layout.fit(counts[:, :HEADER], 1, 1, ("invalid",)).tolist() == [[9, 1, 0, 0]]


def test_counts_of_another_tail_or_width_are_rejected() -> None:
    layout = Layout(baseline(numeric("x")))
    for tail in ((*TAIL_KEYS, "mystery"), ("invalid", "invalid")):
        counts = np.zeros((1, HEADER + 2 + len(tail)), dtype=np.int64)
        with pytest.raises(LayoutError, match=f"knows {', '.join(TAIL_KEYS)}: upgrade it first"):
            layout.fit(counts, 0, 1, tail)
    fitting = np.zeros((1, layout.width), dtype=np.int64)
    assert layout.fit(fitting, 0, 1, TAIL_KEYS) is fitting
    with pytest.raises(LayoutError, match=f"{layout.width + 1} columns; header and fields of the baseline take"):
        layout.fit(np.zeros((1, layout.width + 1), dtype=np.int64), 0, 1, TAIL_KEYS)


KEY = b"a key of sixteen bytes"
HASHED = FieldHash(KEY, "m", "features.email")("ana@x.example")
PERSONAL = Contract(
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


def personal_baseline(**categories: tuple[str, ...]) -> Baseline:
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
    assert bare_values(PERSONAL, personal_baseline()) == []
    cases: tuple[tuple[dict[str, tuple[str, ...]], str], ...] = (
        ({"email": (HASHED, "bo@x.example")}, "field email: the contract says pii: hash, and 1 values"),
        ({"email": (HASHED.upper(),)}, "field email"),
        ({"email": (HASHED.partition(":")[2],)}, "field email"),
        ({"zip": ("109", "10997")}, "field zip: the contract says pii: truncate, and 1 values"),
        ({"ssn": ("1", "2")}, "field ssn: the contract says pii: drop, and 2 values"),
    )
    for categories, message in cases:
        (problem,) = bare_values(PERSONAL, personal_baseline(**categories))
        assert problem.startswith(message)
        assert "bo@x.example" not in problem
        assert "10997" not in problem
        assert problem in fit_problems(PERSONAL, personal_baseline(**categories))
    # Crossed slices are checked, too.
    bare = crossed("bo@x.example * Berlin")
    (problem,) = bare_values(PERSONAL, msgspec.structs.replace(personal_baseline(), dimensions=(bare,)))
    assert problem.startswith("slice who: the contract says pii: hash")
    assert "bo@x.example" not in problem


def test_order_of_members_does_not_change_the_id() -> None:
    """An Enum or a number as a key is written as text: it must not slip past by being none yet."""

    class Column(enum.Enum):
        EMAIL = "email"
        CITY = "city"

    pii = Pii(PERSONAL, KEY)
    odd: dict[Any, Any] = {Column.EMAIL: "ana@x.example", Column.CITY: "Berlin", 7: 1.0}
    assert pii.protect("features", odd) == {"email": HASHED, "city": "Berlin", "7": 1.0}
    assert odd[Column.EMAIL] == "ana@x.example"
