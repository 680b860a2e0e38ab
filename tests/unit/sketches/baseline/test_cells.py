import numpy as np
import pyarrow as pa
import pytest

from sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts
from sketches.baseline.cells import (
    FieldCells,
    category_cells,
    count_categories,
    count_cells,
    count_numeric,
    numeric_cells,
)
from sketches.baseline.columns import TAIL
from sketches.baseline.layout import HEADER, Layout


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


def test_a_bin_holds_its_lower_edge_and_not_its_upper() -> None:
    result = numeric_cells(numeric_field(0.0, 1.0), np.array([-1e300, -1e-9, -0.0, 0.0, 0.5, 1.0, 2.0]))
    assert result.cell.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert result.cell.dtype == np.int32
    assert not result.invalid.any()


def test_nan_and_infinities_are_invalid_unless_they_are_null() -> None:
    field = numeric_field(0.0, 1.0, low=0.0, high=1.0)
    values = np.array([np.nan, np.inf, -np.inf, np.nan, np.inf, 0.5, 0.5])
    null = np.array([False, False, False, True, True, True, False])
    result = numeric_cells(field, values, null)
    assert result.cell.tolist() == [4, 4, 4, 3, 3, 3, 1]
    assert result.invalid.tolist() == [True, True, True, False, False, False, False]
    assert not result.below.any()
    assert not result.above.any()


def test_below_and_above_are_in_an_outer_bin_too() -> None:
    field = numeric_field(5.0, low=0.0, high=10.0)
    result = numeric_cells(field, np.array([-1.0, 0.0, -0.0, 10.0, 11.0, -1.0]), np.array([False] * 5 + [True]))
    assert result.cell.tolist() == [0, 0, 0, 1, 1, 2]
    assert result.below.tolist() == [True, False, False, False, False, False]
    assert result.above.tolist() == [False, False, False, False, True, False]


def test_without_limits_nothing_is_below_or_above() -> None:
    result = numeric_cells(numeric_field(5.0), np.array([-1e308, 1e308]))
    assert not result.below.any()
    assert not result.above.any()


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


def test_limits_of_whole_numbers_are_exact() -> None:
    field = numeric_field(0.0, low=-(2.0**24 + 1), high=2.0**24 + 1, integer=True)
    result = numeric_cells(field, np.array([-(2.0**24 + 2), -(2.0**24 + 1), 2.0**24 + 1, 2.0**24 + 2]))
    assert result.below.tolist() == [True, False, False, False]
    assert result.above.tolist() == [False, False, False, True]


def test_a_limit_beyond_32_bits_stays_a_limit() -> None:
    result = numeric_cells(numeric_field(0.0, low=-1e300, high=1e300), np.array([-1e301, -1e300, 1e300, 1e301]))
    assert result.below.tolist() == [True, False, False, False]


def test_32_bit_values_are_compared_with_the_edges_in_64_bits() -> None:
    # 0.1 as a 32-bit float is above 0.1; compared in 32 bits it would equal an edge of 0.1 + 10⁻¹⁰.
    result = numeric_cells(numeric_field(0.1, 0.1 + 1e-10), np.array([0.1], dtype=np.float32))
    assert result.cell.tolist() == [2]


@pytest.mark.parametrize("n_edges", [0, 1, 20, 64, 65, 300])
def test_few_and_many_edges_give_the_same_cells(n_edges: int) -> None:
    edges = np.arange(float(n_edges))
    values = np.random.default_rng(1).uniform(-2, n_edges + 2, size=2_000)
    values[:n_edges] = edges
    result = numeric_cells(numeric_field(*edges.tolist()), values)
    assert result.cell.tolist() == [int((edges <= value).sum()) for value in values.tolist()]


def test_no_values_give_no_cells() -> None:
    result = numeric_cells(numeric_field(0.0), np.array([]), np.array([], dtype=np.bool_))
    assert {array.shape for array in result} == {(0,)}
    assert category_cells(category_field("a"), pa.array([], pa.string())).shape == (0,)
    assert category_cells(category_field("a"), pa.chunked_array([], pa.string())).shape == (0,)


