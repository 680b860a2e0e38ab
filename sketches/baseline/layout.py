"""Layout of the counts of one pane in one array: rows are slices, columns are the counts of all fields end to end.

Every count of a pane is one 64-bit integer in an array of shape (n_slices, width), so that merging two partials is one
addition and judging all fields and slices of a window is a handful of array operations.

Columns: the header `[events, errors, timed, slow]`, then for each field its cells (bins or categories, `unseen`,
`null`; see `sketches.baseline.baseline.FieldBaseline.n_cells`), then its tail (`sketches.baseline.columns`).
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL, OTHER, Baseline, FieldBaseline
from barograph_server.sketches.baseline.columns import TAIL, TAIL_KEYS, FieldColumn
from barograph_server.sketches.sketch.merge import empty_moments

IntArray = NDArray[np.int64]

EVENTS, ERRORS, TIMED, SLOW = 0, 1, 2, 3
"""Predictions; those that failed; those with a valid latency; those slower than the contract promises."""
HEADER = 4
"""Number of columns before the first field."""


class LayoutError(ValueError):
    """Counts do not have the columns of a layout."""


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
        """Return the slices of the first dimension with a source, without `NAME=other`; empty if there is none."""
        for start, dimension in zip(self.dimension_starts, self.baseline.dimensions, strict=True):
            if dimension.source == source:
                return range(start, start + len(dimension.values))
        return range(0)

    @cached_property
    def n_cells(self) -> IntArray:
        """Cells per field, shape (n_fields,)."""
        return np.array([field.n_cells for field in self.fields], dtype=np.int64)

    @cached_property
    def widths(self) -> IntArray:
        """Columns per field, cells and tail, shape (n_fields,)."""
        return self.n_cells + TAIL

    @cached_property
    def field_index(self) -> dict[str, int]:
        return {field.name: i for i, field in enumerate(self.fields)}

    def columns(self, column: FieldColumn) -> IntArray:
        """Return where one count of every field lies, shape (n_fields,)."""
        return self.starts + self.n_cells + int(column)

    def cells(self, field: int) -> slice:
        start = int(self.starts[field])
        return slice(start, start + int(self.n_cells[field]))

    def valid_cells(self, field: int) -> slice:
        """Return the columns of the cells that count valid values: all but `null`."""
        cells = self.cells(field)
        return slice(cells.start, cells.stop + FieldColumn.NULL)

    def event_cells(self, field: int) -> slice:
        """Return the columns of the cells and `invalid`: together they count each event of the field once."""
        cells = self.cells(field)
        return slice(cells.start, cells.stop + FieldColumn.INVALID + 1)

    def field_events(self, counts: IntArray) -> IntArray:
        """Count the events of each field, shape (..., n_fields), of counts of shape (..., width).

        These are all events; in fields of the answer, those that did not fail.
        """
        if not self.fields:
            return np.zeros((*counts.shape[:-1], 0), dtype=np.int64)
        bounds = np.stack([self.starts, self.columns(FieldColumn.INVALID) + 1], axis=1).ravel()
        return np.add.reduceat(counts, bounds, axis=-1)[..., ::2]

    def span(self, field_from: int, field_to: int) -> slice:
        """Return the columns of the fields [field_from, field_to): cells and tails."""
        if field_from == field_to:
            return slice(HEADER, HEADER)
        last = field_to - 1
        return slice(int(self.starts[field_from]), int(self.starts[last] + self.widths[last]))

    def fit(self, counts: IntArray, field_from: int, field_to: int, tail: Sequence[str]) -> IntArray:
        """Return counts whose fields may have fewer tail columns as this layout lays them; absent counts are 0.

        Args:
            counts: shape (slices, HEADER + columns of the fields [field_from, field_to)).
            field_to: field after the last.
            tail: keys of the tail columns that each field has in `counts`, in order.

        Raises:
            LayoutError: a tail column is unknown here, or the width is not that of the fields.
        """
        unknown = [key for key in tail if key not in TAIL_KEYS]
        if unknown or len(set(tail)) < len(tail):
            raise LayoutError(
                f"it counts {', '.join(tail)} per field; this version of Barograph knows {', '.join(TAIL_KEYS)}: "
                "upgrade it first"
            )
        n_cells = self.n_cells[field_from:field_to]
        width = HEADER + int((n_cells + len(tail)).sum())
        if counts.shape[1] != width:
            raise LayoutError(
                f"its counts have {counts.shape[1]} columns; header and fields of the baseline take {width}"
            )
        if tuple(tail) == TAIL_KEYS:
            return counts
        fitted = np.zeros((len(counts), HEADER + int(self.widths[field_from:field_to].sum())), dtype=np.int64)
        fitted[:, :HEADER] = counts[:, :HEADER]
        old = new = HEADER
        for n in n_cells.tolist():
            fitted[:, new : new + n] = counts[:, old : old + n]
            for i, key in enumerate(tail):
                fitted[:, new + n + TAIL_KEYS.index(key)] = counts[:, old + n + i]
            old, new = old + n + len(tail), new + n + TAIL
        return fitted

    def empty_counts(self) -> IntArray:
        """Return zero counts of one pane, shape (n_slices, width)."""
        return np.zeros((self.n_slices, self.width), dtype=np.int64)

    def empty_moments(self) -> NDArray[np.float64]:
        """Return neutral moments of one pane, shape (n_fields, N_MOMENTS)."""
        return empty_moments(self.n_fields)
