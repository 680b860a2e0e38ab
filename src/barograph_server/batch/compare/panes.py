"""Counts production rows into panes and judges periods, with the code of the sketcher and the monitor.

The path is that of the pipeline without its topics: events are summarised by pane as in a flush of the sketcher, each
summary becomes partials, and the monitor's cache merges these into the panes of a series. Batches are summarised by
several threads and merged in the order of the rows.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
from barograph.contract import Contract

from barograph_server.batch.compare.errors import CompareError
from barograph_server.batch.compare.periods import Period, windows_of
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.sketches.baseline.layout import IntArray
from barograph_server.sketches.baseline.levels import InsufficientReason
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.state.empty_store import EmptyStore
from barograph_server.streams.monitor.state.merged_ranges import MergedRange
from barograph_server.streams.monitor.state.model import ModelState
from barograph_server.streams.monitor.state.pane_cache import PaneCache
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.monitor.verdicts.column_buffer import concat_columns
from barograph_server.streams.monitor.verdicts.describe import describe
from barograph_server.streams.monitor.verdicts.judge import judge
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet, window_counts
from barograph_server.streams.monitor.windows import fixed_starts
from barograph_server.streams.records import Partial, decode
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.pane_summary import PaneKey, PaneSummary
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.warehouse.tables import SCHEMAS, table_of

Item = TypeVar("Item")
Result = TypeVar("Result")

TABLES = ("drift", "rates", "distances")
_SOURCE = "compare"
_NO_LIMIT = 1 << 62


def make_registry(contract: Contract, baseline: Baseline) -> Registry:
    return build_registry([(contract, 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Apply a function in threads, and yield the results in order; at most `workers` + 1 items wait at a time."""
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def summarise(registry: Registry, events: Iterable[EventColumns]) -> dict[PaneKey, PaneSummary]:
    """Summarise events by pane, as a flush of the sketcher does."""
    summaries = FlushSummaries(registry)
    for columns in events:
        summaries.add(columns)
    return summaries.panes


def merge_summaries(total: dict[PaneKey, PaneSummary], panes: dict[PaneKey, PaneSummary]) -> None:
    """Add the summaries of a batch, which is not used afterwards."""
    for key, summary in panes.items():
        if key in total:
            total[key].merge(summary)
        else:
            total[key] = summary


@dataclass(frozen=True, slots=True)
class JudgedPeriods:
    """The verdicts of all periods, as rows of the tables that the monitor writes.

    `window` in the rows is the length whose φ is used, and `record_seq` and `judged_at` are 0.
    """

    series: Series
    drift: pa.Table
    rates: pa.Table
    distances: pa.Table
    counts: dict[int, IntArray]
    """End of a period (Unix seconds) → its counts, shape (n_slices, width)."""
    merged: Callable[[int | None], MergedRange]
    """Returns the merged numbers of the period that ends at a time; of all periods for None."""


def judge_periods(
    registry: Registry,
    contract: Contract,
    summaries: dict[PaneKey, PaneSummary],
    periods: Sequence[Period],
    phi_name: str,
) -> JudgedPeriods:
    """Merge summaries into panes, and judge and describe every period that has rows.

    Args:
        contract: the contract in force; its panes have the length of the summaries' panes.
        periods: ascending; each consists of whole panes.

    Raises:
        CompareError: there are no rows.
    """
    if not summaries:
        raise CompareError("No production row has a time and an id: correct --time or --id.")
    state = ModelState(contract)
    cache = PaneCache(EmptyStore(), lambda: registry, _NO_LIMIT)
    cache.load(state)
    key = next(iter(summaries))
    series = cache.get_series(state, key.version, key.baseline_id)
    assert series is not None
    for record_seq, (pane_key, summary) in enumerate(sorted(summaries.items())):
        for data in encode_partials(pane_key, summary, _SOURCE, []):
            record = decode(data)
            assert isinstance(record, Partial)
            cache.merge(state, series, record, record_seq, late=False)
    rows: dict[str, list[Columns]] = {name: [] for name in TABLES}
    counts: dict[int, IntArray] = {}
    start_of_end: dict[int, int] = {}
    for window, group in windows_of(periods, phi_name).items():
        ends_s = [period.end_s for period in group]
        whole = np.array([period.is_whole for period in group], np.bool_)
        gaps = np.where(whole, InsufficientReason.none, InsufficientReason.partly_recorded).astype(np.int8)
        lost, starts_s = np.zeros(len(group)), fixed_starts(window, ends_s)
        windows = WindowSet(contract, window, starts_s, np.array(ends_s), lost, gaps, 0, 0)
        counts |= dict(zip(ends_s, window_counts(series, windows), strict=True))
        start_of_end |= {period.end_s: period.start_s for period in group}
        for drift, rates in judge(series, windows):
            _append(rows["drift"], drift)
            _append(rows["rates"], rates)
        merge_window = partial(_merge_panes, series, window.length_s)
        _append(rows["distances"], describe(series, windows, merge_window))

    def merged(end_s: int | None) -> MergedRange:
        first_s, last_s = (periods[0].start_s, periods[-1].end_s) if end_s is None else (start_of_end[end_s], end_s)
        return _merge_panes(series, last_s - first_s, last_s)

    tables = {name: _sorted_table(name, chunks) for name, chunks in rows.items()}
    return JudgedPeriods(series, tables["drift"], tables["rates"], tables["distances"], counts, merged)


def _merge_panes(series: Series, length_s: int, end_s: int) -> MergedRange:
    """Merge the panes of a period once; the monitor merges the same panes through shorter ranges."""
    merged = MergedRange(series.layout)
    for pane in series.iter_panes(end_s - length_s, end_s):
        merged.add_pane(series, pane)
    return merged


def _append(chunks: list[Columns], columns: Columns | None) -> None:
    if columns is not None and len(columns["record_seq"]):
        chunks.append(columns)


def _sorted_table(name: str, chunks: Sequence[Columns]) -> pa.Table:
    columns = concat_columns(chunks)
    if columns is None:
        return SCHEMAS[name].empty_table()
    return table_of(name, columns).sort_by([("window_end", "ascending")])
