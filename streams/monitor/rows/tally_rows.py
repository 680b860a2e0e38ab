"""Tallies → columns of `errors`, `producers` and `dead_letter_counts`: a row per record, replaced where it comes again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.monitor.state.store import Writes
from streams.records import Tally

Columns = dict[str, Any]


def add_tallies(writes: Writes, tallied: Sequence[tuple[Tally, int]], partials_partition: int) -> None:
    """Add the rows of tallies, each with its `record_seq`, to what is written."""
    errors = [
        (tally.model, e.version, e.baseline_id, e.slice, e.kind, e.pane_start_s, tally.pane_s, e.n, record_seq)
        for tally, record_seq in tallied
        for e in tally.errors
    ]
    producers = [
        (tally.model, p.producer, p.pane_start_s, tally.pane_s, p.n, p.first_seq, p.last_seq, record_seq)
        for tally, record_seq in tallied
        for p in tally.producers
    ]
    dead = [
        (tally.topic, tally.model, d.reason, d.hour_s, d.n, record_seq)
        for tally, record_seq in tallied
        for d in tally.dead
    ]
    for rows, into, names in (
        (errors, writes.errors, _ERRORS),
        (producers, writes.producers, _PRODUCERS),
        (dead, writes.dead_letter_counts, _DEAD),
    ):
        if rows:
            columns: Columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
            into.append({"partials_partition": [partials_partition] * len(rows), **columns})


_ERRORS = ("model", "version", "baseline_id", "slice", "kind", "pane_start", "pane_s", "n", "record_seq")
_PRODUCERS = ("model", "producer", "pane_start", "pane_s", "n", "first_seq", "last_seq", "record_seq")
_DEAD = ("topic", "model", "reason", "hour", "n", "record_seq")
