"""Bins that several baselines share."""

from __future__ import annotations

import numpy as np

from sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts
from sketches.baseline.bins import PsiBins
from sketches.baseline.layout import Layout
from sketches.comparison.aligned import align
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
