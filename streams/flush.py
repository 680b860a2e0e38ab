"""The summaries of a flush → the records that go to `parts`, none larger than the limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sketches.layout import HEADER, N_MOMENTS, TAIL, Layout
from streams.records import MAX_RECORD_BYTES, Part, Range, encode
from streams.summarise import PaneKey, PaneSummary

_BUDGET_BYTES = MAX_RECORD_BYTES * 3 // 4
"""Of a rectangle before compression, so that even what does not compress stays under the limit."""
_COUNT_BYTES = 4


def part_messages(key: PaneKey, pane: PaneSummary, source_topic_id: str, ranges: Sequence[Range]) -> Iterator[bytes]:
    """Encode one pane's summary, as one part or split into rectangles of slices × fields."""
    layout = pane.layout
    sketches = [b"" if sketch is None else sketch.to_bytes() for sketch in pane.sketches]
    for s0, s1, f0, f1 in rectangles(layout, [len(sketch) for sketch in sketches]):
        counts = pane.counts[s0:s1, span(layout, f0, f1)]
        header = pane.counts[s0:s1, :HEADER] if f0 == 0 else np.zeros((s1 - s0, HEADER), dtype=np.int64)
        if not counts.any() and not header.any():
            continue
        yield encode(
            Part(
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
            )
        )


def span(layout: Layout, field_from: int, field_to: int) -> slice:
    """The columns of the fields [field_from, field_to) in a pane's counts."""
    if field_from == field_to:
        return slice(HEADER, HEADER)
    last = field_to - 1
    return slice(int(layout.starts[field_from]), int(layout.starts[last] + layout.n_cells[last]) + TAIL)


def rectangles(layout: Layout, sketch_bytes: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Cut slices × fields into rectangles (slice from, to, field from, to) that fit into one record each."""
    whole = layout.n_slices * layout.width * _COUNT_BYTES + sum(sketch_bytes) + layout.n_fields * N_MOMENTS * 8
    if whole <= _BUDGET_BYTES:
        return [(0, layout.n_slices, 0, layout.n_fields)]
    widths = (layout.n_cells + TAIL) * _COUNT_BYTES
    first = [int(width) + N_MOMENTS * 8 + size for width, size in zip(widths, sketch_bytes, strict=True)]
    found = [(0, 1, f0, f1) for f0, f1 in _runs(first)]
    row = int(widths.sum())
    if row <= _BUDGET_BYTES:
        step = _BUDGET_BYTES // row
        starts = range(1, layout.n_slices, step)
        return found + [(s0, min(s0 + step, layout.n_slices), 0, layout.n_fields) for s0 in starts]
    runs = _runs([int(width) for width in widths])
    return found + [(s, s + 1, f0, f1) for s in range(1, layout.n_slices) for f0, f1 in runs]


def _runs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Cut a sequence into runs whose sizes add up to at most the budget; an oversized one stands alone."""
    found, start, total = [], 0, 0
    for i, size in enumerate(sizes):
        if total and total + size > _BUDGET_BYTES:
            found.append((start, i))
            start, total = i, 0
        total += size
    return [*found, (start, len(sizes))]
