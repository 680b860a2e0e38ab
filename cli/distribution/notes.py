"""What people must know beside the figures of a range."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cli.distribution.read import Counted, moment
from sketches.baseline.baseline import ALL

IntArray = NDArray[np.int64]

_HOLE_SHARE = 0.05
"""So much of a range without a pane is told: an outage, rather than a quiet minute."""


def notes_of(counted: Counted) -> list[str]:
    """What people must know of the panes: ends that are cut into, gaps at the ends, and what is still open."""
    asked, panes = counted.asked, counted.panes
    starts = panes.column("pane_start").to_numpy().astype(np.int64)
    ends = starts + panes.column("pane_s").to_numpy().astype(np.int64)
    pane_s = counted.contract.pane_s
    notes = []
    first, last = int(starts[0]), int(ends.max())
    if first < asked.start_s:
        notes.append(f"the first pane begins {asked.start_s - first:,} s before the range and is counted whole")
    if last > asked.end_s:
        notes.append(f"the last pane ends {last - asked.end_s:,} s after the range and is counted whole")
    if first - asked.start_s >= pane_s:
        notes.append("nothing was counted in the range before its first pane")
    if asked.end_s - last >= pane_s:
        notes.append("nothing was counted in the range after its last pane")
    notes += _hole(starts, ends, asked.end_s - asked.start_s)
    n_open = panes.num_rows - int(pc.sum(panes.column("sealed")).as_py() or 0)
    if n_open:
        notes.append(f"panes that are not sealed, so that more events may come: {n_open:,}")
    return notes


def _hole(starts: IntArray, ends: IntArray, length_s: int) -> list[str]:
    """Tell the longest time within the range in which nothing was counted, where it is a good part of the range."""
    order = np.argsort(starts, kind="stable")
    begins, until = starts[order], np.maximum.accumulate(ends[order])
    holes = begins[1:] - until[:-1]
    if not holes.size or holes.max() < _HOLE_SHARE * length_s:
        return []
    at = int(holes.argmax())
    return [f"nothing was counted from {moment(float(until[at]))} to {moment(float(begins[at + 1]))}"]


def without_sketch(slice_name: str) -> str:
    """Say why there are no quantiles."""
    if slice_name == ALL:
        return "no pane has a sketch that can be read, so there are no quantiles"
    return (
        f"no sketch is kept of the slice {slice_name}, so there are no quantiles; name the field in the slice's "
        "`sketches`"
    )


def damage(panes: int) -> list[str]:
    """Tell how many panes have a sketch that cannot be opened; nothing where there are none."""
    return [f"panes whose sketch is damaged and was not opened: {panes:,}"] if panes else []
