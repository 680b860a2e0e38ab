"""Sums over panes as arrays on the layout, for a range and for each of its windows."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import ALL, HOUR_NAMES, HOURS_OF_WEEK, FieldBaseline
from barograph_server.sketches.baseline.columns import TAIL_KEYS
from barograph_server.sketches.baseline.layout import EVENTS, IntArray, Layout
from barograph_server.sketches.drift.season import HourArray, Season
from barograph_server.streams.hour_of_week import compute_hours_of_week
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import pane_sums
from barograph_server.warehouse.history.pane_sums import PaneRange

CHUNK_COUNTS = 1 << 22
"""Counts in memory at a time, of all windows and slices of a chunk: 32 MB."""


class RangeCounts:
    """The exact counts of a range of panes, read from ClickHouse on demand.

    Args:
        panes: the panes; the range consists of whole panes.
    """

    def __init__(self, client: Client, panes: PaneRange, layout: Layout) -> None:
        self._client, self._panes, self._layout = client, panes, layout

    def totals(self) -> tuple[IntArray, NDArray[np.float64]]:
        """Return the counts of the whole range, (n_slices, width), and its moments, (n_fields, N_MOMENTS)."""
        layout, panes = self._layout, self._panes
        table = pane_sums.pane_sums(self._client, panes, start_s=panes.start_s, end_s=panes.end_s)
        counts = self._sum_groups(table, np.zeros(table.num_rows, np.int64), 1)[0]
        for name, n in pane_sums.events_by_slice(self._client, panes).items():
            if name in layout.slices:
                counts[layout.slices.index(name), EVENTS] = n
        moments = layout.empty_moments()
        for row in table.filter(pc.equal(table.column("slice"), ALL)).select(["field", *_MOMENTS]).to_pylist():
            if row["field"] in layout.field_index and row["minimum"] <= row["maximum"]:
                moments[layout.field_index[row["field"]]] = [row[name] for name in _MOMENTS]
        return counts, moments

    def windows(self, length_s: int) -> Iterator[IntArray]:
        """Yield the counts of the disjoint windows of a length within the range in chunks, (W, n_slices, width).

        Windows begin at multiples of their length since 1970. Windows without events are included.
        """
        layout = self._layout
        chunk_size = max(1, CHUNK_COUNTS // (layout.n_slices * layout.width))
        for first, last in self._chunks(length_s, chunk_size):
            table = self._read(first * length_s, last * length_s, [length_s])
            yield self._sum_groups(table, _numbers(table, "bucket_0") - first, last - first)

    def hours(
        self, fields: tuple[FieldBaseline, ...], season: Season, length_s: int, unit_s: int
    ) -> Iterator[tuple[IntArray, HourArray]]:
        """Yield the counts of the same windows by hour and bin, (W, K, nb), and each hour's hour of the week, (W, K).

        Args:
            fields: the fields, with the counts of the slice `all`, which define the bins.
            season: the seasonal fields among them and the positions of their bins.
            unit_s: length of the units that each lie in one hour of the week, in seconds.
        """
        layout, n_bins = self._layout, len(season.columns)
        column = np.full(layout.width, -1, np.int64)
        for start, index in zip(season.starts.tolist(), season.fields.tolist(), strict=True):
            at, field = int(layout.starts[index]), fields[index]
            column[at : at + field.n_cells] = start + np.array(field.bin_of_cell())
        hours = max(1, -(-length_s // unit_s) + (1 if max(length_s, unit_s) % min(length_s, unit_s) else 0))
        chunk_size = max(1, CHUNK_COUNTS // (8 * hours * n_bins))
        for first, last in self._chunks(length_s, chunk_size):
            table = self._read(first * length_s, last * length_s, [length_s, unit_s], ALL)
            window = _numbers(table, "bucket_0") - first
            begins = np.arange(first, last) * length_s // unit_s
            hour = _numbers(table, "bucket_1") - begins[window]
            flat, values = self._flat_counts(table, np.zeros(table.num_rows, np.int64))
            group = np.repeat(window * hours + hour, _lengths(table))
            retained = column[flat] >= 0
            counts = np.zeros((last - first) * hours * n_bins, np.int64)
            np.add.at(counts, group[retained] * n_bins + column[flat[retained]], values[retained])
            starts_s = (begins[:, None] + np.arange(hours)) * unit_s
            yield counts.reshape(last - first, hours, n_bins), compute_hours_of_week(starts_s, unit_s, season.timezone)

    def hours_of_week(
        self, fields: tuple[FieldBaseline, ...], unit_s: int, timezone: str
    ) -> list[dict[str, tuple[int, ...]]]:
        """Return per field the counts per hour of the week and bin, as a baseline stores them.

        Args:
            fields: the fields, with the counts of the slice `all`, which define the bins.
            unit_s: length of the units that each lie in one hour of the week, in seconds.
        """
        layout, panes = self._layout, self._panes
        cells = np.zeros((HOURS_OF_WEEK, layout.width), np.int64)
        step = max(1, CHUNK_COUNTS // (8 * layout.width)) * unit_s
        for start in range(panes.start_s, panes.end_s, step):
            table = self._read(start, min(start + step, panes.end_s), [unit_s], ALL)
            hour_of_week = compute_hours_of_week(_numbers(table, "bucket_0") * unit_s, unit_s, timezone).astype(
                np.int64
            )
            flat, values = self._flat_counts(table, np.zeros(table.num_rows, np.int64))
            np.add.at(cells.reshape(-1), np.repeat(hour_of_week, _lengths(table)) * layout.width + flat, values)
        result = []
        for index, field in enumerate(fields):
            at = int(layout.starts[index])
            folded = np.zeros((HOURS_OF_WEEK, field.bin_of_cell()[-1] + 1), np.int64)
            np.add.at(folded.T, np.array(field.bin_of_cell()), cells[:, at : at + field.n_cells].T)
            hours_of_week = np.flatnonzero(folded.any(axis=1)).tolist()
            result.append(
                {HOUR_NAMES[hour_of_week]: tuple(folded[hour_of_week].tolist()) for hour_of_week in hours_of_week}
            )
        return result

    def _chunks(self, length_s: int, chunk_size: int) -> Iterator[tuple[int, int]]:
        first, last = -(-self._panes.start_s // length_s), self._panes.end_s // length_s
        for start in range(first, last, chunk_size):
            yield start, min(start + chunk_size, last)

    def _read(self, start_s: int, end_s: int, by_s: list[int], only: str = "") -> pa.Table:
        return pane_sums.pane_sums(self._client, self._panes, by_s=by_s, only=only, start_s=start_s, end_s=end_s)

    def _sum_groups(self, table: pa.Table, group: IntArray, n_groups: int) -> IntArray:
        """Sum the rows of a table by group, (n_groups, n_slices, width)."""
        layout = self._layout
        counts = np.zeros((n_groups, layout.n_slices, layout.width), np.int64)
        row = group * layout.n_slices + self._index_of(table, "slice", layout.slices)
        flat, values = self._flat_counts(table, row)
        counts.reshape(-1)[flat] = values
        starts, cells = self._field_positions(table)
        tail = row * layout.width + starts + cells
        for i, name in enumerate(TAIL_KEYS):
            counts.reshape(-1)[tail + i] = _numbers(table, name)
        return counts

    def _flat_counts(self, table: pa.Table, row: IntArray) -> tuple[IntArray, IntArray]:
        """Return the index of each count of a table in the flattened rows of the layout, and the counts."""
        starts, cells = self._field_positions(table)
        lengths = _lengths(table)
        if not np.array_equal(lengths, cells):
            raise ValueError("the cells of the panes differ from those of their baseline")
        ends = np.cumsum(lengths)
        within = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)
        values = pc.list_flatten(table.column("counts")).to_numpy().astype(np.int64)
        return np.repeat(row * self._layout.width + starts, lengths) + within, values

    def _field_positions(self, table: pa.Table) -> tuple[IntArray, IntArray]:
        """Return the first column of each row's field in the layout, and its number of cells."""
        names = tuple(field.name for field in self._layout.fields)
        index = self._index_of(table, "field", names)
        return self._layout.starts[index], self._layout.n_cells[index]

    def _index_of(self, table: pa.Table, column: str, names: tuple[str, ...]) -> IntArray:
        result = pc.index_in(table.column(column).cast(pa.string()), value_set=pa.array(names, pa.string()))
        index: IntArray = result.to_numpy().astype(np.int64)
        return index


_MOMENTS = ("shift_sum", "shift_square_sum", "minimum", "maximum")


def _numbers(table: pa.Table, column: str) -> IntArray:
    numbers: IntArray = table.column(column).to_numpy().astype(np.int64)
    return numbers


def _lengths(table: pa.Table) -> IntArray:
    lengths: IntArray = pc.list_value_length(table.column("counts")).to_numpy().astype(np.int64)
    return lengths
