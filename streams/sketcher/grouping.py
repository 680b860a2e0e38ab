"""Counting by pane and slice, for whole arrays at a time.

Every event is in one slice of each dimension, so counts by all dimensions at once hold those by each of them, and those
of all events: one pass over the events, then sums over a small array. Where the product of the dimensions is too large
for that, they are taken together as far as it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sketches.baseline.layout import IntArray

MOST_COUNTERS = 1 << 15
"""Counters of one pass: 256 KiB of them stay in the processor's cache."""


class Dimension(NamedTuple):
    """A slice dimension of n events."""

    start: int
    """The slice of its first value."""
    n_values: int
    """`other` included."""
    code: NDArray[np.int64]
    """Shape (n,): the value of each event, in [0, n_values)."""


class Groups:
    """Which pane and slices each of n events is in."""

    def __init__(self, pane: NDArray[np.int64], n_panes: int, n_slices: int, dimensions: Sequence[Dimension]) -> None:
        """Take panes of shape (n,), each in [0, n_panes), and dimensions whose values make up the slices from 1 on."""
        self.n_panes, self.n_slices = n_panes, n_slices
        self._pane = pane
        self._dimensions = dimensions
        self._joined: dict[int, list[_Joined]] = {}

    def count(self, cell: NDArray[np.integer[Any]], width: int, chosen: NDArray[np.bool_] | None = None) -> IntArray:
        """Count the cells of events, or of those that are chosen.

        Args:
            cell: shape (n,), each in [0, width).
            width: how many cells there are.
            chosen: a mask of shape (n,); None counts all.

        Returns:
            Shape (n_panes, n_slices, width).
        """
        if chosen is not None:
            cell = cell[chosen]
        counts = np.zeros((self.n_panes, self.n_slices, width), dtype=np.int64)
        for joined in self._join(width):
            code = joined.code if chosen is None else joined.code[chosen]
            flat = cell if joined.size == 1 else code * width + cell
            found = np.bincount(flat, minlength=joined.size * width)
            block = found.reshape(self.n_panes, *(each.n_values for each in joined.dimensions), width)
            axes = range(1, 1 + len(joined.dimensions))
            for axis, each in zip(axes, joined.dimensions, strict=True):
                others = tuple(other for other in axes if other != axis)
                counts[:, each.start : each.start + each.n_values] = block.sum(axis=others)
            if joined.is_first:
                counts[:, 0] = block.sum(axis=tuple(axes))
        return counts

    def number(self, chosen: NDArray[np.bool_] | None = None) -> IntArray:
        """Count events, or those that are chosen; shape (n_panes, n_slices)."""
        return self.count(np.zeros(len(self._pane), dtype=np.int64), 1, chosen)[:, :, 0]

    def by_value(self, dimension: int) -> NDArray[np.int64]:
        """Number the groups of pane and value of one dimension: pane · n_values + value, shape (n,)."""
        each = self._dimensions[dimension]
        return self._pane * each.n_values + each.code

    def _join(self, width: int) -> list[_Joined]:
        most = max(1, MOST_COUNTERS // width)
        if most not in self._joined:
            self._joined[most] = self._plan(most)
        return self._joined[most]

    def _plan(self, most: int) -> list[_Joined]:
        """Take dimensions together as long as there are no more than `most` groups."""
        if not self._dimensions:
            return [_Joined(self._pane, self.n_panes, (), True)]
        runs: list[list[Dimension]] = []
        size = 0
        for each in self._dimensions:
            if runs and size * each.n_values <= most:
                runs[-1].append(each)
                size *= each.n_values
            else:
                runs.append([each])
                size = self.n_panes * each.n_values
        found = []
        for i, run in enumerate(runs):
            code, size = self._pane, self.n_panes
            for each in run:
                code, size = code * each.n_values + each.code, size * each.n_values
            found.append(_Joined(code, size, tuple(run), i == 0))
        return found


class _Joined(NamedTuple):
    """Some dimensions taken together."""

    code: NDArray[np.int64]
    size: int
    dimensions: tuple[Dimension, ...]
    is_first: bool
