"""Notes beside a distribution: partly covered panes, gaps, unsealed panes, missing sketches."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.profiling.distribution.read import FieldPanes
from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.terminal import iso_utc

IntArray = NDArray[np.int64]

_GAP_SHARE = 0.05
"""Smallest share of the range for which a gap is noted: an outage rather than a quiet minute."""


def pane_notes(field_panes: FieldPanes) -> list[str]:
    """Note panes that reach over the ends of the range, gaps, and panes that may still receive events."""
    selection, panes = field_panes.selection, field_panes.panes
    starts = panes.column("pane_start").to_numpy().astype(np.int64)
    ends = starts + panes.column("pane_s").to_numpy().astype(np.int64)
    pane_s = field_panes.contract.pane_s
    notes = []
    first, last = int(starts[0]), int(ends.max())
    if first < selection.start_s:
        notes.append(f"the first pane starts {selection.start_s - first:,} s before the range and is included whole")
    if last > selection.end_s:
        notes.append(f"the last pane ends {last - selection.end_s:,} s after the range and is included whole")
    if first - selection.start_s >= pane_s:
        notes.append("there are no events in the range before its first pane")
    if selection.end_s - last >= pane_s:
        notes.append("there are no events in the range after its last pane")
    notes += _longest_gap(starts, ends, selection.end_s - selection.start_s)
    unsealed = panes.num_rows - int(pc.sum(panes.column("sealed")).as_py() or 0)
    if unsealed:
        notes.append(f"unsealed panes, which may receive more events: {unsealed:,}")
    return notes


def _longest_gap(starts: IntArray, ends: IntArray, length_s: int) -> list[str]:
    """Note the longest gap within the range if it is at least `_GAP_SHARE` of the range."""
    order = np.argsort(starts, kind="stable")
    sorted_starts, covered_until = starts[order], np.maximum.accumulate(ends[order])
    gaps = sorted_starts[1:] - covered_until[:-1]
    if not gaps.size or gaps.max() < _GAP_SHARE * length_s:
        return []
    at = int(gaps.argmax())
    begin, end = float(covered_until[at]), float(sorted_starts[at + 1])
    return [f"there are no events from {iso_utc(begin)} to {iso_utc(end)}"]


def missing_sketch_note(slice_name: str) -> str:
    """Explain why there are no quantiles."""
    if slice_name == ALL:
        return "no pane has a readable sketch, so there are no quantiles"
    return (
        f"the slice {slice_name} has no sketch, so there are no quantiles; name the field in the slice's `sketches` in "
        "the contract"
    )


def damage_notes(panes: int) -> list[str]:
    """Note the number of panes with a damaged sketch; no note without any."""
    return [f"panes with a damaged sketch, which was skipped: {panes:,}"] if panes else []
