"""Columns summarised by `infer`: moments, categories, counts per slice."""

import numpy as np
import pytest

from barograph_server.profiling.infer import summarise
from barograph_server.profiling.infer.columns import TextColumn
from barograph_server.profiling.infer.slices import SliceDimension
from barograph_server.profiling.infer.summarise import (
    is_whole,
    mean_and_std,
    needs_doubles,
    summarise_numbers,
    summarise_texts,
)
from barograph_server.sketches.baseline.baseline import SliceValues

LARGEST = float(np.finfo(np.float64).max)


def dimension(codes: list[int]) -> SliceDimension:
    values = SliceValues(name="d", source="features.d", values=("a", "b"), trained=True)
    return SliceDimension("d", values, np.array(codes, dtype=np.int16))


def texts(values: list[str | None]) -> TextColumn:
    known = list(dict.fromkeys(value for value in values if value is not None))
    codes = np.array([-1 if value is None else known.index(value) for value in values], dtype=np.int32)
    return TextColumn.from_codes(codes, known)


@pytest.mark.parametrize(
    ("values", "mean", "std"),
    [
        ([], 0.0, 0.0),
        ([0.0, 0.0], 0.0, 0.0),
        ([0.1] * 7, 0.1, 0.0),
        ([1.0, 2.0, 3.0, 6.0], 3.0, 3.5**0.5),
        ([-LARGEST, LARGEST], 0.0, LARGEST),
        ([LARGEST, LARGEST], LARGEST, 0.0),
        ([5e-324, 5e-324], 5e-324, 0.0),
    ],
)
def test_moments_neither_overflow_nor_vanish(values: list[float], mean: float, std: float) -> None:
    assert mean_and_std(np.array(values)) == pytest.approx((mean, std), rel=1e-11)


def test_integers_must_be_exact_in_doubles() -> None:
    whole = ([1.0, 2.0], [-3.0])
    assert [is_whole(np.array(values)) for values in (*whole, [], [1.0, 2.5], [2.0**53])] == [True] * 2 + [False] * 3


def test_doubles_are_needed_if_32_bits_are_too_coarse() -> None:
    ten_minutes = np.linspace(1.7e9, 1.7e9 + 600, 1000)
    assert needs_doubles(ten_minutes)
    assert needs_doubles(np.array([0.0, 1e39]))
    assert not needs_doubles(np.linspace(1.7e9, 1.8e9, 1000))
    assert not needs_doubles(np.linspace(-1, 1, 1000))
    assert not needs_doubles(np.full(9, 0.1))
    assert not needs_doubles(np.empty(0))


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_numbers_are_counted_per_slice_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(summarise, "CHUNK_ROWS", chunk)
    values = np.array([1.0, 2.0, np.nan, np.inf, 2.0, 3.0])
    result = summarise_numbers(
        "x", values, np.array([1.0, 2.0, 2.0, 3.0]), [dimension([0, 0, 1, 0, 2, 2])], integer=True
    )
    field = result.baseline
    assert field.edges == (1.5, 2.5)
    assert result.cells.tolist() == [0, 1, 3, 4, 1, 2]
    assert {name: (counts.cells, counts.invalid) for name, counts in field.slices.items()} == {
        "all": ((1, 2, 1, 1), 1),
        "d=a": ((1, 1, 0, 0), 1),
        "d=b": ((0, 0, 0, 1), 0),
        "d=other": ((0, 1, 1, 0), 0),
    }
    assert (field.low, field.high, field.mean) == (1.0, 3.0, 2.0)


def test_categories_are_ordered_by_rows_then_name_and_the_rest_is_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summarise, "MAX_CATEGORIES", 3)
    column = texts(["z", "b", "b", "a", None, "c", "z", "d"])
    result = summarise_texts("t", column, [dimension([0, 0, 1, 1, 0, 2, 2, 0])])
    field = result.baseline
    assert field.categories == ("b", "z", "a")
    assert field.slices["all"].cells == (2, 2, 1, 2, 1)
    # Retained by one row: a, and z, which c would otherwise outrank.
    assert {name: counts.singletons for name, counts in field.slices.items()} == {
        "all": 3,
        "d=a": 1,
        "d=b": 1,
        "d=other": 1,
    }
    assert result.cells.tolist() == [1, 0, 0, 2, 4, 3, 1, 3]


@pytest.mark.parametrize("max_categories", [4, 20, 1000])
def test_expected_unseen_rows_are_those_unseen_in_others(monkeypatch: pytest.MonkeyPatch, max_categories: int) -> None:
    """Leave-one-out: check for each row whether the categories of the other rows contain its value."""
    monkeypatch.setattr(summarise, "MAX_CATEGORIES", max_categories)
    rng = np.random.default_rng(max_categories)
    column = [f"{value:02d}" for value in np.minimum(rng.zipf(1.5, 300), 60)]
    whole = summarise_texts("t", texts(list(column)), [dimension((np.arange(300) % 3).tolist())]).baseline
    unseen = np.zeros(300, dtype=bool)
    for row, value in enumerate(column):
        others = summarise_texts("t", texts([*column[:row], *column[row + 1 :]]), []).baseline
        unseen[row] = value not in others.categories
    slices = {"all": slice(None), "d=a": slice(0, None, 3), "d=b": slice(1, None, 3), "d=other": slice(2, None, 3)}
    for name, rows in slices.items():
        counts = whole.slices[name]
        assert counts.cells[-2] + counts.singletons == unseen[rows].sum(), name
    assert 0 < unseen.sum() < 300
