"""A commit of the monitor that breaks off before any of its inserts: what is read again leads to the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from streams.registry import RegisteredBaseline, Registry, build_registry
from tests.support.broken_rules import ORDER, Broken
from tests.support.memory_warehouse import Key, Row, without
from tests.support.monitor_desk import HOUR_S, Desk
from tests.support.monitor_schedule import COLOURS, HIGH, T0_S, Crash, baseline, contract

PANE_S = 1200
TIMES = ("judged_at", "recorded_at", "updated_at")
BROKEN_AND_NEW: dict[str, Any] = {"x": HIGH + 1.0, "colour": COLOURS[2]}
"""An event that breaks the contract, with a colour that training did not hold."""


@dataclass(frozen=True)
class Commit:
    """What is written by one commit, after another one."""

    before: Callable[[Desk], object]
    bring: Callable[[Desk], object]
    tables: frozenset[str]
    """To which it is written."""


JUDGED = frozenset({"drift", "rates", "distances", "comparisons", "volume", "violations", "panes"})
JUDGED |= {"rollups", "new_categories"}
COMMITS = {
    "the panes of a day are sealed by silence": Commit(
        lambda desk: desk.flush(T0_S + 10, caught_up_s=T0_S + 600, **BROKEN_AND_NEW),
        lambda desk: desk.flush(caught_up_s=T0_S + 30 * HOUR_S),
        JUDGED | {"chain", "progress"},
    ),
    "a late event comes after a gap": Commit(
        lambda desk: desk.flush(T0_S + 10, caught_up_s=T0_S + 30 * HOUR_S),
        lambda desk: desk.flush(T0_S + 20, start=5, **BROKEN_AND_NEW),
        JUDGED | {"losses", "chain", "progress"},
    ),
}


def registry() -> Registry:
    """A model without slices: its panes have no rows but those of all events. Two versions of it are compared."""
    told = msgspec.structs.replace(contract("m", PANE_S), slices=())
    whole = msgspec.structs.replace(baseline("m", "1"), dimensions=(), slice_rows={"all": 1000})
    return build_registry([(told, T0_S * 1000)], [RegisteredBaseline(whole, whole.id, 0, 1)])


def rows_after(commit: Commit, breaks_off_at: int | None = None) -> tuple[dict[str, dict[Key, Row]], list[str]]:
    """The rows of all tables once a commit is written, and the tables that it was written to, in order."""
    desk = Desk(registry(), live=True)
    desk.flush(T0_S + 5, version="unheard-of")
    commit.before(desk)
    written: list[str] = []
    insert = desk.warehouse.insert

    def dying(table: str, rows: pa.Table) -> None:
        if len(written) == breaks_off_at:
            raise Crash
        written.append(table)
        insert(table, rows)

    desk.warehouse.insert = dying  # type: ignore[method-assign]
    offset, positions = desk.offset, dict(desk.positions)
    try:
        commit.bring(desk)
    except Crash:
        breaks_off_at = None
        desk.restart()
        desk.offset, desk.positions = offset, positions
        commit.bring(desk)
    return {name: without(held, TIMES) for name, held in desk.warehouse.tables.items()}, written


@pytest.mark.parametrize("name", COMMITS)
def test_wherever_a_commit_breaks_off_the_rows_are_the_same(name: str) -> None:
    wanted, written = rows_after(COMMITS[name])
    assert set(written) == COMMITS[name].tables
    for at, table in enumerate(written):
        found, _ = rows_after(COMMITS[name], at)
        assert found == wanted, f"broke off before {table}, insert {at}"


@pytest.mark.parametrize("broken", ORDER, ids=lambda broken: broken.fault)
def test_in_another_order_they_are_not(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [(commit, *rows_after(commit)) for commit in COMMITS.values()]
    broken.apply(monkeypatch)
    # In another order a table may be written twice.
    assert any(rows_after(commit, at)[0] != rows for commit, rows, written in wanted for at in range(len(written) + 2))
