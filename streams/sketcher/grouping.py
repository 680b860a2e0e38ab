"""Counts whole arrays by pane and slice.

Every event is in one slice of each dimension. Counts by the cross product of the dimensions therefore contain the
counts by each of them and the total: one pass over the events, then sums over a small array. If the cross product is
too large, the dimensions are crossed in several groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import IntArray

MAX_COUNTERS = 1 << 15
"""Counters of one pass: 256 KiB, which stay in the processor's cache."""


class CodedDimension(NamedTuple):
    """A slice dimension of n events."""

    start: int
    """Index of the slice of its first value."""
    n_values: int
    """Number of values, including `other`."""
    code: NDArray[np.int64]
    """Shape (n,): the value of each event, in [0, n_values)."""


class PaneGroups:
    """The pane and the slices of each of n events."""

    def __init__(
        self, pane: NDArray[np.int64], n_panes: int, n_slices: int, dimensions: Sequence[CodedDimension]
    ) -> None:
        """Describe the events.

        Args:
            pane: shape (n,), each in [0, n_panes).
            dimensions: their values are the slices from 1 on.
        """
        self.n_panes, self.n_slices = n_panes, n_slices
        self._pane = pane
        self._dimensions = dimensions
        self._crossed: dict[int, list[_CrossedDimensions]] = {}

    def count(self, cell: NDArray[np.integer[Any]], width: int, mask: NDArray[np.bool_] | None = None) -> IntArray:
        """Count the cells of events.

        Args:
            cell: shape (n,), each in [0, width).
            mask: shape (n,), the events to count; None for all.

        Returns:
            Shape (n_panes, n_slices, width).
        """
        if mask is not None:
            cell = cell[mask]
        counts = np.zeros((self.n_panes, self.n_slices, width), dtype=np.int64)
        for crossed in self._cross(width):
            code = crossed.code if mask is None else crossed.code[mask]
            flat = cell if crossed.size == 1 else code * width + cell
            counters = np.bincount(flat, minlength=crossed.size * width)
            block = counters.reshape(self.n_panes, *(each.n_values for each in crossed.dimensions), width)
            axes = range(1, 1 + len(crossed.dimensions))
            for axis, each in zip(axes, crossed.dimensions, strict=True):
                others = tuple(other for other in axes if other != axis)
                counts[:, each.start : each.start + each.n_values] = block.sum(axis=others)
            if crossed.is_first:
                counts[:, 0] = block.sum(axis=tuple(axes))
        return counts

    def number(self, mask: NDArray[np.bool_] | None = None) -> IntArray:
        """Count events, or those of a mask of shape (n,); shape (n_panes, n_slices)."""
        return self.count(np.zeros(len(self._pane), dtype=np.int64), 1, mask)[:, :, 0]

    def by_value(self, dimension: int) -> NDArray[np.int64]:
        """Return the group of pane and value of one dimension: pane · n_values + value, shape (n,)."""
        each = self._dimensions[dimension]
        return self._pane * each.n_values + each.code

    def _cross(self, width: int) -> list[_CrossedDimensions]:
        max_groups = max(1, MAX_COUNTERS // width)
        if max_groups not in self._crossed:
            self._crossed[max_groups] = self._plan(max_groups)
        return self._crossed[max_groups]

    def _plan(self, max_groups: int) -> list[_CrossedDimensions]:
        """Cross dimensions as long as there are at most `max_groups` groups."""
        if not self._dimensions:
            return [_CrossedDimensions(self._pane, self.n_panes, (), True)]
        runs: list[list[CodedDimension]] = []
        size = 0
        for each in self._dimensions:
            if runs and size * each.n_values <= max_groups:
                runs[-1].append(each)
                size *= each.n_values
            else:
                runs.append([each])
                size = self.n_panes * each.n_values
        crossed = []
        for i, run in enumerate(runs):
            code, size = self._pane, self.n_panes
            for each in run:
                code, size = code * each.n_values + each.code, size * each.n_values
            crossed.append(_CrossedDimensions(code, size, tuple(run), i == 0))
        return crossed


class _CrossedDimensions(NamedTuple):
    code: NDArray[np.int64]
    size: int
    dimensions: tuple[CodedDimension, ...]
    is_first: bool
