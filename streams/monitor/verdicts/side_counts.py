"""What is known of one side of a comparison in its windows: events, counts on shared bins, numbers, of all members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sketches.baseline.columns import FieldColumn
from sketches.baseline.groups import reference_slices
from sketches.baseline.layout import EVENTS, IntArray
from sketches.comparison.aligned import AlignedField
from sketches.comparison.rebin import rebin
from streams.monitor.verdicts.numbers import PooledMoments, ReadValues, Values
from streams.monitor.verdicts.sides import Member

FloatArray = NDArray[np.float64]
_Cells = tuple[Member, int, IntArray, IntArray | None]
"""One member's field: its index, its counts per cell, (W, n_cells), and the shared bins of these cells, if any."""


class SideCounts:
    """One side of a pair in W windows.

    Args:
        name: of the version or arm.
        members: those that had events in these windows.
        counts: per member what was counted in each window, (W, width).
        first: which of the layouts that fields are aligned over is the first member's.
        ends_s: of the windows, shape (W,).
        values: reads moments and sketches.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Member],
        counts: Sequence[IntArray],
        first: int,
        ends_s: IntArray,
        values: ReadValues,
    ) -> None:
        self.name, self.members = name, members
        self._counts, self._first, self._ends_s, self._values = counts, first, ends_s, values
        self.events = self.sums(EVENTS)

    def sums(self, column: int) -> IntArray:
        """Counts of a column of the header, shape (W,)."""
        summed: IntArray = np.array([each[:, column] for each in self._counts], np.int64).sum(axis=0)
        return summed

    def nulls(self, field: AlignedField) -> IntArray:
        """Events without the field, shape (W,)."""
        nulls: IntArray = np.array([cells[:, FieldColumn.NULL] for *_, cells, _ in self._fields(field)], np.int64).sum(
            axis=0
        )
        return nulls

    def phi(self, field: AlignedField, window: str) -> FloatArray:
        """Overdispersion of the field in windows of a length, shape (W,); of several members each by its events."""
        n, total = np.zeros(len(self.events)), np.zeros(len(self.events))
        for member, index, cells, _ in self._fields(field):
            of_member = cells.sum(axis=1)
            n += of_member
            total += of_member * _phi(member, index, window)
        phi: FloatArray = np.maximum(1.0, total / np.maximum(n, 1.0))
        return phi

    def binned(self, field: AlignedField) -> tuple[IntArray, FloatArray]:
        """Counts on the shared bins, shape (W, B), and the noise of what was read from sketches, shape (W,).

        The noise is as `sketches.comparison.two_sample` takes it; infinite where a sketch that was needed is missing.
        """
        counts = np.zeros((len(self.events), field.n_bins), dtype=np.int64)
        noise = np.zeros(len(self.events))
        for member, index, cells, places in self._fields(field):
            if places is not None:
                np.add.at(counts.T, places, cells.T)
                continue
            counts[:, -1] += cells[:, FieldColumn.NULL]
            n = cells[:, : FieldColumn.NULL].sum(axis=1)
            for w in np.flatnonzero(n).tolist():
                values = self._values(member, index, int(self._ends_s[w]))
                if values is None or values.sketch is None or values.sketch.n != n[w]:
                    noise[w] = np.inf
                    continue
                found = rebin(values.sketch, field.edges)
                counts[w, :-1] += found.counts
                noise[w] += found.noise * float(n[w]) ** 2
        return counts, noise / np.maximum(counts.sum(axis=1), 1) ** 2.0

    def numbers(self, field: AlignedField) -> list[PooledMoments]:
        """The numbers of each window; none where something of them was not kept."""
        fields = self._fields(field)
        return [self._gathered(fields, w) for w in range(len(self.events))]

    def _gathered(self, fields: list[_Cells], w: int) -> PooledMoments:
        gathered = PooledMoments()
        for member, index, cells, _ in fields:
            n = int(cells[w, : FieldColumn.NULL].sum())
            if n:
                values = self._values(member, index, int(self._ends_s[w]))
                if values is None or not _is_of_all(member, values, n):
                    return PooledMoments()
                gathered.add(n, member.layout.fields[index].mean, values)
        return gathered

    def _fields(self, field: AlignedField) -> list[_Cells]:
        found = []
        for i, member in enumerate(self.members):
            index = field.field_index[self._first + i]
            cells = self._counts[i][:, member.layout.cells(index)]
            found.append((member, index, cells, field.places[self._first + i]))
        return found


def _is_of_all(member: Member, values: Values, n: int) -> bool:
    """Whether moments are of all n numbers: those of the slice `all` are, others where their sketch is."""
    return member.slice_index == 0 or (values.sketch is not None and values.sketch.n == n)


def _phi(member: Member, field: int, window: str) -> float:
    trained = reference_slices(member.layout)[member.slice_index]
    counts = member.layout.fields[field].slices.get(trained)
    learned = None if counts is None else counts.phi.get(window)
    return 1.0 if learned is None else learned.value
