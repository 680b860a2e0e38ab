import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract
from barograph.contract import Field, Slice
from barograph.publisher.pii import FieldHash
from hypothesis import example, given, settings
from hypothesis import strategies as st

from barograph_server.sketches.baseline import baseline as baselines
from barograph_server.sketches.baseline import cells as cell_counts
from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts, SliceValues
from barograph_server.sketches.baseline.bins import PsiBins, bin_labels
from barograph_server.sketches.baseline.cells import category_cells, numeric_cells
from barograph_server.sketches.baseline.columns import TAIL, TAIL_KEYS
from barograph_server.sketches.baseline.fit import bare_values, fit_problems
from barograph_server.sketches.baseline.layout import ERRORS, EVENTS, HEADER, IntArray, Layout, LayoutError
from barograph_server.sketches.drift.rate_cells import RateCells
from barograph_server.sketches.drift.rates import RATE_KIND_NAMES, RATE_KINDS
from barograph_server.sketches.sketch.merge import N_MOMENTS
from barograph_server.sketches.sketch.quantiles import FloatArray, exact_quantiles, freeze_edges
from tests.support.baselines import baseline, category, numeric

AGE = FieldBaseline(
    name="age",
    kind="numeric",
    edges=(0.1, 20.0, 1e-310 + 40),
    low=0.0,
    high=120.0,
    mean=31.5,
    std=12.25,
    quantiles=tuple(np.linspace(0, 120, baselines.QUANTILE_RANKS).tolist()),
    slices={
        ALL: SliceCounts(
            cells=(1, 2, 3, 4, 0), invalid=2, below=1, above=1, phi={"7d": baselines.Phi(2.5, 8, "rough")}
        ),
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
    assert baselines.baseline_problems(BASELINE) == []
    data = baselines.dump_baseline(BASELINE)
    loaded = baselines.load_baseline(data, "b.json")
    assert (loaded, loaded.id) == (BASELINE, BASELINE.id)
    assert baselines.dump_baseline(loaded) == data
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
    data = baselines.dump_baseline(sketched)
    assert b'"noise": 0.0001,' in data
    assert baselines.load_baseline(data, "b.json") == sketched
    assert sketched.id != BASELINE.id
    assert [field.has_sketched_bins for field in sketched.fields] == [True, False]
    # A field without valid values is sound.
    empty = FieldBaseline(name="gone", kind="numeric", slices={ALL: SliceCounts(cells=(0, 12))})
    assert baselines.load_baseline(baselines.dump_baseline(but(fields=(empty,))), "b.json").fields == (empty,)


def test_other_files_are_rejected() -> None:
    data = baselines.dump_baseline(BASELINE)
    not_a_baseline = r"b\.json: this is not a baseline file"
    for wrong, message in (
        (data.replace(b'"mean": 31.5', b'"mean": 32.5'), r"b\.json: the file says id .*, its .*changed by hand"),
        (data.replace(f'"format": {baselines.FORMAT}'.encode(), b'"format": 9'), r"b\.json: the baseline has format 9"),
        # Whatever else that format holds.
        (b'{"baseline": {"format": 9, "anything": []}}', "format 9"),
        *((other, not_a_baseline) for other in (b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b'{"baseline": 1}')),
        (b'{"id": "x", "baseline": {"format": 1}}', not_a_baseline),
    ):
        with pytest.raises(baselines.BaselineError, match=message):
            baselines.load_baseline(wrong, "b.json")


def test_an_inconsistent_baseline_is_neither_written_nor_read() -> None:
    wrong = but(COLOUR, categories=("red", "red", "blue"))
    with pytest.raises(baselines.BaselineError, match="field colour: category 'red' is repeated"):
        baselines.dump_baseline(wrong)
    data = msgspec.json.encode({"id": wrong.id, "baseline": wrong})
    with pytest.raises(baselines.BaselineError, match=r"b\.json: .*field colour: category 'red' is repeated"):
        baselines.load_baseline(data, "b.json")
    # Many problems are abbreviated.
    with pytest.raises(baselines.BaselineError, match=r"; and \d more$"):
        baselines.dump_baseline(but(AGE, categories=("a",), quantiles=(2.0, 1.0), std=-1.0, low=500.0, edges=()))
    # JSON would bring a whole number back as a float, under another id.
    with pytest.raises(baselines.BaselineError, match="a whole number in place of a float"):
        baselines.dump_baseline(but(AGE, edges=(0.1, 20, 40.0)))


def test_every_disagreement_is_named() -> None:
    dimension = BASELINE.dimensions[0]
    for wrong, problem in (
        (but(model=""), "model is empty"),
        (but(rows=13), "slice_rows must hold `all` with all 13 rows"),
        (but(slice_rows={**BASELINE.slice_rows, "country=DE": -1}), "slice country=DE has -1 rows"),
        (but(slice_rows={**BASELINE.slice_rows, "sex=f": 1}), "slice sex=f belongs to no dimension"),
        (but(dimensions=(dimension, dimension)), "dimension country is repeated"),
        (but(dimensions=(msgspec.structs.replace(dimension, values=("DE", "other")),)), "value 'other' is repeated"),
        (but(AGE, edges=(20.0, 0.1, 40.0)), "field age: edges must ascend"),
        (but(AGE, edges=(0.1, 20.0, float("inf"))), "field age: an edge, quantile, limit or moment is not finite"),
        (but(AGE, edges=(0.1, 20.0)), "field age: slice all: 5 cells; its edges or categories need 4"),
        (but(AGE, quantiles=AGE.quantiles[:-1]), "field age: 1000 quantiles; there must be 1001 or none"),
        (but(AGE, categories=("a",)), "field age: a numeric field has no categories"),
        (but(COLOUR, edges=(1.0,)), "field colour: a category field has neither edges nor quantiles"),
        (but(AGE, low=130.0), "field age: low 130.0 is above high 120.0"),
        (but(AGE, slices={}), "field age: the slice `all` is missing"),
        (but(AGE, slices={**AGE.slices, "sex=f": SliceCounts(cells=(0,) * 5)}), "slice sex=f has no rows in slice_"),
        (counts_but(cells=(1, 2, 3, 5, -1)), "field age: slice all: a count is negative"),
        (counts_but(invalid=3), "field age: slice all: cells and invalid add up to 13, the slice has 12 rows"),
        (counts_but(above=11), "field age: slice all: above is 11, only 10 rows have a valid value"),
        (
            counts_but(phi={"7d": baselines.Phi(0.5, 8, "ok")}),
            "field age: slice all: φ of window 7d is 0.5 from 8 windows",
        ),
        (counts_but(noise=1.5), "field age: slice all: noise is 1.5; 1/n_eff is from 0 to 1"),
        (but(AGE, quantile_error=-0.1), "field age: quantile_error is -0.1"),
    ):
        problems = baselines.baseline_problems(wrong)
        assert any(problem in text for text in problems), problems


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
    [problem] = fit_problems(contract, but(dimensions=(strange,)))
    assert problem == f"slice country: the baseline's value 'FR' is not a value of {source}"
    turned = msgspec.structs.replace(cut, source="arm * context.country")
    [problem] = fit_problems(msgspec.structs.replace(CONTRACT, slices=(turned,)), but(dimensions=(dimension,)))
    assert problem == f"slice country: source is arm * context.country in the contract, {source} in the baseline"


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


def test_counts_that_a_shorter_tail_lacks_are_zero_and_those_of_another_tail_or_width_are_rejected() -> None:
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
    layout = Layout(baseline(numeric("x")))
    for tail in ((*TAIL_KEYS, "mystery"), ("invalid", "invalid")):
        counts = np.zeros((1, HEADER + 2 + len(tail)), dtype=np.int64)
        with pytest.raises(LayoutError, match=f"knows {', '.join(TAIL_KEYS)}: upgrade it first"):
            layout.fit(counts, 0, 1, tail)
    fitting = np.zeros((1, layout.width), dtype=np.int64)
    assert layout.fit(fitting, 0, 1, TAIL_KEYS) is fitting
    with pytest.raises(LayoutError, match=f"{layout.width + 1} columns; header and fields of the baseline take"):
        layout.fit(np.zeros((1, layout.width + 1), dtype=np.int64), 0, 1, TAIL_KEYS)


HASHED = FieldHash(b"a key of sixteen bytes", "m", "features.email")("ana@x.example")
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
    values = {"email": (HASHED,), "zip": ("109",), "ssn": (), "city": ("Berlin",), **categories}
    fields = (category(name, *own) for name, own in values.items())
    return baseline(*fields, dimensions=(crossed(f"{HASHED} * Berlin"),))


def test_unprotected_values_are_counted_and_not_shown() -> None:
    assert bare_values(PERSONAL, personal_baseline()) == []
    for field, categories, message in (
        ("email", (HASHED, "bo@x.example"), "the contract says pii: hash, and 1 values"),
        ("email", (HASHED.upper(),), ""),
        ("email", (HASHED.partition(":")[2],), ""),
        ("zip", ("109", "10997"), "the contract says pii: truncate, and 1 values"),
        ("ssn", ("1", "2"), "the contract says pii: drop, and 2 values"),
    ):
        (problem,) = bare_values(PERSONAL, personal_baseline(**{field: categories}))
        assert problem.startswith(f"field {field}: {message}")
        assert "bo@x.example" not in problem
        assert "10997" not in problem
        assert problem in fit_problems(PERSONAL, personal_baseline(**{field: categories}))
    # Crossed slices are checked, too.
    bare = crossed("bo@x.example * Berlin")
    (problem,) = bare_values(PERSONAL, msgspec.structs.replace(personal_baseline(), dimensions=(bare,)))
    assert problem.startswith("slice who: the contract says pii: hash")
    assert "bo@x.example" not in problem


SEED = 20_261_101


def counts_of(rng: np.random.Generator, n_cells: int, phi: float) -> SliceCounts:
    return SliceCounts(
        cells=tuple(int(value) for value in rng.integers(0, 4000, n_cells)),
        invalid=int(rng.integers(0, 9)),
        below=int(rng.integers(0, 9)),
        above=int(rng.integers(0, 9)),
        singletons=int(rng.integers(1, 9)),
        phi={"1d": baselines.Phi(value=phi, windows=30, flag="ok")},
    )


@pytest.fixture
def baseline_of_bins() -> Baseline:
    rng = np.random.default_rng(SEED)
    trained = ["all", "country=DE", "country=FR"]  # nothing fell into country=other
    common = (40_000, 199, 200, 201, 0, 0, 41, 3)  # m = 40,644: the line of 0.5 % is at 203.2
    carriers = {name: counts_of(rng, 8, 2.0 + i) for i, name in enumerate(trained)}
    carriers["all"] = SliceCounts(cells=common, singletons=5, phi={})
    temperatures = {name: counts_of(rng, 5, 3.0 + i) for i, name in enumerate(trained)}
    names = ("AA", "other", "BB", "CC", "DD", "EE")
    empty = {name: SliceCounts(cells=(0, 40_000)) for name in trained}
    invalid = {name: SliceCounts(cells=(0, 0), invalid=17) for name in trained}
    return Baseline(
        model="m",
        version="1",
        rows=40_644,
        slice_rows={"all": 40_644, "country=DE": 30_000, "country=FR": 10_644, "country=other": 0},
        dimensions=(
            SliceValues(name="country", source="features.country", values=("DE", "FR"), trained=True),
            SliceValues(name="arm", source="arm", values=("a", "b"), trained=False),
        ),
        fields=(
            msgspec.structs.replace(numeric("temp", 54.5, 61.25, 80.1, low=40.0, high=99.0), slices=temperatures),
            msgspec.structs.replace(category("carrier", *names), slices=carriers),
            msgspec.structs.replace(numeric("empty"), slices=empty),
            msgspec.structs.replace(numeric("only-invalid"), slices=invalid),
        ),
    )


def windows_of(layout: Layout, n: int) -> IntArray:
    counts = np.random.default_rng(SEED + 1).integers(0, 1000, (n, layout.n_slices, layout.width))
    return counts.astype(np.int64)


def judging_slice(name: str) -> str:
    return "all" if name.startswith("arm=") else name


def reference(layout: Layout, counts: IntArray) -> dict[tuple[int, int], tuple[list[int], list[list[int]]]]:
    """Baseline bins and window bins of each (slice, field), by loops alone."""
    out = {}
    for row, name in enumerate(layout.slices):
        for column, field in enumerate(layout.fields):
            trained = field.slices.get(judging_slice(name))
            if trained is None or sum(trained.cells) == 0:
                continue
            m = sum(trained.cells)
            start = int(layout.starts[column])
            bins = [list(trained.cells), *counts[:, row, start : start + field.n_cells].tolist()]
            if field.kind == "category":
                is_rare = [cell / m < 0.005 for cell in trained.cells[:-2]]
                for i, (*named, unseen, null) in enumerate(bins):
                    other = sum(cell for cell, rare in zip(named, is_rare, strict=True) if rare) + unseen
                    frequent = [cell for cell, rare in zip(named, is_rare, strict=True) if not rare]
                    bins[i] = [*frequent, other, null]
            out[row, column] = (bins[0], bins[1:])
    return out


def groups_of(bins: PsiBins) -> dict[tuple[int, int], int]:
    return {(row, field): group for row in range(bins.layout.n_slices) for field, group in bins.groups_in(row).items()}


def test_bins_equal_a_plain_loop(baseline_of_bins: Baseline) -> None:
    layout = Layout(baseline_of_bins)
    bins = PsiBins(layout)
    for n_windows in (0, 1, 7):
        counts = windows_of(layout, n_windows)
        expected = reference(layout, counts)
        window_bins = bins.window_bins(counts)
        assert window_bins.shape == (n_windows, bins.n_bins)
        assert set(groups_of(bins)) == set(expected)
        for pair, group in groups_of(bins).items():
            part = slice(bins.starts[group], bins.starts[group] + bins.sizes[group])
            assert bins.base_bins[part].tolist() == expected[pair][0]
            assert window_bins[:, part].tolist() == expected[pair][1]
    # Pairs that training lacks form no group.
    judged = {(layout.slices[s], layout.fields[f].name) for s, f in groups_of(bins)}
    assert not judged & {("country=other", "temp"), ("all", "only-invalid")}
    assert judged >= {("arm=b", "temp"), ("arm=other", "carrier")}
    # φ is that of the judging slice.
    phi, temp = bins.phi("1d"), layout.field_index["temp"]
    groups = [bins.groups_in(row)[temp] for row in (0, 1, layout.slices.index("arm=a"))]
    assert phi[groups].tolist() == [3.0, 4.0, 3.0]
    assert (bins.phi("7d") == 1.0).all()
    # Without fields there are no groups.
    bare = Layout(baseline())
    counts = np.ones((2, bare.n_slices, bare.width), dtype=np.int64)
    assert PsiBins(bare).window_bins(counts).shape == RateCells(bare).k(counts).shape == (2, 0)


def test_labels_and_noise_of_every_group(baseline_of_bins: Baseline) -> None:
    layout = Layout(baseline_of_bins)
    bins = PsiBins(layout)
    assert len(bins.labels) == bins.n_bins
    temp, carrier = layout.field_index["temp"], layout.field_index["carrier"]
    whole, in_germany = bins.groups_in(0), bins.groups_in(1)
    assert bins.group_labels(whole[temp]) == ["< 54.5", "[54.5, 61.25)", "[61.25, 80.1)", "≥ 80.1", "null"]
    # Of the categories of `all` only AA reaches 0.5 % of 40,444 rows.
    assert bins.group_labels(whole[carrier]) == ["AA", "other", "null"]
    assert '"other"' in bins.group_labels(in_germany[carrier])
    assert bins.group_labels(in_germany[carrier])[-2:] == ["other", "null"]
    # Each has the noise of the slice that it is compared with: training lacks the arms, so they have that of `all`.
    noise = {"all": 1e-4, "country=DE": 1.0}
    slices = {
        name: msgspec.structs.replace(counts, noise=noise.get(name, 0.0))
        for name, counts in baseline_of_bins.fields[0].slices.items()
    }
    sketched = msgspec.structs.replace(baseline_of_bins.fields[0], slices=slices)
    bins = PsiBins(Layout(msgspec.structs.replace(baseline_of_bins, fields=(sketched, *baseline_of_bins.fields[1:]))))
    of_temp = bins.select(bins.field_index == 0)
    expected = noise | {f"arm={value}": noise["all"] for value in ("a", "b", "other")}
    names = [layout.slices[row] for row in of_temp.slice_index.tolist()]
    assert of_temp.noise.tolist() == [expected.get(name, 0.0) for name in names]
    assert not bins.select(bins.field_index != 0).noise.any()


def test_labels_of_edges() -> None:
    for edges, integer, labels in (
        ((), False, ["any value"]),
        ((0.5,), True, ["≤ 0", "≥ 1"]),
        ((0.5, 1.5, 4.5), True, ["≤ 0", "1", "2–4", "≥ 5"]),
        ((-3.5, -1.5), True, ["≤ -4", "-3 to -2", "≥ -1"]),
        ((1.0000001, 1.0000002), False, ["< 1.0000001", "[1.0000001, 1.0000002)", "≥ 1.0000002"]),
        ((2.0**60,), True, ["< 1.15292e+18", "≥ 1.15292e+18"]),
    ):
        assert bin_labels(edges, integer=integer) == labels


def test_rates_equal_a_plain_loop(baseline_of_bins: Baseline) -> None:
    layout = Layout(baseline_of_bins)
    counts = windows_of(layout, 5)
    rates = RateCells(layout)
    k, n = rates.k(counts), rates.n(counts)
    assert k.shape == n.shape == (5, rates.n_groups)
    # Without failed events, every field has all events.
    whole = counts.copy()
    whole[:, :, ERRORS] = 0
    assert (rates.n(whole) == whole[:, rates.slice_index, EVENTS]).all()
    groups = set()
    for group in range(rates.n_groups):
        row, column = int(rates.slice_index[group]), int(rates.field_index[group])
        kind, field = RATE_KINDS[rates.kind_index[group]], layout.fields[column]
        name = judging_slice(layout.slices[row])
        trained = field.slices[name]
        assert k[:, group].tolist() == counts[:, row, layout.columns(kind.column)[column]].tolist()
        assert n[:, group].tolist() == counts[:, row, layout.event_cells(column)].sum(axis=1).tolist()
        counted = trained.count(kind.column)
        assert counted is not None
        assert rates.base_k[group] == counted + (trained.singletons if kind.name == "unseen" else 0)
        assert rates.base_n[group] == sum(trained.cells) + trained.invalid
        groups.add((layout.slices[row], field.name, kind.name))
    assert ("all", "temp", "below") in groups
    assert ("all", "carrier", "unseen") in groups
    assert ("arm=a", "temp", "null") in groups
    assert ("all", "only-invalid", "invalid") in groups
    assert not {kind for _, name, kind in groups if name == "empty"} & {"below", "above", "unseen"}
    assert not {s for s, _, _ in groups} & {"country=other"}


def test_the_variance_of_expected_unseen_rows_depends_on_categories_with_two_rows() -> None:
    for cells, singletons, phi in (
        # f₁ = 3 and f₂ = 2 of 200 rows: (f₁(1 − f₁/m) + 2f₂) / (f₁(1 − f₁/m)).
        ((100, 93, 2, 2, 1, 1, 1, 0, 0), 3, 1 + 4 / (3 * (1 - 3 / 200))),
        # 50 rows not kept, 13 kept by one row: those of 7 and 6; those of 8 are kept by two.
        ((100, 21, 8, 8, 7, 6, 50, 0), 13, 1 + 2 * 56 / (63 * (1 - 63 / 200))),
        # No value occurred exactly once, so no unseen values are expected.
        ((100, 90, 10, 0, 0), 0, 1.0),
        # The categories are those of an earlier baseline, so unseen values were counted.
        ((100, 50, 3, 2, 45, 0), 0, 1.0),
    ):
        names = tuple(f"c{i}" for i in range(len(cells) - 2))
        field = category("c", *names, counts=SliceCounts(cells=cells, singletons=singletons))
        rates = RateCells(Layout(baseline(field)))
        phi_by_kind = dict(zip(rates.kind_index.tolist(), rates.base_phi.tolist(), strict=True))
        assert phi_by_kind.pop(RATE_KIND_NAMES.index("unseen")) == pytest.approx(phi)
        assert set(phi_by_kind.values()) == {1.0}


def test_a_training_extreme_is_not_out_of_range_when_served_as_a_32_bit_float() -> None:
    low, high = 0.3, 0.1 + 0.6  # the one rounds down in 32 bits, the other up
    field = numeric("x", 0.5, low=low, high=high)
    served = np.array([low, high]).astype(np.float32)
    assert float(served[0]) != low
    for values in (served, np.array([low, high])):
        result = numeric_cells(field, values)
        assert not (result.below | result.above).any()
    past = np.array([np.nextafter(served[0], np.float32(-1)), np.nextafter(served[1], np.float32(2))])
    result = numeric_cells(field, past)
    assert result.below.tolist() == [True, False]
    assert result.above.tolist() == [False, True]


def test_edges_and_limits_beyond_32_bits() -> None:
    # 0.1 as a 32-bit float is above 0.1; compared in 32 bits it would equal an edge of 0.1 + 10⁻¹⁰.
    result = numeric_cells(numeric("x", 0.1, 0.1 + 1e-10), np.array([0.1], dtype=np.float32))
    assert result.cell.tolist() == [2]
    assert result.cell.dtype == np.int32
    # A limit beyond 32 bits stays a limit; without limits nothing is below or above.
    extremes = np.array([-1e301, -1e300, 1e300, 1e301])
    result = numeric_cells(numeric("x", 0.0, low=-1e300, high=1e300), extremes)
    assert result.below.tolist() == [True, False, False, False]
    result = numeric_cells(numeric("x", 0.0), extremes)
    assert not (result.below | result.above).any()


def test_few_and_many_edges_give_the_same_cells() -> None:
    for n_edges in (0, 1, 20, 64, 65, 300):
        edges = np.arange(float(n_edges))
        values = np.random.default_rng(1).uniform(-2, n_edges + 2, size=2_000)
        values[:n_edges] = edges
        result = numeric_cells(numeric("x", *edges.tolist()), values)
        assert result.cell.tolist() == [int((edges <= value).sum()) for value in values.tolist()], n_edges


def test_strings_of_any_arrow_form_get_the_same_cells() -> None:
    strings = ["b", None, "a", "new", "", "a"]
    around = pa.array(["x", *strings, "x"])
    forms = {
        "string": pa.array(strings),
        "large": pa.array(strings, pa.large_string()),
        "dictionary": pa.array(strings).dictionary_encode(),
        "large dictionary": pa.array(strings, pa.large_string()).dictionary_encode(),
        "null in the dictionary": pa.array(strings).dictionary_encode(null_encoding="encode"),
        "small indices": pa.array(strings, pa.dictionary(pa.uint8(), pa.string())),
        "chunks": pa.chunked_array([strings[:2], strings[2:]]),
        "dictionary chunks": pa.chunked_array(
            [pa.array(part).dictionary_encode() for part in (strings[:2], strings[2:])]
        ),
        "sliced": around[1:-1],
        "sliced dictionary": around.dictionary_encode()[1:-1],
    }
    for form, values in forms.items():
        result = category_cells(category("c", "a", "b", ""), values)
        assert result.tolist() == [1, 4, 0, 3, 2, 0], form
        assert result.dtype == np.int32
    one = category("c", "a")
    assert category_cells(one, pa.nulls(2)).tolist() == [2, 2]
    assert category_cells(one, pa.array([None], pa.string()).dictionary_encode()).tolist() == [2]
    assert category_cells(one, pa.chunked_array([], pa.string())).shape == (0,)
    # Bytes that are not UTF-8 are unseen.
    broken = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"a\xff"]).buffers()[1:]])
    assert category_cells(one, broken).tolist() == [1]


