"""Overdispersion φ of each field and slice, learned from windows of the training data.

For each window length of the contract, the training period is split into disjoint windows aligned to multiples of the
length since 1970; only windows wholly inside the period count. Each is compared with the whole baseline, on the same
bins as live windows. With a season, each is compared with the counts of its hours of the week, excluding its own rows.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from barograph_server.profiling.infer.hours import TrainingHours
from barograph_server.profiling.infer.slices import SliceDimension
from barograph_server.profiling.infer.summarise import CellArray, FieldSummary
from barograph_server.profiling.infer.windows import OrderedTimes
from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.cells import count_cells
from barograph_server.sketches.baseline.layout import IntArray, Layout
from barograph_server.sketches.drift.season import Season
from barograph_server.sketches.drift.window_phi import TrainingLength, learn_variation

CHUNK_ROWS = 1 << 21
CHUNK_COUNTS = 1 << 22
"""Counts in memory at a time, of all windows and slices of a chunk: 32 MB."""


class TrainingWindows:
    """Training rows in order of time, split into windows of each length.

    Args:
        times: Event times of the rows; no window contains rows without one.
        dimensions: Slice dimensions whose φ is learned separately.
        lengths_s: Length of each window by its name; that of windows of the last events is their typical one.
        slice_rows: Training rows per slice name.
        season: Time zone and pane length in seconds; None if the contract has no season.

    Attributes:
        mean_events: Mean events of the windows of each name, the shortest windows first.
    """

    def __init__(
        self,
        times: OrderedTimes,
        dimensions: Sequence[SliceDimension],
        lengths_s: Mapping[str, int],
        slice_rows: dict[str, int],
        season: tuple[str, int] | None = None,
    ) -> None:
        # The times themselves are not kept: they may be a sorted copy of 8 bytes per row.
        self._order = times.order
        self.first_ms, self.last_ms = times.first_ms, times.last_ms
        self._dimensions = [(len(d.slice_names), self._in_time_order(d.codes)) for d in dimensions]
        self._values = tuple(dimension.values for dimension in dimensions)
        self._slice_rows = slice_rows
        self._timezone = season[0] if season else ""
        self.hours = TrainingHours(times.at_ms, *season) if season else None
        by_length = sorted(lengths_s.items(), key=lambda each: each[1])
        self._bounds = {name: times.bounds(length_s) for name, length_s in by_length}
        self.mean_events = {name: times.mean_events(length_s) for name, length_s in by_length}

    def count(self, name: str) -> int:
        """Count the windows of a name that have rows and lie wholly inside the training period."""
        return len(self._bounds[name]) - 1

    def learn(self, summary: FieldSummary) -> FieldBaseline:
        """Return the field's baseline with φ per slice and window length, and with its hours of the week if needed."""
        field = summary.baseline
        cells = self._in_time_order(summary.cells)
        if self.hours is not None:
            field = msgspec.structs.replace(field, hours_of_week=self.hours.hours_of_week(field, cells))
        single_field = Baseline(
            model="",
            version="",
            rows=self._slice_rows[ALL],
            slice_rows=self._slice_rows,
            dimensions=self._values,
            timezone=self._timezone,
            fields=(field,),
        )
        layout = Layout(single_field)
        bins = PsiBins(layout)
        if bins.n_groups == 0:
            return field
        season = Season(bins) if self.hours is not None else None
        lengths = (
            TrainingLength(
                name,
                self._count_windows(layout, cells, bounds),
                () if self.hours is None else self.hours.windows(field, cells, bounds),
            )
            for name, bounds in self._bounds.items()
        )
        return learn_variation(bins, season, lengths)[0]

    def _count_windows(self, layout: Layout, cells: CellArray, bounds: IntArray) -> Iterator[IntArray]:
        """Count windows on the layout in chunks: arrays of shape (W, n_slices, width)."""
        columns = layout.event_cells(0)
        n_codes = columns.stop - columns.start
        chunk_size = max(1, CHUNK_COUNTS // (layout.n_slices * layout.width))
        first, last = 0, len(bounds) - 1
        while first < last:
            row_limit = int(np.searchsorted(bounds, bounds[first] + CHUNK_ROWS, side="right")) - 1
            end = min(last, first + chunk_size, max(first + 1, row_limit))
            sizes = np.diff(bounds[first : end + 1])
            rows = slice(int(bounds[first]), int(bounds[end]))
            window = np.repeat(np.arange(end - first), sizes)
            counts = np.zeros((end - first, layout.n_slices, layout.width), dtype=np.int64)
            cell = cells[rows].astype(np.int32)
            # One more cell than PSI uses, for invalid values.
            result = count_cells(cell, n_codes, window, end - first)
            counts[:, 0, columns] = result
            for row, (n_values, codes) in zip(layout.dimension_starts, self._dimensions, strict=True):
                group = window * n_values + codes[rows]
                result = count_cells(cell, n_codes, group, (end - first) * n_values)
                result = result.reshape(end - first, n_values, -1)
                counts[:, row : row + n_values, columns] = result
            yield counts
            first = end

    def _in_time_order(self, values: CellArray) -> CellArray:
        return values if self._order is None else values[self._order]
