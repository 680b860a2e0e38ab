"""Cells against a plain reference that looks at one value at a time."""

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from sketches.baseline.baseline import ALL, FieldBaseline, SliceCounts
from sketches.baseline.cells import category_cells, count_cells, count_numeric, numeric_cells
from sketches.sketch.quantiles import freeze_edges

finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(
    st.floats(width=64),
    st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 2.0**24 + 1, 2.0**53, -(2.0**53) - 2]),
    st.integers(-(2**60), 2**60).map(float),
)
edge_lists = st.lists(st.one_of(finite, st.sampled_from([0.0, 1.0, 2.0**53])), max_size=25, unique=True).map(sorted)


def numeric_field(edges: list[float], low: float | None, high: float | None, integer: bool) -> FieldBaseline:
    counts = SliceCounts(cells=(0,) * (len(edges) + 2))
    return FieldBaseline(
        name="x",
        kind="numeric",
        integer=integer,
        edges=tuple(edges),
        low=low,
        high=high,
        slices={ALL: counts},
    )


@given(edge_lists, st.lists(st.tuples(numbers, st.booleans()), max_size=40), finite, finite)
def test_numeric_cells(edges: list[float], rows: list[tuple[float, bool]], one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    values = np.array([value for value, _ in rows], dtype=np.float64)
    null = np.array([is_null for _, is_null in rows], dtype=np.bool_)
    result = numeric_cells(numeric_field(edges, low, high, integer=True), values, null)
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


@given(st.lists(st.floats(width=64, allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_training_is_never_out_of_its_own_range_in_either_precision(values: list[float]) -> None:
    array = np.sort(np.array(values))
    field = numeric_field([], float(array[0]), float(array[-1]), integer=False)
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    for form in (array, narrow[np.isfinite(narrow)]):
        result = numeric_cells(field, form)
        assert not (result.below | result.above).any()


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
    field = numeric_field(list(edges), None, None, integer)
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


@given(
    st.lists(texts, max_size=8, unique=True),
    st.lists(words, max_size=40),
    st.booleans(),
)
def test_category_cells(categories: list[str], values: list[str | None], encoded: bool) -> None:
    counts = SliceCounts(cells=(0,) * (len(categories) + 2))
    field = FieldBaseline(name="c", kind="category", categories=tuple(categories), slices={ALL: counts})
    array = pa.array(values, pa.string())
    result = category_cells(field, array.dictionary_encode() if encoded else array)
    unseen, null = len(categories), len(categories) + 1
    expected = [
        null if value is None else categories.index(value) if value in categories else unseen for value in values
    ]
    assert result.tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_counts_are_those_of_a_loop(rows: list[tuple[int, int]]) -> None:
    cell = np.array([c for c, _ in rows], dtype=np.int32)
    group = np.array([g for _, g in rows], dtype=np.int64)
    expected = [[sum(row == (c, g) for row in rows) for c in range(6)] for g in range(4)]
    assert count_cells(cell, 6, group, 4).tolist() == expected


@given(
    st.lists(st.tuples(numbers, st.booleans(), st.integers(0, 2)), max_size=40),
    st.integers(0, 40),
)
def test_counts_of_two_batches_add_up_to_those_of_both(rows: list[tuple[float, bool, int]], cut: int) -> None:
    field = numeric_field([-1.0, 0.0, 1.0], -10.0, 10.0, integer=False)

    def count(part: list[tuple[float, bool, int]]) -> np.ndarray:
        values = np.array([row[0] for row in part], dtype=np.float64)
        null = np.array([row[1] for row in part], dtype=np.bool_)
        group = np.array([row[2] for row in part], dtype=np.int64)
        return count_numeric(field, numeric_cells(field, values, null), group, 3)

    whole = count(rows)
    assert (count(rows[:cut]) + count(rows[cut:]) == whole).all()
    # Every row is in one cell or invalid.
    assert whole[:, : field.n_cells + 1].sum() == len(rows)