def test_the_columns_counted_are_those_of_the_layout() -> None:
    numbers, strings = numeric("x", 0.0, low=-1.0, high=1.0), category("c", "a")
    layout = Layout(baseline(numbers, strings))
    null = np.array([False, False, False, False, True])
    cells = numeric_cells(numbers, np.array([-2.0, 0.5, 2.0, np.nan, 0.0]), null)
    group = np.array([0, 0, 1, 1, 1])
    #        x < 0, x >= 0, null, invalid, below, above
    assert cell_counts.count_numeric(numbers, cells).tolist() == [[1, 2, 1, 1, 1, 1]]
    assert cell_counts.count_numeric(numbers, cells, group, 2).tolist() == [[1, 1, 0, 0, 1, 0], [0, 1, 1, 1, 0, 1]]
    codes = category_cells(strings, pa.array(["a", "b", None, "a", "a"]))
    #        a, unseen, null, then invalid, below, above, which strings never are
    assert cell_counts.count_categories(strings, codes).tolist() == [[3, 1, 1, 0, 0, 0]]
    assert cell_counts.count_categories(strings, codes, group, 2).tolist() == [[1, 1, 0, 0, 0, 0], [2, 0, 1, 0, 0, 0]]
    ends = [*layout.starts[1:].tolist(), layout.width]
    assert layout.starts[0] == HEADER
    for field, start, end in zip(layout.fields, layout.starts.tolist(), ends, strict=True):
        assert end - start == field.n_cells + TAIL
    for unknown, message in ((2, "group 2"), (-1, None)):
        with pytest.raises(ValueError, match=message):
            cell_counts.count_cells(np.array([0], dtype=np.int32), 3, np.array([unknown]), 2)
    with pytest.raises(ValueError, match="field c is a category field, its values were given as numeric"):
        numeric_cells(strings, np.zeros(1))
    with pytest.raises(ValueError, match="field x is a numeric field, its values were given as category"):
        category_cells(numbers, pa.array(["a"]))


finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(
    st.floats(width=64),
    st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 2.0**24 + 1, 2.0**53, -(2.0**53) - 2]),
    st.integers(-(2**60), 2**60).map(float),
)
edge_lists = st.lists(st.one_of(finite, st.sampled_from([0.0, 1.0, 2.0**53])), max_size=25, unique=True).map(sorted)


@settings(max_examples=50)
@given(edge_lists, st.lists(st.tuples(numbers, st.booleans()), max_size=40), finite, finite)
def test_numeric_cells(edges: list[float], rows: list[tuple[float, bool]], one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    values = np.array([value for value, _ in rows], dtype=np.float64)
    null = np.array([is_null for _, is_null in rows], dtype=np.bool_)
    result = numeric_cells(numeric("x", *edges, low=low, high=high, integer=True), values, null)
    for i, (value, is_null) in enumerate(rows):
        invalid = not is_null and not math.isfinite(value)
        valid = not is_null and not invalid
        inner = sum(edge <= value for edge in edges)
        assert result.cell[i] == (inner if valid else len(edges) + 1 + invalid)
        assert result.invalid[i] == invalid
        assert result.below[i] == (valid and value < low)
        assert result.above[i] == (valid and value > high)


@settings(max_examples=50)
@given(st.lists(st.floats(width=64, allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_training_is_never_out_of_its_own_range_in_either_precision(values: list[float]) -> None:
    array = np.sort(np.array(values))
    field = numeric("x", low=float(array[0]), high=float(array[-1]))
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    for form in (array, narrow[np.isfinite(narrow)]):
        result = numeric_cells(field, form)
        assert not (result.below | result.above).any()


@settings(max_examples=50)
@given(
    st.lists(st.one_of(finite, st.floats(0, 1, width=32), st.sampled_from([0.1, 0.1 + 1e-17, 0.3])), max_size=80),
    st.booleans(),
)
@example([3.4028231621491445e38], False)  # beyond it is one more 32-bit float, and then none
@example([-3.4028231621491445e38], False)
def test_frozen_edges_divide_training_alike_in_both_precisions(values: list[float], integer: bool) -> None:
    array = np.sort(np.array(values, dtype=np.float64))
    edges = freeze_edges(array, integer)
    assert np.isfinite(edges).all()
    assert all(left < right for left, right in pairwise(edges))
    field = numeric("x", *edges, integer=integer)
    cells = numeric_cells(field, array).cell
    assert (np.diff(cells) >= 0).all()
    # Every value that holds a tenth of the rows is alone in its bin, in the precision of the field.
    with np.errstate(over="ignore"):
        served = array if integer else array.astype(np.float32)
    for value, count in zip(*np.unique(served, return_counts=True), strict=True):
        if count * 10 >= array.size:
            ours = np.unique(cells[served == value])
            assert ours.size == 1
            assert (cells == ours[0]).sum() == count
    if not integer:
        wide = served.astype(np.float64)
        within = np.isfinite(wide)
        assert numeric_cells(field, wide[within]).cell.tolist() == cells[within].tolist()


# Arrow strings cannot hold surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=2)
words = st.one_of(st.none(), st.sampled_from(["a", "b", "", "é", "new"]), texts)


@settings(max_examples=50)
@given(st.lists(texts, max_size=8, unique=True), st.lists(words, max_size=40), st.booleans())
def test_category_cells(categories: list[str], values: list[str | None], encoded: bool) -> None:
    array = pa.array(values, pa.string())
    result = category_cells(category("c", *categories), array.dictionary_encode() if encoded else array)
    unseen = len(categories)
    codes: dict[str | None, int] = {None: unseen + 1} | {name: code for code, name in enumerate(categories)}
    assert result.tolist() == [codes.get(value, unseen) for value in values]


def bin_counts(edges: tuple[float, ...], values: FloatArray) -> list[int]:
    bins = np.searchsorted(np.array(edges), values, side="right")
    counts: list[int] = np.bincount(bins, minlength=len(edges) + 1).tolist()
    return counts


def frozen(values: list[float], integer: bool = False) -> tuple[float, ...]:
    return freeze_edges(np.sort(np.array(values, dtype=np.float64)), integer)


def test_distinct_values_get_deciles_midway_between_neighbours() -> None:
    assert frozen(list(range(100))) == tuple(10 * i - 0.5 for i in range(1, 10))
    # 105 rows: cut where the rank is nearest to 10.5, 21, 31.5, …
    assert bin_counts(frozen(list(range(105))), np.arange(105.0)) == [10, 11, 10, 11, 10, 11, 10, 11, 10, 11]
    for n in (50, 999, 20_000):
        values = np.sort(np.random.default_rng(6).normal(size=n))
        counts = bin_counts(freeze_edges(values, integer=False), values)
        assert len(counts) == 10
        assert max(counts) - min(counts) <= 1
    assert frozen([]) == ()


def test_a_point_mass_gets_both_sides() -> None:
    values = [0.0] * 50 + [float(i) for i in range(-25, 0)] + [float(i) for i in range(1, 26)]
    edges = frozen(values)
    assert {-0.5, 0.5} <= set(edges)
    counts = bin_counts(edges, np.array(values))
    assert 50 in counts
    assert max(count for count in counts if count != 50) <= 10
    # At an end it has one side.
    assert frozen([0.0] * 95 + [1.5, 2.0, 3.0, 4.0, 5.0]) == (0.75,)
    assert frozen([-5.0] * 5 + [9.0] * 95) == (2.0,)
    # Of 100 rows no decile falls on 7.0's run but one: its lower side comes from its weight, exactly a tenth.
    values = [float(i) / 100 for i in range(55)] + [7.0] * 10 + [float(i) for i in range(20, 55)]
    assert bin_counts(frozen(values), np.array(values))[6] == 10
    assert [sum(low < edge < high for edge in frozen(values)) for low, high in ((0.54, 7), (7, 20))] == [1, 1]


def test_a_decile_within_a_light_run_moves_to_its_nearer_end() -> None:
    values = [float(i) for i in range(8)] + [8.0] * 4 + [float(i) for i in range(9, 89)] + [89.0] * 8
    edges = frozen(values)
    assert edges[0] == 7.5  # rank 10 lies midway in the run 8–12: the lower end
    values[11] = 8.5
    assert frozen(values)[0] == 8.25


def test_few_whole_numbers_have_one_bin_each() -> None:
    values = [0.0] * 990 + [1.0] * 5 + [2.0] * 4 + [17.0]
    assert frozen(values, integer=True) == (0.5, 1.5, 9.5)
    assert frozen([0.0, 1.0], integer=True) == (0.5,)
    assert len(frozen([float(i) for i in range(20)], integer=True)) == 19
    assert len(frozen([float(i) for i in range(21)], integer=True)) == 9
    # Other numbers get no bins of their own for being few.
    assert frozen(values) == (0.5,)


def test_large_integers_stay_distinct_and_an_edge_moves_off_a_midpoint_that_rounding_would_cross() -> None:
    large = 2.0**53
    assert bin_counts(frozen([large - 1, large], integer=True), np.array([large - 1, large])) == [1, 1]
    assert bin_counts(frozen([large, large + 2], integer=True), np.array([large, large + 2])) == [1, 1]
    assert frozen([2.0**24, 2.0**24 + 1], integer=True) == (2.0**24 + 0.5,)
    # At a power of two the step of 32-bit floats doubles: the right neighbour rounds down past the midpoint.
    left, right = 1 - 2.0**-25 - 2.0**-40, 1 + 2.0**-24
    assert np.float32(left) < np.float32(right) == 1 < (left + right) / 2
    (edge,) = frozen([left, right])
    assert left < edge <= 1


def test_other_values_than_a_constant_fall_into_outer_bins() -> None:
    for value in (0.0, -0.0, 1.0, 0.1, -273.15, 1e-40, 1e30, 3.4e38):
        for n in (1, 100):
            edges = frozen([value] * n)
            assert len(edges) == 2
            near = np.float32(value)
            assert bin_counts(edges, np.array([value, float(near), np.nextafter(value, 9e99)])) == [0, 3, 0], value
            step = np.spacing(near)
            assert bin_counts(edges, np.array([value - 2.1 * step, value + 2.1 * step])) == [1, 0, 1], value
    for value in (0.0, 7.0, -3.0, 2.0**24 + 1, 2.0**60, -(2.0**60), 1e300):
        edges = frozen([value] * 3, integer=True)
        less = min(value - 1, float(np.nextafter(value, -np.inf)))
        more = max(value + 1, float(np.nextafter(value, np.inf)))
        assert bin_counts(edges, np.array([less, value, more])) == [1, 1, 1], value


@pytest.mark.parametrize("integer", [False, True])
def test_constants_at_the_end_of_the_range_have_finite_edges(integer: bool) -> None:
    for value in (float(np.finfo(np.float64).max), float(np.finfo(np.float32).max), 1e300):
        for constant in (value, -value):
            edges = frozen([constant] * 2, integer)
            assert np.isfinite(edges).all()
            assert np.diff(edges).min(initial=1) > 0
            assert bin_counts(edges, np.array([constant, 0.0])) in ([1, 1, 0], [0, 1, 1], [1, 1])


SHAPES: dict[str, Callable[[np.random.Generator, int], FloatArray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(0, 3, size=n),
    "one decimal": lambda rng, n: np.round(rng.normal(15, 8, size=n), 1),
    "point masses": lambda rng, n: rng.choice([0.0, 0.1, 0.3, 1 / 3, 1e9], size=n),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.9, 0, rng.exponential(size=n)),
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-44,
    "neighbours in 32 bits": lambda rng, n: (
        1 + rng.integers(0, 12, size=n) * 2.0**-23 + rng.uniform(-0.49, 0.49, size=n) * 2.0**-23
    ),
    "beyond 32 bits": lambda rng, n: rng.normal(size=n) * 1e39,
}


@pytest.mark.parametrize("name", SHAPES)
def test_training_values_fall_in_the_same_bins_in_32_and_64_bits(name: str) -> None:
    for n in (2, 11, 500, 20_000):
        values = np.sort(SHAPES[name](np.random.default_rng(5), n))
        edges = freeze_edges(values, integer=False)
        assert np.isfinite(edges).all()
        assert (np.diff(edges) > 0).all()
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32).astype(np.float64)
        # Infinite in 32 bits is invalid and in no bin.
        within = np.isfinite(narrow)
        assert bin_counts(edges, narrow[within]) == bin_counts(edges, values[within])
        if len(np.unique(narrow)) > 1:
            assert min(bin_counts(edges, values)) > 0


def test_exact_quantiles_are_values_that_reach_the_rank() -> None:
    values = np.arange(1.0, 101.0)
    assert exact_quantiles(values, np.arange(101) / 100).tolist() == [1.0, *values.tolist()]
    assert exact_quantiles(np.array([5.0]), [0.0, 0.3, 1.0]).tolist() == [5.0] * 3
    assert exact_quantiles(np.array([1.0, 2.0]), [0.5, 0.51]).tolist() == [1.0, 2.0]
    assert exact_quantiles(np.array([]), [0.0, 0.5, 1.0]).shape == (0,)
    # Those that a baseline stores reproduce ranks.
    ranks = np.linspace(0, 1, baselines.QUANTILE_RANKS)
    for n in (1, 7, 1_000, 12_345):
        values = np.sort(np.random.default_rng(7).lognormal(size=n))
        true = np.searchsorted(values, exact_quantiles(values, ranks), side="right") / n
        assert (np.abs(true - ranks) <= 1 / n + 1e-9).all(), n
