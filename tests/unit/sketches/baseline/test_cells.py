import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from barograph_server.sketches.baseline.baseline import ALL, QUANTILE_RANKS, Baseline, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.cells import (
    category_cells,
    count_categories,
    count_cells,
    count_numeric,
    numeric_cells,
)
from barograph_server.sketches.baseline.columns import TAIL
from barograph_server.sketches.baseline.layout import HEADER, Layout
from barograph_server.sketches.sketch.quantiles import FloatArray, exact_quantiles, freeze_edges


def numeric_field(
    *edges: float, low: float | None = None, high: float | None = None, integer: bool = False
) -> FieldBaseline:
    counts = SliceCounts(cells=(0,) * (len(edges) + 2))
    return FieldBaseline(
        name="x", kind="numeric", integer=integer, edges=edges, low=low, high=high, slices={ALL: counts}
    )


def category_field(*categories: str) -> FieldBaseline:
    counts = SliceCounts(cells=(0,) * (len(categories) + 2))
    return FieldBaseline(name="c", kind="category", categories=categories, slices={ALL: counts})


def test_a_training_extreme_is_not_out_of_range_when_served_as_a_32_bit_float() -> None:
    low, high = 0.3, 0.1 + 0.6  # the one rounds down in 32 bits, the other up
    field = numeric_field(0.5, low=low, high=high)
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
    result = numeric_cells(numeric_field(0.1, 0.1 + 1e-10), np.array([0.1], dtype=np.float32))
    assert result.cell.tolist() == [2]
    assert result.cell.dtype == np.int32
    # A limit beyond 32 bits stays a limit; without limits nothing is below or above.
    extremes = np.array([-1e301, -1e300, 1e300, 1e301])
    result = numeric_cells(numeric_field(0.0, low=-1e300, high=1e300), extremes)
    assert result.below.tolist() == [True, False, False, False]
    result = numeric_cells(numeric_field(0.0), extremes)
    assert not (result.below | result.above).any()


def test_few_and_many_edges_give_the_same_cells() -> None:
    for n_edges in (0, 1, 20, 64, 65, 300):
        edges = np.arange(float(n_edges))
        values = np.random.default_rng(1).uniform(-2, n_edges + 2, size=2_000)
        values[:n_edges] = edges
        result = numeric_cells(numeric_field(*edges.tolist()), values)
        assert result.cell.tolist() == [int((edges <= value).sum()) for value in values.tolist()], n_edges


STRINGS = ["b", None, "a", "new", "", "a"]


def test_strings_of_any_arrow_form_get_the_same_cells() -> None:
    around = pa.array(["x", *STRINGS, "x"])
    forms = {
        "string": pa.array(STRINGS),
        "large": pa.array(STRINGS, pa.large_string()),
        "dictionary": pa.array(STRINGS).dictionary_encode(),
        "large dictionary": pa.array(STRINGS, pa.large_string()).dictionary_encode(),
        "null in the dictionary": pa.array(STRINGS).dictionary_encode(null_encoding="encode"),
        "small indices": pa.array(STRINGS, pa.dictionary(pa.uint8(), pa.string())),
        "chunks": pa.chunked_array([STRINGS[:2], STRINGS[2:]]),
        "dictionary chunks": pa.chunked_array(
            [pa.array(part).dictionary_encode() for part in (STRINGS[:2], STRINGS[2:])]
        ),
        "sliced": around[1:-1],
        "sliced dictionary": around.dictionary_encode()[1:-1],
    }
    for form, values in forms.items():
        result = category_cells(category_field("a", "b", ""), values)
        assert result.tolist() == [1, 4, 0, 3, 2, 0], form
        assert result.dtype == np.int32
    one = category_field("a")
    assert category_cells(one, pa.nulls(2)).tolist() == [2, 2]
    assert category_cells(one, pa.array([None], pa.string()).dictionary_encode()).tolist() == [2]
    assert category_cells(one, pa.chunked_array([], pa.string())).shape == (0,)
    # Bytes that are not UTF-8 are unseen.
    broken = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"a\xff"]).buffers()[1:]])
    assert category_cells(one, broken).tolist() == [1]


