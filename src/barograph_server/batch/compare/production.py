"""One pass over the production rows: panes, outcomes, and a sample for the classifier."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.batch.compare.classifier import category_codes, common_categories, sample_rows
from barograph_server.batch.compare.outcomes import OutcomeCounts, read_scores
from barograph_server.batch.compare.panes import map_in_order, merge_summaries, summarise
from barograph_server.batch.compare.periods import Period
from barograph_server.batch.compare.served import EventTimes, ServedRows
from barograph_server.profiling.infer.tables import Table
from barograph_server.sketches.baseline.baseline import FieldBaseline
from barograph_server.sketches.baseline.loss_trees import SCORE, LossTrees
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.sketcher.pane_summary import PaneKey, PaneSummary
from barograph_server.warehouse.scoring.rules import Rules

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BATCH_ROWS = 1 << 17
"""Rows that a thread counts at a time."""


def numbered(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield each batch of a table with the number of its first row."""
    first = 0
    for batch in batches:
        yield first, batch
        first += batch.num_rows


class RowSample:
    """Rows of a table for the classifier, evenly spread.

    Attributes:
        events: the rows, in order.
    """

    def __init__(self, n_rows: int) -> None:
        self._rows = sample_rows(n_rows)
        self.events: list[EventColumns] = []

    def add(self, first: int, batch: pa.RecordBatch, served: ServedRows, times: EventTimes) -> None:
        lo, hi = np.searchsorted(self._rows, [first, first + batch.num_rows])
        chosen = self._rows[lo:hi]
        chosen = chosen[~times.null[chosen]]
        if len(chosen):
            rows = batch.take(pa.array(chosen - first))
            self.events += served.events(rows, times.at_ms[chosen], times.null[chosen])


@dataclass(frozen=True, slots=True)
class _BatchResult:
    panes: dict[PaneKey, PaneSummary]
    outcomes: OutcomeCounts | None
    sample: RowSample
    n_rejected: int


class ProductionPass:
    """Reads production once, and counts panes, outcomes and a sample.

    Attributes:
        outcomes: predictions and labels by period; None without scoring rules.
        n_rejected: rows without time or id.
    """

    def __init__(
        self,
        table: Table,
        served: ServedRows,
        registry: Registry,
        times: EventTimes,
        periods: Sequence[Period],
        rules: Rules | None,
        selected: Mapping[str, str],
    ) -> None:
        self._table, self._served, self._registry, self._times = table, served, registry, times
        self._starts_ms = np.array([period.start_s for period in periods]) * 1000
        self._rules, self._selected = rules, selected
        self.panes: dict[PaneKey, PaneSummary] = {}
        self.outcomes = OutcomeCounts(rules, len(periods)) if rules is not None else None
        self.sample = RowSample(table.rows)
        self.n_rejected = 0

    def read(self, workers: int, *, sampled: bool) -> None:
        columns = list(dict.fromkeys([*self._served.columns, *self._selected.values()]))
        batches = numbered(self._table.row_batches(columns, BATCH_ROWS))
        for result in map_in_order(partial(self._count, sampled), batches, workers):
            merge_summaries(self.panes, result.panes)
            if self.outcomes is not None and result.outcomes is not None:
                self.outcomes.merge(result.outcomes)
            self.sample.events += result.sample.events
            self.n_rejected += result.n_rejected

    def _count(self, sampled: bool, numbered: tuple[int, pa.RecordBatch]) -> _BatchResult:
        first, batch = numbered
        rows = slice(first, first + batch.num_rows)
        at_ms, null = self._times.at_ms[rows], self._times.null[rows]
        sample = RowSample(self._table.rows)
        if sampled:
            sample.add(first, batch, self._served, self._times)
        rejected = null | ~self._served.has_id(batch)
        if rejected.any():
            batch = batch.filter(pa.array(~rejected))
            at_ms = at_ms[~rejected]
        events = list(self._served.events(batch, at_ms, np.zeros(len(at_ms), np.bool_)))
        panes = summarise(self._registry, iter(events))
        outcomes = None
        if self._rules is not None:
            outcomes = OutcomeCounts(self._rules, len(self._starts_ms))
            period = np.searchsorted(self._starts_ms, at_ms, "right") - 1
            outputs = {name: batch.column(column) for name, column in self._selected.items()}
            outcomes.add(period, outputs, loss_cells(self._rules.losses, events, outputs))
        return _BatchResult(panes, outcomes, sample, int(rejected.sum()))


def loss_cells(
    losses: Sequence[tuple[str, LossTrees]], events: Sequence[EventColumns], outputs: Mapping[str, pa.Array]
) -> IntArray | None:
    """Return the bin of the expected error of each row by the trees of the only version; None without trees."""
    if not losses:
        return None
    [(_, trees)] = losses
    columns = []
    for feature in trees.features:
        if feature.source == SCORE:
            columns.append(read_scores(outputs.get(SCORE), sum(map(len, events))))
            continue
        pieces = []
        for each in events:
            missing = np.full(len(each), np.nan)
            if feature.categories:
                texts = each.texts.get(feature.source)
                codes = missing if texts is None else category_codes(texts, feature.categories)
                pieces.append(np.where(codes < len(feature.categories), codes, np.nan))
            else:
                pieces.append(each.numbers.get(feature.source, missing))
        columns.append(np.concatenate(pieces))
    return trees.cells(np.stack(columns, axis=1))


def matrix_column(events: Sequence[EventColumns], source: str, kind: str, field: FieldBaseline) -> FloatArray:
    """Return the sampled values of a field: NaN for null, codes for categories."""
    pieces = []
    for columns in events:
        if field.kind == "category":
            texts = columns.texts.get(source, pa.nulls(len(columns), pa.string()))
            pieces.append(category_codes(texts, common_categories(field)))
            continue
        values = columns.numbers.get(source)
        values = np.full(len(columns), np.nan) if values is None else values
        pieces.append((columns.at_ms - values) / 1000 if kind == "timestamp" else values)
    return np.concatenate(pieces) if pieces else np.empty(0)
