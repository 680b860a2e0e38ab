"""One pane (or hour) after another → their merge; none is needed any more once it was added."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import structlog

from sketches.sketch.merge import merge_moments, merge_sketch
from streams.monitor.state.series import KeptBytes, Pane, Series, Sketch
from streams.records import RecordError

log = structlog.get_logger()

Place = tuple[int, int]
"""Slice and field."""


def merged(series: Series, start_s: int, panes: Iterable[Pane]) -> Pane | None:
    """Merge panes (or hours) into one that begins at `start_s`; None where there are none."""
    merging = None
    for pane in panes:
        merging = merging or Merging(series, start_s)
        merging.add(pane)
    return None if merging is None else merging.done()


class Merging:
    """The merge of those panes of a series that were added so far.

    Where a sketch of a field is missing or cannot be opened it has none: some of the values would pass for all.

    Args:
        series: whose panes they are.
        start_s: where their merge begins.
    """

    def __init__(self, series: Series, start_s: int) -> None:
        self._series, self._total = series, series.empty_pane(start_s)
        self._numeric = [field.kind == "numeric" for field in series.layout.fields]
        self._sketches: list[Sketch | None] = [None] * len(self._numeric)
        self._lacks = np.zeros(len(self._numeric), dtype=bool)
        """Fields of which a sketch is missing, or damaged."""
        self._kept: dict[Place, KeptBytes | None] = {}
        """What was kept of slices; None where it was not kept of all values."""

    def add(self, pane: Pane) -> None:
        """Add a pane, which stays as it is."""
        total = self._total
        # First, since it asks what there was before.
        for place in {*pane.kept, *self._kept}:
            if self._series.has_values(pane, *place):
                self._add_kept(place, pane.kept.get(place))
        total.counts += pane.counts
        total.late += pane.late
        merge_moments(total.moments, pane.moments)
        np.maximum(total.record_seq, pane.record_seq, out=total.record_seq)
        for i, data in enumerate(pane.sketches):
            if data:
                self._add_sketch(i, data)
            elif self._numeric[i] and self._series.has_values(pane, 0, i):
                self._lacks[i] = True

    def done(self) -> Pane:
        """What was added, as one pane; nothing more is added then."""
        total = self._total
        total.sketches = [
            b"" if sketch is None or lacks else sketch.to_bytes()
            for sketch, lacks in zip(self._sketches, self._lacks.tolist(), strict=True)
        ]
        total.kept = {place: kept for place, kept in sorted(self._kept.items()) if kept is not None}
        total.compact()
        return total

    def _add_sketch(self, i: int, data: bytes) -> None:
        if self._lacks[i]:
            return
        try:
            self._sketches[i] = merge_sketch(self._sketches[i], self._series.open_sketch(i, data))
        except RecordError as error:
            log.error("sketch left out", start_s=self._total.start_s, error=str(error))
            self._lacks[i] = True

    def _add_kept(self, place: Place, more: KeptBytes | None) -> None:
        """Add what a pane with values of a place kept of them, or did not."""
        held = self._kept.get(place)
        if more is None or (held is None and (place in self._kept or self._series.has_values(self._total, *place))):
            self._kept[place] = None
            return
        try:
            self._kept[place] = more if held is None else self._series.merged_kept(place[1], [held, more])
        except RecordError as error:
            name = self._series.layout.slices[place[0]]
            log.error("sketch left out", start_s=self._total.start_s, slice=name, error=str(error))
            self._kept[place] = None
