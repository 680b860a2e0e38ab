"""Rows of `violations`: the kinds that the contract defines, their counts, and their records."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, Field, LabelSpec

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.streams.monitor.rows.violation_rows import violation_columns
from barograph_server.streams.monitor.state.compiled_baseline import CompiledBaseline
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.series import Series
from barograph_server.warehouse.tables import table_of

LAYOUT = Layout(
    Baseline(
        model="m",
        version="1",
        rows=9,
        slice_rows={"all": 9},
        fields=(
            FieldBaseline(name="x", kind="numeric", edges=(0.0, 1.0), slices={"all": SliceCounts(cells=(3, 3, 3, 0))}),
            FieldBaseline(
                name="c",
                kind="category",
                categories=("r", "g", "b"),
                slices={"all": SliceCounts(cells=(3, 3, 3, 0, 0))},
            ),
            FieldBaseline(
                name="class", kind="category", categories=("yes", "no"), slices={"all": SliceCounts(cells=(5, 4, 0, 0))}
            ),
        ),
    )
)
BARE = Contract(
    model="m",
    pane_s=60,
    fields=(
        Field(name="x", type="float", source="features.x"),
        Field(name="c", type="category", source="features.c"),
        Field(name="class", type="category", source="class"),
    ),
)


def changed(name: str, **changes: Any) -> Contract:
    fields = tuple(msgspec.structs.replace(f, **changes) if f.name == name else f for f in BARE.fields)
    return msgspec.structs.replace(BARE, fields=fields)


def rows(contract: Contract, *panes: dict[str, list[int]]) -> dict[tuple[int, str, str], tuple[int, int, str, int]]:
    """Return rows of panes with these counts: (n, total, policy, record_seq) by pane, field and kind."""
    series = Series("1", "b", CompiledBaseline.of(LAYOUT), contract)
    written: list[Pane] = []
    for i, counts_by_field in enumerate(panes):
        pane = series.empty_pane(i * 60)
        for name, counts in counts_by_field.items():
            f = LAYOUT.field_index[name]
            pane.counts[0, LAYOUT.starts[f] : LAYOUT.starts[f] + len(counts)] = counts
            pane.record_seq[0, 1 + f] = 100 * i + f
        written.append(pane)
    columns = violation_columns(series, written, 3)
    if columns is None:
        return {}
    violations = table_of("violations", columns).to_pylist()
    assert {(row["model"], row["version"], row["baseline_id"], row["pane_s"]) for row in violations} == {
        ("m", "1", "b", 60)
    }
    return {
        (int(row["pane_start"].timestamp()), row["field"], row["kind"]): (
            row["n"],
            row["total"],
            row["policy"],
            row["record_seq"],
        )
        for row in violations
    }


EVERYTHING = {"x": [5, 0, 1, 2, 3, 1, 1], "c": [1, 1, 1, 4, 2, 0], "class": [6, 2, 1, 1, 0]}
"""Cells (null last), then invalid, below, above."""
INVALID = {(0, "x", "invalid"): (3, 11, "flag", 0)}


@pytest.mark.parametrize(
    ("contract", "more"),
    [
        (BARE, {}),
        (changed("x", nulls="refuse"), {(0, "x", "null"): (2, 11, "flag", 0)}),
        (changed("x", low=0.0), {(0, "x", "below"): (1, 11, "flag", 0)}),
        (changed("x", high=1.0), {(0, "x", "above"): (1, 11, "flag", 0)}),
        (changed("c", nulls="refuse", policy="reject"), {(0, "c", "null"): (2, 9, "reject", 1)}),
    ],
    ids=["invalid", "nulls", "low", "high", "category"],
)
def test_only_violations_that_the_contract_defines_are_counted(contract: Contract, more: dict[Any, Any]) -> None:
    assert rows(contract, EVERYTHING) == INVALID | more


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("yes", "no"), 1),
        # A class of training that the label does not name is unseen too.
        (("yes",), 3),
        # Training lacks a class that the label names: some of the values in `unseen` may be of this class.
        (("yes", "no", "maybe"), None),
        ((), None),
    ],
)
def test_class_that_the_label_does_not_name_is_unseen(classes: tuple[str, ...], expected: int | None) -> None:
    contract = msgspec.structs.replace(BARE, label=LabelSpec(type="category", classes=classes))
    more = {} if expected is None else {(0, "class", "unseen"): (expected, 10, "flag", 2)}
    assert rows(contract, EVERYTHING) == INVALID | more


def test_pane_and_field_that_the_contract_does_not_name_have_no_violations() -> None:
    good = {"x": [5, 0, 1, 2, 0, 0, 0]}
    assert rows(BARE, good) == {}
    assert rows(BARE, good, {"x": [0, 0, 0, 0, 1, 0, 0]}) == {(60, "x", "invalid"): (1, 1, "flag", 100)}
    assert rows(msgspec.structs.replace(BARE, fields=BARE.fields[1:]), EVERYTHING) == {}
    assert rows(msgspec.structs.replace(BARE, fields=()), EVERYTHING) == {}
