"""Panes → columns of `violations`: values that broke the contract, per pane and field of the slice `all`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Field

from sketches.baseline.baseline import FieldBaseline
from sketches.baseline.columns import FieldColumn
from streams.monitor.rows.pane_rows import common_columns
from streams.monitor.state.series import Pane, Series
from warehouse.dictionary_columns import dictionary_column

Columns = dict[str, Any]
KINDS = ("null", "invalid", "below", "above", "unseen")
CLASS = "class"
"""The source of the field whose values `label.classes` names."""


def violation_columns(series: Series, panes: list[Pane], partials_partition: int) -> Columns | None:
    """Rows of `violations`: one per pane, field and kind that was seen; None where the contract was kept."""
    layout, contract = series.layout, series.contract
    declared = {field.name: field for field in contract.fields}
    # Shape (n_fields, kinds, 2): the columns of the counts that each kind adds up, [first, last).
    cells = [
        (i, kind, columns)
        for i, kept in enumerate(layout.fields)
        if kept.name in declared
        for kind, columns in _columns(contract, declared[kept.name], kept, int(layout.starts[i]))
    ]
    if not cells:
        return None
    counts = np.stack([pane.counts[0] for pane in panes], dtype=np.int64)
    n = np.stack([counts[:, columns].sum(axis=1) for _, _, columns in cells], axis=1)
    p, c = np.nonzero(n)
    if not len(p):
        return None
    field_of = np.array([i for i, _, _ in cells])
    kind_of = np.array([KINDS.index(kind) for _, kind, _ in cells])
    f = field_of[c]
    # All values: the cells and `invalid`, which follows them.
    ends = np.cumsum(np.concatenate((np.zeros((len(panes), 1), dtype=np.int64), counts), axis=1), axis=1)
    of = ends[p, layout.columns(FieldColumn.INVALID)[f] + 1] - ends[p, layout.starts[f]]
    record_seq = np.stack([pane.record_seq[0, 1:] for pane in panes])
    policies = [declared[field.name].policy if field.name in declared else "" for field in layout.fields]
    return {
        **common_columns(series, partials_partition, len(p)),
        "field": dictionary_column(f, [field.name for field in layout.fields]),
        "kind": dictionary_column(kind_of[c], KINDS),
        "pane_start": np.array([pane.start_s for pane in panes], dtype=np.int64)[p],
        "pane_s": np.full(len(p), contract.pane_s, dtype=np.int64),
        "n": n[p, c],
        "total": of,
        "policy": pa.array(policies, pa.string()).take(pa.array(f)),
        "record_seq": np.maximum(record_seq[p, f], 0),
    }


def _columns(contract: Contract, field: Field, kept: FieldBaseline, start: int) -> list[tuple[str, list[int]]]:
    """The kinds that the contract refuses in a field, each with the columns that count it."""
    null, invalid, below, above = (
        start + kept.n_cells + column
        for column in (FieldColumn.NULL, FieldColumn.INVALID, FieldColumn.BELOW, FieldColumn.ABOVE)
    )
    found = [("invalid", [invalid])]
    if field.nulls == "refuse":
        found.append(("null", [null]))
    if field.low is not None:
        found.append(("below", [below]))
    if field.high is not None:
        found.append(("above", [above]))
    classes = set(contract.label.classes) if contract.label is not None else set()
    if field.source == CLASS and kept.kind == "category" and classes and classes <= set(kept.categories):
        # Every class has a cell of its own, so what stands in `unseen` or in another cell is none of them.
        others = [start + i for i, category in enumerate(kept.categories) if category not in classes]
        found.append(("unseen", [*others, start + len(kept.categories)]))
    return found
