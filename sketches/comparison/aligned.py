"""Bins that several baselines share, so that counts on each can be compared.

Numbers use the bins of one baseline, the reference. Counts on the same edges are used as they are; for other edges the
caller recounts the sketch on the reference's bins (`sketches.comparison.rebin`).

Categories always align: a category has its own bin if all baselines keep it, everything else is `other`. As in
`sketches.baseline.bins`, categories of under 0.5 % of the reference's training rows are `other` too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from barograph_server.sketches.baseline.baseline import ALL, RARE_DIVISOR, FieldBaseline
from barograph_server.sketches.baseline.bins import NULL_BIN, OTHER_BIN, bin_labels, category_label
from barograph_server.sketches.baseline.layout import IntArray, Layout


@dataclass(frozen=True, slots=True)
class AlignedField:
    """One field on bins that several baselines share."""

    name: str
    kind: str
    labels: tuple[str, ...]
    """Name of each bin for people, shape (B,); `null` is the last."""
    categories: tuple[str, ...]
    """Categories with their own bin, in the order of the bins."""
    edges: tuple[float, ...]
    """Edges of the reference, for numbers."""
    field_index: tuple[int, ...]
    """Index of the field in each layout."""
    bins_of_cells: tuple[IntArray | None, ...]
    """Per layout, the bin of each cell, shape (n_cells,); None if its numbers have other edges."""

    @property
    def n_bins(self) -> int:
        return len(self.labels)


def align(reference: Layout, layouts: Sequence[Layout], names: Sequence[str]) -> list[AlignedField]:
    """Align fields of several layouts; a field that one lacks, or has as another kind, is omitted.

    So are numbers of a reference without rows, which has no bins for them.

    Args:
        reference: the layout whose bins are used; usually one of the layouts.
    """
    aligned = []
    for name in names:
        base = _field(reference, name)
        if base is not None and base.kind == "numeric" and not (base.edges or reference.baseline.rows):
            continue
        fields = [_field(layout, name) for layout in layouts]
        if base is not None and all(each is not None and each.kind == base.kind for each in fields):
            index = tuple(layout.field_index[name] for layout in layouts)
            others = [each for each in fields if each is not None]
            aligned.append(
                _numbers(base, others, index) if base.kind == "numeric" else _categories(base, others, index)
            )
    return aligned


def _field(layout: Layout, name: str) -> FieldBaseline | None:
    index = layout.field_index.get(name)
    return None if index is None else layout.fields[index]


def _numbers(base: FieldBaseline, others: list[FieldBaseline], index: tuple[int, ...]) -> AlignedField:
    identity = np.arange(base.n_cells, dtype=np.int64)
    labels = (*bin_labels(base.edges, integer=base.integer), NULL_BIN)
    bins_of_cells = tuple(identity if each.edges == base.edges else None for each in others)
    return AlignedField(base.name, base.kind, labels, (), base.edges, index, bins_of_cells)


def _categories(base: FieldBaseline, others: list[FieldBaseline], index: tuple[int, ...]) -> AlignedField:
    common = set(base.categories).intersection(*(each.categories for each in others))
    cells = base.slices[ALL].cells
    rows = sum(cells)
    own = [
        category
        for category, n in zip(base.categories, cells, strict=False)
        if category in common and n * RARE_DIVISOR >= rows
    ]
    bin_of = {category: i for i, category in enumerate(own)}
    bins_of_cells = []
    for each in others:
        bins = [bin_of.get(category, len(own)) for category in each.categories]
        bins_of_cells.append(np.array([*bins, len(own), len(own) + 1], dtype=np.int64))
    labels = (*map(category_label, own), OTHER_BIN, NULL_BIN)
    return AlignedField(base.name, base.kind, labels, tuple(own), (), index, tuple(bins_of_cells))
