"""Groups: the (slice, field) pairs of a baseline that get verdicts.

A group is one field in one slice; for rates also one kind of rate. A field without training rows in a slice forms no
group: there is nothing to compare it with.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.layout import IntArray, Layout

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int32]
"""Indices of slices, fields, bins or counts: a wide model has millions of each."""


class VerdictGroups(ABC):
    """Slice, field and overdispersion of each group of one baseline.

    Args:
        slice_index: row of the layout of each group, shape (G,).
        field_index: field of the layout of each group, shape (G,).
    """

    def __init__(self, layout: Layout, slice_index: NDArray[Any], field_index: NDArray[Any]) -> None:
        self.layout = layout
        self.slice_index: IndexArray = slice_index.astype(np.int32)
        self.field_index: IndexArray = field_index.astype(np.int32)
        self._trained: dict[str, tuple[FloatArray, ...]] = {}

    @property
    def n_groups(self) -> int:
        return len(self.slice_index)

    def phi(self, window: str) -> FloatArray:
        """Return every group's overdispersion at one window length, shape (G,); 1 if it is not known."""
        return self.trained(window)[0]

    def trained(self, window: str) -> tuple[FloatArray, ...]:
        """Return what was learned of every group at one window length: φ and further values, each (G,)."""
        if window not in self._trained:
            self._trained[window] = self._learned(window)
        return self._trained[window]

    @abstractmethod
    def _learned(self, window: str) -> tuple[FloatArray, ...]: ...

    def _counts_of_groups(self) -> Iterator[SliceCounts]:
        """Yield the training counts with which each group is compared."""
        references = reference_slices(self.layout)
        for row, column in zip(self.slice_index.tolist(), self.field_index.tolist(), strict=True):
            yield self.layout.fields[column].slices[references[row]]

    def _select_trained(self, chosen: NDArray[np.bool_]) -> dict[str, tuple[FloatArray, ...]]:
        return {window: tuple(values[chosen] for values in each) for window, each in self._trained.items()}


def reference_slices(layout: Layout) -> tuple[str, ...]:
    """Name, for each slice of the layout, the slice whose training counts it is compared with.

    That is the slice itself, or `all` if training lacks its dimension (an arm, a request's context).
    """
    names = list(layout.slices)
    for start, dimension in zip(layout.dimension_starts, layout.baseline.dimensions, strict=True):
        if not dimension.trained:
            end = start + len(dimension.values) + 1
            names[start:end] = [ALL] * (end - start)
    return tuple(names)


def trained_groups(layout: Layout) -> Iterator[tuple[int, int, FieldBaseline, SliceCounts]]:
    """Yield slice, field, the field's baseline and its training counts, for each pair that training holds."""
    for row, name in enumerate(reference_slices(layout)):
        if layout.baseline.slice_rows.get(name, 0) == 0:
            continue
        for column, field in enumerate(layout.fields):
            counts = field.slices.get(name)
            if counts is not None and (any(counts.cells) or counts.invalid):
                yield row, column, field, counts


def flatten_slices(counts: IntArray) -> IntArray:
    """View counts of shape (W, n_slices, width) as (W, n_slices * width); W may be 0."""
    return counts.reshape(len(counts), counts.shape[1] * counts.shape[2])


def shared(value: float, n: int) -> FloatArray:
    """Return n equal values that share one element of memory; read-only."""
    return np.broadcast_to(np.float64(value), n)


def as_columns(rows: Iterable[tuple[float, ...]], n: int, default: tuple[float, ...]) -> tuple[FloatArray, ...]:
    """Return n rows as arrays, each (n,); they take no memory if every row is the default."""
    table = np.fromiter(chain.from_iterable(rows), np.float64, len(default) * n).reshape(-1, len(default))
    if (table == default).all():
        return tuple(shared(value, n) for value in default)
    return tuple(np.ascontiguousarray(column) for column in table.T)
