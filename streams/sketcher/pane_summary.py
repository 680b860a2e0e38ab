"""The summary of one pane of one flush."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import IntArray, Layout
from barograph_server.sketches.sketch.categorical import UnseenCategories
from barograph_server.sketches.sketch.merge import NumberSummary, merge_moments, merge_sketch
from barograph_server.sketches.sketch.numeric import NumericSketch

SKETCH_BYTES = 1_500
"""Approximate size of a sketch of many values, with the objects around it."""


class PaneKey(NamedTuple):
    """Identifies the pane that a partial belongs to."""

    model: str
    version: str
    baseline_id: str
    pane_start_s: int


@dataclass(slots=True)
class PaneSummary:
    """The counts, moments and sketches of one pane."""

    layout: Layout
    pane_s: int
    unregistered: bool
    counts: IntArray
    """Shape (n_slices, width)."""
    moments: NDArray[np.float64]
    """Of the slice `all`, shape (n_fields, N_MOMENTS)."""
    sketches: list[NumericSketch | UnseenCategories | None]
    """Of the slice `all`, one per field; None for a field without values."""
    slices: dict[tuple[int, int], NumberSummary] = dataclasses.field(default_factory=dict)
    """Slice and field → the summary of that slice, for the fields that the contract sketches by slice."""

    @property
    def n_bytes(self) -> int:
        """Approximate size in memory, once it holds many values."""
        return self.counts.nbytes + self.moments.nbytes + SKETCH_BYTES * (len(self.sketches) + len(self.slices))

    def merge(self, other: PaneSummary) -> None:
        """Add the events of another summary of the same pane, which is not used afterwards."""
        self.counts += other.counts
        merge_moments(self.moments, other.moments)
        for i, sketch in enumerate(other.sketches):
            self.sketches[i] = merge_sketch(self.sketches[i], sketch)
        for cell, summary in other.slices.items():
            if cell in self.slices:
                self.slices[cell].merge(summary, reuse=True)
            else:
                self.slices[cell] = summary
