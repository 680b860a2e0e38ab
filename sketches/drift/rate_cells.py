"""Rates: which count of a pane or window feeds which rate, compiled once per baseline."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL, FieldBaseline, Phi, SliceCounts, TrainingRate
from barograph_server.sketches.baseline.columns import FieldColumn
from barograph_server.sketches.baseline.groups import (
    FloatArray,
    IndexArray,
    VerdictGroups,
    as_columns,
    flatten_slices,
    shared,
    trained_groups,
)
from barograph_server.sketches.baseline.layout import ERRORS, EVENTS, IntArray, Layout
from barograph_server.sketches.drift.rates import RATE_KINDS


class RateCells(VerdictGroups):
    """The rates of all groups of one baseline: shares of events that are null, invalid, out of range or unseen.

    A group is one kind of rate (`sketches.drift.rates.RATE_KINDS`) of a field in a slice. A kind that was not
    counted in training has no group, so it is not judged.

    `unseen` is expected at (rows of categories that are not kept + f₁) / m, where f₁ counts the rows of categories that
    are kept by one row: if all are kept, those that training held once (Good–Turing).

    Attributes:
        kind_index: Index into `RATE_KINDS` of each group, shape (G,).
        base_k: Training rows that count, shape (G,).
        base_n: All training rows of the field in the slice, shape (G,); at least 1.
        counted: Training rows that were counted, shape (G,): base_k but for `unseen`.
        base_phi: Variance of base_k relative to a count of independent rows, shape (G,); 1 but for `unseen`.
    """

    def __init__(self, layout: Layout) -> None:
        rows, phi = array("q"), array("d")
        for row, column, field, counts in trained_groups(layout):
            n = sum(counts.cells) + counts.invalid
            tail = int(layout.starts[column]) + field.n_cells
            for index, kind in enumerate(RATE_KINDS):
                if not kind.applies_to(field):
                    continue
                k, counted = counts.expected(kind.column), counts.count(kind.column)
                if k is None or counted is None:
                    continue
                is_unseen = kind.column is FieldColumn.UNSEEN
                k = min(n, k) if is_unseen else k
                rows.extend((row, column, index, row * layout.width + tail + kind.column, k, n, counted))
                phi.append(_unseen_phi(field, counts) if is_unseen else 1.0)
        table = np.array(rows, dtype=np.int64).reshape(-1, 7).T
        super().__init__(layout, table[0], table[1])
        base_phi = np.array(phi, dtype=np.float64)
        self.base_phi: FloatArray = base_phi if (base_phi != 1.0).any() else shared(1.0, len(base_phi))
        self.kind_index: IndexArray = table[2].astype(np.int32)
        self._columns: IndexArray = table[3].astype(np.int32)
        self.base_k: IntArray = table[4].copy()
        self.base_n: IntArray = table[5].copy()
        self.counted: IntArray = table[6].copy()

    def training_delta(self, window: str) -> FloatArray:
        """Return `TrainingRate.delta` of every group at one window length, shape (G,)."""
        return self.trained(window)[1]

    def _learned(self, window: str) -> tuple[FloatArray, ...]:
        kinds = [RATE_KINDS[index] for index in self.kind_index.tolist()]
        of_groups = zip(kinds, self._counts_of_groups(), strict=True)
        rates = (trained_rate(kind.name, counts, window) for kind, counts in of_groups)
        return as_columns(((rate.phi, rate.delta) for rate in rates), self.n_groups, (1.0, 0.0))

    def k(self, counts: IntArray) -> IntArray:
        """Return the events that count, shape (W, G), of counts of shape (W, n_slices, width)."""
        return flatten_slices(counts).take(self._columns, axis=1)

    def n(self, counts: IntArray) -> IntArray:
        """Return all events of each group's field and slice, shape (W, G), of counts of shape (W, n_slices, width)."""
        if not counts[:, :, ERRORS].any():
            return counts[:, :, EVENTS].take(self.slice_index, axis=1)
        return self.layout.field_events(counts)[:, self.slice_index, self.field_index]

    def select(self, chosen: NDArray[np.bool_]) -> RateCells:
        """Return some groups, a mask of shape (G,)."""
        if chosen.all():
            return self
        part = object.__new__(RateCells)
        part.layout, part._trained = self.layout, self._select_trained(chosen)
        part.slice_index, part.field_index = self.slice_index[chosen], self.field_index[chosen]
        part.kind_index, part._columns = self.kind_index[chosen], self._columns[chosen]
        part.base_k, part.base_n, part.base_phi = self.base_k[chosen], self.base_n[chosen], self.base_phi[chosen]
        part.counted = self.counted[chosen]
        return part


def trained_rate(kind: str, counts: SliceCounts, window: str) -> TrainingRate:
    """Return how a kind of rate varied in training; φ is that of the bins in baselines made before rates had one."""
    learned = counts.rates.get(window)
    if learned is None:
        return TrainingRate(counts.phi.get(window, _UNKNOWN).value)
    return learned.get(kind, _STEADY)


_UNKNOWN, _STEADY = Phi(), TrainingRate()


def _unseen_phi(field: FieldBaseline, counts: SliceCounts) -> float:
    """Return the variance of the rows that are expected to be unseen, relative to independent rows, at least 1.

    With k rows that are not kept or kept by one row, the expected share k/m differs from the share unseen later by a
    variance of (k(1 − k/m) + Σ c(c − 1))/m², over the c rows of each category that is kept by two rows; if training
    held all values, that is Good–Turing's f₁(1 − f₁/m) + 2f₂. Categories kept by two rows are read as those with at
    most one row more than any that is kept by one.

    Source: Good (1953), Biometrika 40, 237–264; the variance: Esty (1983), Annals of Statistics 11, 905–912.
    """
    rows, expected = sum(counts.cells), counts.cells[FieldColumn.UNSEEN] + counts.singletons
    binomial = expected * (1.0 - expected / rows) if rows else 0.0
    whole = np.array(field.slices[ALL].cells[: FieldColumn.UNSEEN], dtype=np.int64)
    rarest = np.argsort(whole, kind="stable")
    # The categories kept by one row are the rarest: as many as hold the singletons.
    last = int(np.searchsorted(np.cumsum(whole[rarest]), field.slices[ALL].singletons))
    if binomial <= 0.0 or field.slices[ALL].singletons == 0 or last == len(whole):
        return 1.0
    by_two = rarest[last + 1 :][whole[rarest[last + 1 :]] <= whole[rarest[last]] + 1]
    cells = np.array(counts.cells, dtype=np.int64)[by_two]
    return 1.0 + float((cells * (cells - 1)).sum()) / binomial