STRINGS = ["b", None, "a", "new", "", "a"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array(STRINGS),
        pa.array(STRINGS, pa.large_string()),
        pa.array(STRINGS).dictionary_encode(),
        pa.array(STRINGS, pa.large_string()).dictionary_encode(),
        pa.array(STRINGS).dictionary_encode(null_encoding="encode"),
        pa.array(STRINGS, pa.dictionary(pa.uint8(), pa.string())),
        pa.chunked_array([STRINGS[:2], STRINGS[2:]]),
        pa.chunked_array([pa.array(part).dictionary_encode() for part in (STRINGS[:2], STRINGS[2:])]),
        pa.array(["x", *STRINGS, "x"])[1:-1],
        pa.array(["x", *STRINGS, "x"]).dictionary_encode()[1:-1],
    ],
    ids=[
        "string",
        "large",
        "dictionary",
        "large dictionary",
        "null in the dictionary",
        "small indices",
        "chunks",
        "dictionary chunks",
        "sliced",
        "sliced dictionary",
    ],
)
def test_strings_of_any_arrow_form_get_the_same_cells(values: pa.Array) -> None:
    result = category_cells(category_field("a", "b", ""), values)
    assert result.tolist() == [1, 4, 0, 3, 2, 0]
    assert result.dtype == np.int32


def test_all_null_strings_are_null() -> None:
    assert category_cells(category_field("a"), pa.nulls(2)).tolist() == [2, 2]
    assert category_cells(category_field("a"), pa.array([None], pa.string()).dictionary_encode()).tolist() == [2]


def test_a_field_without_categories_has_only_unseen_and_null() -> None:
    assert category_cells(category_field(), pa.array(["a", None])).tolist() == [0, 1]


def test_bytes_that_are_not_utf8_are_unseen() -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"a\xff"]).buffers()[1:]])
    assert category_cells(category_field("a"), broken).tolist() == [1]


def test_a_compiled_field_gives_the_same_counts() -> None:
    field, values = category_field("a", "b"), pa.array(["b", "c"])
    ready = FieldCells(field)
    for _ in range(2):
        assert category_cells(ready, values).tolist() == category_cells(field, values).tolist() == [1, 2]
    assert numeric_cells(FieldCells(numeric_field(0.0)), np.array([1.0])).cell.tolist() == [1]


def test_values_of_the_other_kind_are_rejected() -> None:
    with pytest.raises(ValueError, match="field c is a category field, its values were given as numeric"):
        numeric_cells(category_field("a"), np.array([1.0]))
    with pytest.raises(ValueError, match="field x is a numeric field, its values were given as category"):
        category_cells(numeric_field(1.0), pa.array(["a"]))


def test_cells_are_counted_per_group() -> None:
    cell = np.array([0, 2, 2, 1], dtype=np.int32)
    assert count_cells(cell, 4).tolist() == [[1, 1, 2, 0]]
    counts = count_cells(cell, 3, np.array([2, 0, 2, 2], dtype=np.int16), 4)
    assert counts.tolist() == [[0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert counts.dtype == np.int64
    assert count_cells(cell[:0], 3, n_groups=2).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_an_unknown_group_is_rejected() -> None:
    with pytest.raises(ValueError, match="group 2"):
        count_cells(np.array([0], dtype=np.int32), 3, np.array([2]), 2)
    with pytest.raises(ValueError):
        count_cells(np.array([0], dtype=np.int32), 3, np.array([-1]), 2)


def test_the_columns_counted_are_those_of_the_layout() -> None:
    numbers, strings = numeric_field(0.0, low=-1.0, high=1.0), category_field("a")
    layout = Layout(
        Baseline(model="m", version="1", rows=0, slice_rows={ALL: 0}, fields=(numbers, strings), dimensions=())
    )
    cells = numeric_cells(
        numbers, np.array([-2.0, 0.5, 2.0, np.nan, 0.0]), np.array([False, False, False, False, True])
    )
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
