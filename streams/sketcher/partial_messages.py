"""Encodes pane summaries as records of `partials`, none larger than the limit."""

from collections.abc import Iterator, Sequence

import numpy as np

from barograph_server.sketches.baseline.layout import HEADER, IntArray, Layout
from barograph_server.sketches.sketch.merge import N_MOMENTS
from barograph_server.streams.records import MAX_RECORD_BYTES, OffsetRange, Partial, encode
from barograph_server.streams.sketcher.pane_summary import PaneKey, PaneSummary

_BUDGET_BYTES = MAX_RECORD_BYTES * 3 // 4
"""Budget of a rectangle before compression, so that even incompressible data stays below the limit."""
_COUNT_BYTES = 4
_SLICE_SUMMARY_BYTES = N_MOMENTS * 8 + 16
"""Bytes of the moments and the position of one slice and field, without the sketch."""


def encode_partials(
    key: PaneKey, pane: PaneSummary, source_topic_id: str, ranges: Sequence[OffsetRange]
) -> Iterator[bytes]:
    """Encode a pane's summary as one partial, or as several rectangles of slices × fields."""
    layout = pane.layout
    sketches = [b"" if sketch is None else sketch.to_bytes() for sketch in pane.sketches]
    slice_sketches = {
        cell: summary.sketch.to_bytes() for cell, summary in sorted(pane.slices.items()) if summary.sketch is not None
    }
    slice_bytes = np.zeros((layout.n_slices, layout.n_fields), dtype=np.int64)
    for cell, sketch in slice_sketches.items():
        slice_bytes[cell] = len(sketch) + _SLICE_SUMMARY_BYTES
    for s0, s1, f0, f1 in rectangles(layout, [len(sketch) for sketch in sketches], slice_bytes):
        counts = pane.counts[s0:s1, layout.span(f0, f1)]
        header = pane.counts[s0:s1, :HEADER] if f0 == 0 else np.zeros((s1 - s0, HEADER), dtype=np.int64)
        if not counts.any() and not header.any():
            continue
        inside = [(s, f) for s, f in slice_sketches if s0 <= s < s1 and f0 <= f < f1]
        yield encode(
            Partial(
                model=key.model,
                version=key.version,
                baseline_id=key.baseline_id,
                pane_start_s=key.pane_start_s,
                pane_s=pane.pane_s,
                unregistered=pane.unregistered,
                source_topic_id=source_topic_id,
                ranges=list(ranges),
                slice_from=s0,
                slice_to=s1,
                field_from=f0,
                field_to=f1,
                counts=np.concatenate((header, counts), axis=1),
                moments=pane.moments[f0:f1] if s0 == 0 else np.empty((0, N_MOMENTS)),
                sketches=sketches[f0:f1] if s0 == 0 else [],
                slice_cells=np.array(inside, dtype=np.int64).reshape(-1, 2),
                slice_moments=np.array([pane.slices[cell].moments for cell in inside]).reshape(-1, N_MOMENTS),
                slice_sketches=[slice_sketches[cell] for cell in inside],
            )
        )


def rectangles(
    layout: Layout, sketch_bytes: Sequence[int], slice_bytes: IntArray | None = None
) -> list[tuple[int, int, int, int]]:
    """Split slices × fields into rectangles (slice from, to, field from, to) that fit into one record each.

    Args:
        sketch_bytes: sizes of the sketches of the slice `all`, one per field.
        slice_bytes: sizes of the summaries of slices, shape (n_slices, n_fields); None if there are none.
    """
    bytes_of = np.tile(layout.widths * _COUNT_BYTES, (layout.n_slices, 1))
    bytes_of[0] += N_MOMENTS * 8 + np.array(sketch_bytes, dtype=np.int64)
    if slice_bytes is not None:
        bytes_of += slice_bytes
    if int(bytes_of.sum()) + layout.n_slices * HEADER * _COUNT_BYTES <= _BUDGET_BYTES:
        return [(0, layout.n_slices, 0, layout.n_fields)]
    pieces = [(0, 1, f0, f1) for f0, f1 in _runs(bytes_of[0].tolist())]
    if layout.n_slices == 1:
        return pieces
    row_bytes = bytes_of[1:].sum(axis=1).tolist()
    for first, last in _runs(row_bytes):
        if last - first == 1 and row_bytes[first] > _BUDGET_BYTES:
            pieces += [(first + 1, last + 1, f0, f1) for f0, f1 in _runs(bytes_of[first + 1].tolist())]
        else:
            pieces.append((first + 1, last + 1, 0, layout.n_fields))
    return pieces


def _runs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Split a sequence into runs whose sizes sum to at most the budget; an oversized item is a run of its own."""
    runs, start, total = [], 0, 0
    for i, size in enumerate(sizes):
        if total and total + size > _BUDGET_BYTES:
            runs.append((start, i))
            start, total = i, 0
        total += size
    return [*runs, (start, len(sizes))]
