"""Bins that several baselines share, so that what was counted on each can be held against the others.

Numbers are put on the bins of one baseline, the reference. Where another has the same edges its counts are taken as
they are; where not, they cannot be, and whoever compares counts its sketch anew (`sketches.comparison.rebin`).

Categories always can: a category has a bin of its own where all baselines keep it, everything else is `other`. As in
`sketches.baseline.bins`, categories of under 0.5 % of the reference's training rows are `other` too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sketches.baseline.baseline import ALL, RARE_DIVISOR, FieldBaseline
from sketches.baseline.bins import NULL_BIN, OTHER_BIN, bin_labels, category_label
from sketches.baseline.layout import IntArray, Layout


@dataclass(frozen=True, slots=True)
class AlignedField:
    """One field on bins that all of some baselines share."""

    name: str
    kind: str
    labels: tuple[str, ...]
    """What people call each bin, shape (B,); `null` is the last."""
    categories: tuple[str, ...]
    """Categories with a bin of their own, in the order of the first bins."""
    edges: tuple[float, ...]
    """Of numbers: the reference's."""
    field_index: tuple[int, ...]
    """Where the field stands in each layout."""
    places: tuple[IntArray | None, ...]
    """Per layout the bin of each cell, shape (n_cells,); None where numbers lie on other edges."""

    @property
    def n_bins(self) -> int:
        return len(self.labels)


def align(reference: Layout, layouts: Sequence[Layout], names: Sequence[str]) -> list[AlignedField]:
    """Align fields of several layouts; a field that one of them lacks, or holds as another kind, is left out.

    Args:
        reference: whose bins count; usually one of the layouts.
        layouts: what is to be aligned.
        names: fields.
    """
    found = []
    for name in names:
        kept = _field(reference, name)
        fields = [_field(layout, name) for layout in layouts]
        if kept is not None and all(each is not None and each.kind == kept.kind for each in fields):
            index = tuple(layout.field_index[name] for layout in layouts)
            every = [each for each in fields if each is not None]
            found.append(_numbers(kept, every, index) if kept.kind == "numeric" else _categories(kept, every, index))
    return found


def _field(layout: Layout, name: str) -> FieldBaseline | None:
    index = layout.field_index.get(name)
    return None if index is None else layout.fields[index]


def _numbers(kept: FieldBaseline, every: list[FieldBaseline], index: tuple[int, ...]) -> AlignedField:
    same = np.arange(kept.n_cells, dtype=np.int64)
    labels = (*bin_labels(kept.edges, integer=kept.integer), NULL_BIN)
    places = tuple(same if each.edges == kept.edges else None for each in every)
    return AlignedField(kept.name, kept.kind, labels, (), kept.edges, index, places)


def _categories(kept: FieldBaseline, every: list[FieldBaseline], index: tuple[int, ...]) -> AlignedField:
    common = set(kept.categories).intersection(*(each.categories for each in every))
    cells = kept.slices[ALL].cells
    rows = sum(cells)
    own = [
        category
        for category, n in zip(kept.categories, cells, strict=False)
        if category in common and n * RARE_DIVISOR >= rows
    ]
    bin_of = {category: i for i, category in enumerate(own)}
    places = []
    for each in every:
        bins = [bin_of.get(category, len(own)) for category in each.categories]
        places.append(np.array([*bins, len(own), len(own) + 1], dtype=np.int64))
    labels = (*map(category_label, own), OTHER_BIN, NULL_BIN)
    return AlignedField(kept.name, kept.kind, labels, tuple(own), (), index, tuple(places))