def test_values_of_another_kind_than_the_field_are_rejected() -> None:
    with pytest.raises(ValueError, match="field c is a category field, its values were given as numeric"):
        numeric_cells(category_field("a"), np.zeros(1))
    with pytest.raises(ValueError, match="field x is a numeric field, its values were given as category"):
        category_cells(numeric_field(0.0), pa.array(["a"]))


def test_the_columns_counted_are_those_of_the_layout() -> None:
    numbers, strings = numeric_field(0.0, low=-1.0, high=1.0), category_field("a")
    layout = Layout(Baseline(model="m", version="1", rows=0, slice_rows={ALL: 0}, fields=(numbers, strings)))
    null = np.array([False, False, False, False, True])
    cells = numeric_cells(numbers, np.array([-2.0, 0.5, 2.0, np.nan, 0.0]), null)
    group = np.array([0, 0, 1, 1, 1])
    #        x < 0, x >= 0, null, invalid, below, above
    assert count_numeric(numbers, cells).tolist() == [[1, 2, 1, 1, 1, 1]]
    assert count_numeric(numbers, cells, group, 2).tolist() == [[1, 1, 0, 0, 1, 0], [0, 1, 1, 1, 0, 1]]
    codes = category_cells(strings, pa.array(["a", "b", None, "a", "a"]))
    #        a, unseen, null, then invalid, below, above, which strings never are
    assert count_categories(strings, codes).tolist() == [[3, 1, 1, 0, 0, 0]]
    assert count_categories(strings, codes, group, 2).tolist() == [[1, 1, 0, 0, 0, 0], [2, 0, 1, 0, 0, 0]]
    ends = [*layout.starts[1:].tolist(), layout.width]
    assert layout.starts[0] == HEADER
    for field, start, end in zip(layout.fields, layout.starts.tolist(), ends, strict=True):
        assert end - start == field.n_cells + TAIL
    for unknown, message in ((2, "group 2"), (-1, None)):
        with pytest.raises(ValueError, match=message):
            count_cells(np.array([0], dtype=np.int32), 3, np.array([unknown]), 2)


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
    result = numeric_cells(numeric_field(*edges, low=low, high=high, integer=True), values, null)
    for i, (value, is_null) in enumerate(rows):
        valid = not is_null and math.isfinite(value)
        if is_null:
            cell = len(edges) + 1
        elif not valid:
            cell = len(edges) + 2
        else:
            cell = len([edge for edge in edges if edge <= value])
        assert result.cell[i] == cell
        assert result.invalid[i] == (not is_null and not math.isfinite(value))
        assert result.below[i] == (valid and value < low)
        assert result.above[i] == (valid and value > high)


@settings(max_examples=50)
@given(st.lists(st.floats(width=64, allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_training_is_never_out_of_its_own_range_in_either_precision(values: list[float]) -> None:
    array = np.sort(np.array(values))
    field = numeric_field(low=float(array[0]), high=float(array[-1]))
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
    field = numeric_field(*edges, integer=integer)
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
    result = category_cells(category_field(*categories), array.dictionary_encode() if encoded else array)
    unseen, null = len(categories), len(categories) + 1
    expected = [
        null if value is None else categories.index(value) if value in categories else unseen for value in values
    ]
    assert result.tolist() == expected


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


def test_large_integers_stay_distinct() -> None:
    large = 2.0**53
    assert bin_counts(frozen([large - 1, large], integer=True), np.array([large - 1, large])) == [1, 1]
    assert bin_counts(frozen([large, large + 2], integer=True), np.array([large, large + 2])) == [1, 1]
    assert frozen([2.0**24, 2.0**24 + 1], integer=True) == (2.0**24 + 0.5,)


def test_an_edge_moves_off_a_midpoint_that_rounding_would_cross() -> None:
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
    ranks = np.linspace(0, 1, QUANTILE_RANKS)
    for n in (1, 7, 1_000, 12_345):
        values = np.sort(np.random.default_rng(7).lognormal(size=n))
        true = np.searchsorted(values, exact_quantiles(values, ranks), side="right") / n
        assert (np.abs(true - ranks) <= 1 / n + 1e-9).all(), n
