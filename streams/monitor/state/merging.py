"""Merges panes and hours that are added one after another and not needed afterwards."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import structlog

from barograph_server.sketches.baseline.layout import HEADER
from barograph_server.sketches.sketch.merge import merge_moments, merge_sketch
from barograph_server.streams.monitor.state.pane import Pane, SliceField, SliceSketch
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.state.sketch_codec import FieldSketch
from barograph_server.streams.records import RecordError

log = structlog.get_logger()


def merge_panes(series: Series, start_s: int, panes: Iterable[Pane]) -> Pane | None:
    """Merge panes (or hours) into one that starts at `start_s`; None if there are no panes."""
    merger = None
    for pane in panes:
        merger = merger or PaneMerger(series, start_s)
        merger.add(pane)
    return None if merger is None else merger.finish()


class PaneMerger:
    """Merges the panes of a series that are added to it.

    If a sketch of a field is missing or cannot be opened, the merge has no sketch of that field: a sketch of some of
    the values would pass for a sketch of all.
    """

    def __init__(self, series: Series, start_s: int) -> None:
        self._series, self._total = series, series.empty_pane(start_s)
        self._numeric = [field.kind == "numeric" for field in series.layout.fields]
        self._sketches: list[FieldSketch | None] = [None] * len(self._numeric)
        self._incomplete = np.zeros(len(self._numeric), dtype=bool)
        """Fields of which a sketch is missing or damaged."""
        self._slice_sketches: dict[SliceField, SliceSketch | None] = {}
        """None if the sketches do not cover every value."""

    def add(self, pane: Pane) -> None:
        total, layout = self._total, self._series.layout
        # Slice sketches first, because they depend on the counts that were added before.
        for key in {*pane.slice_sketches, *self._slice_sketches}:
            if pane.count_values(layout, *key):
                self._add_slice_sketch(key, pane.slice_sketches.get(key))
        total.counts += pane.counts
        total.late += pane.late
        merge_moments(total.moments, pane.moments)
        np.maximum(total.record_seq, pane.record_seq, out=total.record_seq)
        for i, data in enumerate(pane.sketches):
            if data:
                self._add_sketch(i, data)
            elif self._numeric[i] and pane.count_values(layout, 0, i):
                self._incomplete[i] = True

    def finish(self) -> Pane:
        """Return the merge; nothing may be added afterwards."""
        total = self._total
        total.sketches = [
            b"" if sketch is None or incomplete else sketch.to_bytes()
            for sketch, incomplete in zip(self._sketches, self._incomplete.tolist(), strict=True)
        ]
        total.slice_sketches = {
            key: sketch for key, sketch in sorted(self._slice_sketches.items()) if sketch is not None
        }
        total.narrow_counts()
        return total

    def _add_sketch(self, i: int, data: bytes) -> None:
        if self._incomplete[i]:
            return
        try:
            self._sketches[i] = merge_sketch(self._sketches[i], self._series.codec.open(i, data))
        except RecordError as error:
            log.error("sketch dropped", start_s=self._total.start_s, error=str(error))
            self._incomplete[i] = True

    def _add_slice_sketch(self, key: SliceField, added: SliceSketch | None) -> None:
        """Add the sketch of a pane that has values of a slice and field; None if it has no sketch of them."""
        series, present = self._series, self._slice_sketches.get(key)
        is_missing = present is None and (
            key in self._slice_sketches or self._total.count_values(series.layout, *key) > 0
        )
        if added is None or is_missing:
            self._slice_sketches[key] = None
            return
        try:
            self._slice_sketches[key] = (
                added if present is None else series.codec.merge_slice_sketches(key[1], [present, added])
            )
        except RecordError as error:
            log.error(
                "sketch dropped", start_s=self._total.start_s, slice=series.layout.slices[key[0]], error=str(error)
            )
            self._slice_sketches[key] = None


class UnseenSketch(NamedTuple):
    """The encoded sketch of one field's unseen categories in one hour."""

    start_s: int
    field_index: int
    record_seq: int
    sketch: bytes


def merge_unseen(series: Series, start_s: int, panes: Sequence[Pane]) -> list[UnseenSketch]:
    """Merge the sketches of unseen categories of some panes, per field; a field with a damaged sketch is left out."""
    merged = []
    for i, field in enumerate(series.layout.fields):
        sketches = [pane.sketches[i] for pane in panes if pane.sketches[i]]
        if field.kind != "category" or not sketches:
            continue
        sketch: FieldSketch | None = None
        try:
            for data in sketches:
                sketch = merge_sketch(sketch, series.codec.open(i, data))
        except RecordError as error:
            log.error("sketch dropped", start_s=start_s, error=str(error))
            continue
        assert sketch is not None
        record_seq = int(max(pane.record_seq[0, 1 + i] for pane in panes))
        merged.append(UnseenSketch(start_s, i, record_seq, sketch.to_bytes()))
    return merged


def newer_rows(series: Series, one: Pane, other: Pane) -> Pane:
    """Combine two states of one hour: each row comes from the state that a later record changed."""
    later = other.record_seq[:, 1:] > one.record_seq[:, 1:]
    if not later.any():
        return one
    columns = np.repeat(later, series.layout.widths, axis=1)
    combined = series.empty_pane(one.start_s)
    combined.counts[:, HEADER:] = np.where(columns, other.counts[:, HEADER:], one.counts[:, HEADER:])
    combined.moments = np.where(later[0][:, None], other.moments, one.moments)
    combined.sketches = [(other if is_later else one).sketches[i] for i, is_later in enumerate(later[0].tolist())]
    combined.slice_sketches = {
        key: sketch
        for pane, is_source in ((one, ~later), (other, later))
        for key, sketch in pane.slice_sketches.items()
        if is_source[key]
    }
    combined.record_seq[:, 1:] = np.maximum(one.record_seq[:, 1:], other.record_seq[:, 1:])
    return combined
