"""The summaries of a flush → the records that go to `partials`, none larger than the limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sketches.baseline.layout import HEADER, IntArray, Layout
from sketches.sketch.merge import N_MOMENTS
from streams.records import MAX_RECORD_BYTES, OffsetRange, Partial, encode
from streams.sketcher.summarise import PaneKey, PaneSummary

_BUDGET_BYTES = MAX_RECORD_BYTES * 3 // 4
"""Of a rectangle before compression, so that even what does not compress stays under the limit."""
_COUNT_BYTES = 4
_KEPT_BYTES = N_MOMENTS * 8 + 16
"""Moments and place of what is kept of one slice and field, beside its sketch."""


def encode_partials(
    key: PaneKey, pane: PaneSummary, source_topic_id: str, ranges: Sequence[OffsetRange]
) -> Iterator[bytes]:
    """Encode one pane's summary, as one part or split into rectangles of slices × fields."""
    layout = pane.layout
    sketches = [b"" if sketch is None else sketch.to_bytes() for sketch in pane.sketches]
    kept = {place: each.sketch.to_bytes() for place, each in sorted(pane.kept.items()) if each.sketch is not None}
    kept_bytes = np.zeros((layout.n_slices, layout.n_fields), dtype=np.int64)
    for place, sketch in kept.items():
        kept_bytes[place] = len(sketch) + _KEPT_BYTES
    for s0, s1, f0, f1 in rectangles(layout, [len(sketch) for sketch in sketches], kept_bytes):
        counts = pane.counts[s0:s1, layout.span(f0, f1)]
        header = pane.counts[s0:s1, :HEADER] if f0 == 0 else np.zeros((s1 - s0, HEADER), dtype=np.int64)
        if not counts.any() and not header.any():
            continue
        inside = [(s, f) for s, f in kept if s0 <= s < s1 and f0 <= f < f1]
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
                slice_moments=np.array([pane.kept[place].moments for place in inside]).reshape(-1, N_MOMENTS),
                slice_sketches=[kept[place] for place in inside],
            )
        )


def rectangles(
    layout: Layout, sketch_bytes: Sequence[int], kept_bytes: IntArray | None = None
) -> list[tuple[int, int, int, int]]:
    """Cut slices × fields into rectangles (slice from, to, field from, to) that fit into one record each.

    Args:
        layout: of the pane.
        sketch_bytes: of the slice `all`, one number per field.
        kept_bytes: what is kept of slices takes, shape (n_slices, n_fields); None where nothing is.
    """
    bytes_of = np.tile(layout.widths * _COUNT_BYTES, (layout.n_slices, 1))
    bytes_of[0] += N_MOMENTS * 8 + np.array(sketch_bytes, dtype=np.int64)
    if kept_bytes is not None:
        bytes_of += kept_bytes
    if int(bytes_of.sum()) + layout.n_slices * HEADER * _COUNT_BYTES <= _BUDGET_BYTES:
        return [(0, layout.n_slices, 0, layout.n_fields)]
    found = [(0, 1, f0, f1) for f0, f1 in _runs(bytes_of[0].tolist())]
    if layout.n_slices == 1:
        return found
    of_slice = bytes_of[1:].sum(axis=1).tolist()
    for first, last in _runs(of_slice):
        if last - first == 1 and of_slice[first] > _BUDGET_BYTES:
            found += [(first + 1, last + 1, f0, f1) for f0, f1 in _runs(bytes_of[first + 1].tolist())]
        else:
            found.append((first + 1, last + 1, 0, layout.n_fields))
    return found


def _runs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Cut a sequence into runs whose sizes add up to at most the budget; an oversized one stands alone."""
    found, start, total = [], 0, 0
    for i, size in enumerate(sizes):
        if total and total + size > _BUDGET_BYTES:
            found.append((start, i))
            start, total = i, 0
        total += size
    return [*found, (start, len(sizes))]
