"""Bins that several baselines share, and counts read from sketches: exact in their sum, within the stated error."""

from __future__ import annotations

import numpy as np
import pytest
from barograph.contract import SketchKind
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.comparison.aligned import align
from barograph_server.sketches.comparison.rebin import rebin, split_counts
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch
from tests.support.outputs import output_baseline


def layout(*fields: FieldBaseline) -> Layout:
    rows = sum(fields[0].slices["all"].cells)
    return Layout(Baseline(model="m", version="1", rows=rows, slice_rows={"all": rows}, fields=fields))


def categories(name: str, **counts: int) -> FieldBaseline:
    cells = (*counts.values(), 0, 0)
    return FieldBaseline(name=name, kind="category", categories=tuple(counts), slices={"all": SliceCounts(cells=cells)})


def numbers(name: str, *edges: float) -> FieldBaseline:
    cells = (100,) * (len(edges) + 1)
    return FieldBaseline(name=name, kind="numeric", edges=edges, slices={"all": SliceCounts(cells=(*cells, 0))})


def test_one_baseline_has_the_bins_that_windows_are_judged_on() -> None:
    own = Layout(output_baseline("1", 1))
    bins = PsiBins(own)
    for field in align(own, [own, own], [each.name for each in own.fields]):
        index = own.field_index[field.name]
        group = bins.groups_in(0)[index]
        assert list(field.labels) == bins.group_labels(group)
        cells = np.arange(1, own.n_cells[index] + 1)
        counts = np.zeros((1, own.n_slices, own.width), dtype=np.int64)
        counts[0, 0, own.starts[index] : own.starts[index] + len(cells)] = cells
        judged = bins.window_bins(counts)[0, bins.starts[group] :][: field.n_bins]
        indices = field.bins_of_cells[0]
        assert indices is not None
        assert np.bincount(indices, cells).astype(int).tolist() == judged.tolist()


def test_categories_that_not_all_keep_are_other() -> None:
    old = layout(categories("class", cat=500, dog=400, bird=100))
    new = layout(categories("class", bird=300, fish=300, cat=398, emu=2))
    (field,) = align(new, [old, new], ["class"])
    # emu is under 0.5 % of the reference's rows, fish is not kept by the old one.
    assert field.labels == ("bird", "cat", "other", "null")
    assert field.categories == ("bird", "cat")
    assert [None if each is None else each.tolist() for each in field.bins_of_cells] == [
        [1, 2, 0, 2, 3],
        [0, 2, 1, 2, 2, 3],
    ]


def test_numbers_on_other_edges_have_no_bins() -> None:
    old, new = layout(numbers("score", 0.2, 0.5)), layout(numbers("score", 0.2, 0.6))
    (field,) = align(new, [old, new, new], ["score"])
    assert field.edges == (0.2, 0.6)
    assert field.bins_of_cells[0] is None
    assert [each.tolist() for each in field.bins_of_cells if each is not None] == [[0, 1, 2, 3]] * 2
    assert field.n_bins == 4
    # Missing fields and fields of another kind are omitted.
    one = layout(numbers("score", 0.5), numbers("class", 1.0), numbers("latency_ms", 5.0))
    other = layout(numbers("latency_ms", 5.0), categories("class", a=100))
    result = align(one, [one, other], ["score", "class", "latency_ms", "nothing"])
    assert [field.name for field in result] == ["latency_ms"]
    assert result[0].field_index == (2, 0)


def merged(values: NDArray[np.float64], kind: SketchKind, parts: int = 15) -> NumericSketch:
    whole = numeric_sketch(False, kind)
    for subset in np.array_split(values, parts):
        sketch = numeric_sketch(False, kind)
        sketch.update(subset)
        whole.merge(sketch)
    return whole


def exact(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def test_few_values_are_counted_exactly() -> None:
    few = merged(np.array([0.0, 1.0, 1.0, 2.0, 3.0, 5.0]), "kll")
    for sketch, counts in ((few, [1, 3, 2, 0]), (numeric_sketch(False, "kll"), [0, 0, 0, 0])):
        rebinned = rebin(sketch, [1.0, 2.5, 9.0])
        assert rebinned.counts.tolist() == counts
        assert rebinned.noise == 0.0
    assert split_counts(few, [1.5], [3, 3], [1.0, 2.5, 9.0]).tolist() == [1, 3, 2, 0]
    # Rows without values in the sketch are not lost.
    assert split_counts(merged(np.array([5.0, 6.0]), "kll"), [0.0], [7, 2], [-1.0, 5.5]).tolist() == [7, 1, 1]


@pytest.mark.parametrize(
    ("kind", "bins"),
    [
        ("kll", 10),
        ("req", 10),
        *(pytest.param(kind, bins, marks=pytest.mark.long) for kind in ("kll", "req") for bins in (4, 20)),
    ],
)
def test_noise_is_within_the_stated_bound(kind: SketchKind, bins: int) -> None:
    """The PSI of a sketch's counts against the exact ones of the same values, times n_eff, is at most df on average."""
    rng = np.random.default_rng(bins)
    edges = np.quantile(rng.normal(size=100_000), np.arange(1, bins) / bins)
    t = []
    for _ in range(60):
        values = rng.normal(size=20_000)
        rebinned = rebin(merged(values, kind), edges)
        assert rebinned.counts.sum() == 20_000
        truth = exact(values.astype(np.float32).astype(np.float64), edges)
        share, other = rebinned.counts / 20_000, truth / 20_000
        t.append(((share - other) ** 2 / other).sum() / rebinned.noise)
    assert np.mean(t) <= (bins - 1) * 1.1


def test_split_counts_keep_their_sum_and_the_old_edges() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(size=50_000)
    old, new = np.array([-1.0, 0.0, 2.0]), np.array([-1.5, 0.0, 0.5])
    counts = split_counts(merged(values, "kll"), old, exact(values, old), new)
    truth = exact(values, new)
    assert counts.sum() == truth.sum()
    assert counts[:2].sum() == truth[:2].sum()
    assert np.abs(counts - truth).max() <= 0.0165 * 50_000
