"""Rows of errors, producers, their heartbeats and dead letters, each of one record: a redelivery replaces them."""

from collections.abc import Iterator, Sequence

import numpy as np

from barograph_server.streams.monitor.rows.pane_rows import PANES_PER_INSERT, pane_pages, volume_columns
from barograph_server.streams.monitor.rows.violation_rows import violation_columns
from barograph_server.streams.monitor.state.commit_rows import Columns, TableColumns
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.series import Series
from barograph_server.streams.records import Tally

_ERRORS = ("model", "version", "baseline_id", "slice", "kind", "pane_start", "pane_s", "n", "record_seq")
_PRODUCERS = ("model", "producer", "pane_start", "pane_s", "n", "first_seq", "last_seq", "record_seq")
_HEARTBEATS = ("model", "producer", "since", "at", "last_seq", "queued", "ended", "discarded", "record_seq")
_DEAD = ("topic", "model", "reason", "hour", "n", "record_seq")


def tally_rows(tallies: Sequence[tuple[Tally, int]], partials_partition: int) -> Iterator[TableColumns]:
    """Yield the rows of tallies, as columns per table.

    Args:
        tallies: each with the `record_seq` of its record.
        partials_partition: the partition of `partials` that they come from.
    """
    errors = [
        (tally.model, e.version, e.baseline_id, e.slice, e.kind, e.pane_start_s, tally.pane_s, e.n, record_seq)
        for tally, record_seq in tallies
        for e in tally.errors
    ]
    producers = [
        (tally.model, p.producer, p.pane_start_s, tally.pane_s, p.n, p.first_seq, p.last_seq, record_seq)
        for tally, record_seq in tallies
        for p in tally.producers
    ]
    heartbeats = [
        (tally.model, h.producer, h.since_s, h.at_s, h.last_seq, h.queued, h.ended, h.discarded, record_seq)
        for tally, record_seq in tallies
        for h in tally.heartbeats
    ]
    dead = [
        (tally.topic, tally.model, d.reason, d.hour_s, d.n, record_seq)
        for tally, record_seq in tallies
        for d in tally.dead
    ]
    if errors:
        yield "errors", _columns(_ERRORS, errors, partials_partition)
    if producers:
        yield "producers", _columns(_PRODUCERS, producers, partials_partition)
    if heartbeats:
        yield "heartbeats", _columns(_HEARTBEATS, heartbeats, partials_partition)
    if dead:
        yield "dead_letter_counts", _columns(_DEAD, dead, partials_partition)


def _columns(names: Sequence[str], rows: Sequence[tuple[object, ...]], partials_partition: int) -> Columns:
    columns: Columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return {"partials_partition": [partials_partition] * len(rows), **columns}


def changed_panes(
    series: Series, dirty: list[Pane], sealed_until_s: int, partials_partition: int
) -> Iterator[TableColumns]:
    """Yield the rows of `panes`, `volume` and `violations` of changed panes.

    Args:
        dirty: the panes that changed, in order.
        sealed_until_s: panes that end by then are sealed.
        partials_partition: the partition of `partials` that they come from.
    """
    pane_s = series.contract.pane_s
    sealed = np.array([pane.sealed or pane.start_s + pane_s <= sealed_until_s for pane in dirty], dtype=bool)
    for page in pane_pages(series, dirty, partials_partition, pane_s, sealed):
        yield "panes", page
    for first in range(0, len(dirty), PANES_PER_INSERT):
        chosen = slice(first, first + PANES_PER_INSERT)
        yield "volume", volume_columns(series, dirty[chosen], partials_partition, sealed[chosen])
        violations = violation_columns(series, dirty[chosen], partials_partition)
        if violations is not None:
            yield "violations", violations
