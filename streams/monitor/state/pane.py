"""Panes: merged counts, moments and sketches of one series in one interval of event time."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from barograph_server.sketches.baseline.layout import EVENTS, IntArray, Layout

CountArray = NDArray[np.integer[Any]]
"""Counts, which are never negative, in the narrowest unsigned type that holds them, or in a signed type that grows."""
WIDENED_TYPES = (np.int32, np.int64)
"""The types of counts that may still grow before the next write."""
OBJECT_BYTES = 300
"""Approximate size of the Python objects around one sketch and its moments."""
SliceField = tuple[int, int]
"""Slice index and field index."""


@dataclass(frozen=True, slots=True)
class SliceSketch:
    """Moments and encoded sketch of a numeric field in a slice other than `all`."""

    moments: NDArray[np.float64]
    """Shape (N_MOMENTS,)."""
    sketch: bytes
    """Enveloped."""


@dataclass(slots=True)
class Pane:
    """The merge of all partials of one series in one interval of the contract's `pane_s` seconds.

    Rollups of an hour or a day have the same shape.
    """

    start_s: int
    counts: CountArray
    """Shape (n_slices, width)."""
    moments: NDArray[np.float64]
    """Shape (n_fields, N_MOMENTS), of the slice `all`."""
    sketches: list[bytes]
    """Enveloped sketches of the slice `all`, one per field."""
    record_seq: IntArray
    """Shape (n_slices, 1 + n_fields): the last record merged into each row; column 0 is that of the header."""
    late: IntArray
    """Shape (n_slices,): events that arrived after the pane was sealed."""
    sealed: bool = False
    dirty: bool = True
    """Whether the pane differs from its rows in ClickHouse."""
    slice_sketches: dict[SliceField, SliceSketch] = field(default_factory=dict)
    """Sketches of the slices that the contract requests them for; each covers every value of its slice and field."""

    @property
    def n_events(self) -> int:
        return int(self.counts[0, EVENTS])

    @property
    def n_bytes(self) -> int:
        """Approximate size in memory."""
        of_slices = sum(OBJECT_BYTES + len(entry.sketch) for entry in self.slice_sketches.values())
        arrays = self.counts.nbytes + self.moments.nbytes + self.record_seq.nbytes
        return arrays + sum(map(len, self.sketches)) + of_slices

    def narrow_counts(self) -> None:
        """Store the counts in the narrowest type that holds them."""
        self.counts = narrowest(self.counts)

    def widen_counts(self, largest: int) -> None:
        """Store the counts in a type that holds `largest`: 32 bits as long as they suffice, then 64."""
        fits_32 = largest <= np.iinfo(np.int32).max and self.counts.dtype != np.int64
        self.counts = self.counts.astype(np.int32 if fits_32 else np.int64, copy=False)

    def count_values(self, layout: Layout, slice_index: int, field_index: int) -> int:
        return int(self.counts[slice_index, layout.valid_cells(field_index)].sum())

    def seal(self, record_seq: int) -> None:
        """Close the pane for events that are not late."""
        self.sealed = self.dirty = True
        self.record_seq[:, :] = np.where(self.record_seq >= 0, np.maximum(self.record_seq, record_seq), self.record_seq)


def empty_pane(layout: Layout, start_s: int) -> Pane:
    return Pane(
        start_s,
        layout.empty_counts(),
        layout.empty_moments(),
        [b""] * layout.n_fields,
        np.full((layout.n_slices, 1 + layout.n_fields), -1, dtype=np.int64),
        np.zeros(layout.n_slices, dtype=np.int64),
    )


def narrowest(counts: CountArray) -> CountArray:
    """Return the same counts in the narrowest type that holds all of them; none of them is negative."""
    largest = int(counts.max(initial=0))
    for dtype in (np.uint8, np.uint16, np.uint32):
        if largest <= np.iinfo(dtype).max:
            return counts.astype(dtype, copy=False)
    return counts
