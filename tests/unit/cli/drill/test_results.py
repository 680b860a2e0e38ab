"""Rows of the table `drills` for drills that could not be planned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cli.drill import results
from cli.drill.plan import DrillRequest, complete_injection
from cli.drill.results import UnplannedDrill, store_unplanned
from drills.faults import InjectionRequest, find_fault
from drills.report import failed_report
from tests.support.drill_events import CONTRACT, baseline, make_events
from warehouse.tables import table_of

EVENTS = make_events()


@pytest.mark.parametrize(
    ("fault", "field", "stored"),
    [("null-rise", None, ("x", 0.3)), ("null-rise", "z", ("z", math.nan)), ("silence", None, ("", 1.0))],
    ids=["default", "unknown-field", "whole-events"],
)
def test_a_drill_that_cannot_be_planned_is_a_failed_row(
    monkeypatch: pytest.MonkeyPatch, fault: str, field: str | None, stored: tuple[str, float]
) -> None:
    rows: list[Mapping[str, Any]] = []

    def insert(_client: Any, table: str, inserted: Sequence[Mapping[str, Any]]) -> None:
        # It has each column of the table.
        table_of(table, {name: [row[name] for row in inserted] for name in inserted[0]})
        rows.extend(inserted)

    monkeypatch.setattr(results, "insert_rows", insert)
    request = DrillRequest(InjectionRequest(find_fault(fault), field))
    injection = complete_injection(request, CONTRACT, baseline(), EVENTS)
    drill = UnplannedDrill("7", request, injection, failed_report("the drill can run", "No notification would arrive."))
    store_unplanned(Any, "shop", "1", "fast", [drill])  # type: ignore[arg-type]
    (row,) = rows
    assert (row["fault"], row["field"], row["passed"]) == (fault, stored[0], False)
    assert row["rate"] == pytest.approx(stored[1], nan_ok=True)
    assert row["observed"] == ["No notification would arrive."]
    assert row["at"] == row["fault_start"] == row["fault_end"]
