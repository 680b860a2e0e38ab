"""How the counts of one pane lie in one array: rows are slices, columns are cells, fields end to end.

Every count of a pane is one 64-bit integer in an array of shape (n_slices, width), so that merging two parts is one
addition and judging all fields and slices of a window is a handful of array operations.

Columns: `[events, errors, timed, slow]`, then for each field its cells (bins or categories, `unseen`, `null`; see
`sketches.baseline.baseline.FieldBaseline.n_cells`), then its `invalid`, `below`, `above`.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sketches.baseline.baseline import ALL, OTHER, Baseline, FieldBaseline
from sketches.sketch.merge import empty_moments

IntArray = NDArray[np.int64]

EVENTS, ERRORS, TIMED, SLOW = 0, 1, 2, 3
"""Predictions; those that failed; those with a valid latency; those slower than the contract promises."""
HEADER = 4
"""Columns before the first field."""
TAIL = 3
"""Columns after a field's cells: invalid, below, above."""


class Layout:
    """Offsets of slices and fields of one baseline."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline
        self.fields: tuple[FieldBaseline, ...] = baseline.fields
        slices = [ALL]
        self.dimension_starts: list[int] = []
        for dimension in baseline.dimensions:
            self.dimension_starts.append(len(slices))
            slices += [f"{dimension.name}={value}" for value in (*dimension.values, OTHER)]
        self.slices: tuple[str, ...] = tuple(slices)
        widths = np.array([field.n_cells + TAIL for field in self.fields], dtype=np.int64)
        self.starts: IntArray = HEADER + np.concatenate(([0], np.cumsum(widths)))[:-1].astype(np.int64)
        self.width = int(HEADER + widths.sum())

    @property
    def n_slices(self) -> int:
        return len(self.slices)

    @property
    def n_fields(self) -> int:
        return len(self.fields)

    def slices_by(self, source: str) -> range:
        """The slices of the first dimension with a source, `NAME=other` left out; none where there is none."""
        for start, dimension in zip(self.dimension_starts, self.baseline.dimensions, strict=True):
            if dimension.source == source:
                return range(start, start + len(dimension.values))
        return range(0)

    @cached_property
    def n_cells(self) -> IntArray:
        """Cells per field, shape (n_fields,)."""
        return np.array([field.n_cells for field in self.fields], dtype=np.int64)

    @cached_property
    def field_index(self) -> dict[str, int]:
        return {field.name: i for i, field in enumerate(self.fields)}

    def empty_counts(self) -> IntArray:
        """Zero counts of one pane, shape (n_slices, width)."""
        return np.zeros((self.n_slices, self.width), dtype=np.int64)

    def empty_moments(self) -> NDArray[np.float64]:
        """Return neutral moments of one pane, shape (n_fields, N_MOMENTS)."""
        return empty_moments(self.n_fields)

    def span(self, field_from: int, field_to: int) -> slice:
        """Return the columns of the fields [field_from, field_to) in a pane's counts."""
        if field_from == field_to:
            return slice(HEADER, HEADER)
        last = field_to - 1
        return slice(int(self.starts[field_from]), int(self.starts[last] + self.n_cells[last]) + TAIL)
