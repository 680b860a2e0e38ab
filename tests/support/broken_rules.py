"""The monitor's rules of docs/architecture.md, each with a change of one function that breaks it.

Random schedules that do not notice such a change say nothing of the rule.
"""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast

import pytest

from streams.monitor import rollups, store
from streams.monitor.chain import Chain
from streams.monitor.memory import Memory
from streams.monitor.partition import PartitionState
from streams.monitor.rollups import Rollups
from streams.monitor.series import Series
from streams.monitor.store import WarehouseStore


@dataclass(frozen=True)
class Broken:
    """One rule that is not kept."""

    fault: str
    function: Any
    right: str
    """A piece of the function's text, of which there is one."""
    wrong: str
    """What stands in its place."""
    seed: int = 0
    """Of a schedule that shows it."""

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        """Change what the function does, until the patch is undone."""
        function = cast(FunctionType, self.function)
        text = textwrap.dedent(inspect.getsource(function))
        assert text.count(self.right) == 1, f"{function.__qualname__} holds {text.count(self.right)} × {self.right!r}"
        text = "from __future__ import annotations\n" + text.replace(self.right, self.wrong)
        made: dict[str, FunctionType] = {}
        exec(compile(text, f"<{self.fault}>", "exec"), function.__globals__, made)
        patch.setattr(function, "__code__", made[function.__name__].__code__)


_TABLES = "for table in _BY_COLUMN:"
_LATER = sorted(store._BY_COLUMN, key=lambda table: (table == "violations", store._BY_COLUMN.index(table)))


def _rows_before(rows: str, table: str, seed: int = 0) -> Broken:
    early = f"\n        if table == {table!r}:\n            insert_rows(client, {rows!r}, writes.{rows})"
    return Broken(f"{rows} is written before {table}", WarehouseStore.write, _TABLES, _TABLES + early, seed)


_DAY = "state.dirty_days[day_s] = offset if first is None else first"
_TOUCH = "self._touch(state, series, part.pane_start_s, offset)"
_COMPARE = "self._verdicts.compare(state, window, {}, pos, writes)"
_PICK_UP = "self._memory.pick_up(state, before, until)"
_RESTORE = "self._restore(state, {})".format
_RELOAD = """self._memory.load(state)
    chain, _ = self._memory._store.load_chain(self._partition, self._parts_topic_id)
    self._chain.__dict__.update(chain.__dict__)
    self._done = chain.newest_pos()"""

MERGING = (
    Broken("a row takes a record again", Series.merge, "1 + f1] < pos\n", "1 + f1] < 1 << 60\n", 0),
    Broken("the volume takes a record again", Series.merge, "0] < pos if", "0] < 1 << 60 if", 0),
    Broken("a late record marks no windows", PartitionState.part, _TOUCH, "pass", 0),
    Broken("a repeat marks no windows", PartitionState.part, "if late:\n        if", "if changed:\n        if", 3),
    Broken("a late record marks no day", rollups.touch, _DAY, "pass", 26),
    Broken("a late record marks no hour", rollups.touch, "series.dirty_hours.add(", "str(", 0),
    Broken(
        "late events move the record's beginning",
        Series.merge,
        "if not late:\n        self.f",
        "if 1:\n        self.f",
        26,
    ),
    Broken("a late event is not in its hour", Series._add, "hour[rows, columns] += counts", "pass", 9),
    Broken("a late event is not in merged sketches", Series._add, "self.summaries.touch(pane.start_s)", "pass", 9),
)
ORDER = (
    Broken("violations are written after panes", WarehouseStore.write, _TABLES, f"for table in {_LATER}:"),
    _rows_before("chain", "panes"),
    _rows_before("progress", "drift"),
    _rows_before("progress", "comparisons"),
    _rows_before("progress", "panes"),
    _rows_before("progress", "rollups"),
    _rows_before("progress", "new_categories"),
    Broken("the chain is written before losses", WarehouseStore.write, '"losses", "chain"', '"chain", "losses"'),
)
"""Of the order of writes: a single commit that breaks off shows them."""
WRITING = (
    _rows_before("chain", "errors", 26),
    Broken("open panes are not written", PartitionState._collect_series, "if pane.dirty]", "if pane.sealed]", 0),
    Broken("acknowledged are windows that wait", PartitionState._acknowledged, "*awaiting, ", "", 26),
)
SEALING = (
    Broken("the newest partition seals", Chain.watermark_ms, "min(marks)", "max(marks)", 0),
    Broken(
        "a partition without events seals",
        Chain.watermark_ms,
        "known:\n            return None",
        "known:\n            continue",
        27,
    ),
    Broken(
        "a partition never read seals",
        Chain.watermark_ms,
        "is None:\n            return None",
        "is None:\n            continue",
        3,
    ),
    Broken("a gap is no loss", Chain.follow, "if read.start > row.end:", "if False:", 26),
    Broken("the chain follows a record again", Chain.follow, "elif pos <= row.pos:", "elif pos < 0:", 26),
    Broken("sealed days are not marked", rollups.mark_sealed, "state.dirty_days.setdefault(day_s, None)", "pass", 0),
    Broken("silence has no row", PartitionState._seal, "if empty:", "if False:", 0),
    Broken("what was set down is not sealed", PartitionState._seal, _PICK_UP, "pass", 26),
)
LOADING = (
    Broken("the chain is loaded after panes", PartitionState._model, "self._memory.load(state)", _RELOAD, 3),
    Broken("watermarks are forgotten", WarehouseStore.load_chain, "dict(row.watermarks)", "{}", 3),
    Broken("losses are forgotten", WarehouseStore.load_chain, "chain.losses.append(", "str(", 26),
    Broken("the record's beginning is forgotten", Memory.load, "series.first_s = first_s", "pass", 26),
    Broken("it is forgotten what is sealed", Memory.load, "self._store.sealed_until_s(contract.model)", "None", 26),
    Broken("the volume is not loaded", Memory._restore, "restore_volume(series, volume, new)", "pass", 26),
    Broken("a late pane is not loaded", Memory.pane, _RESTORE("start_s, start_s + 1"), "pass", 26),
    Broken(
        "an old window is not loaded", Memory.have_windows, _RESTORE("max(0, start_s), state.loaded_from_s"), "pass", 26
    ),
    Broken("an old hour is not loaded", Memory.have, _RESTORE("start_s, end_s"), "pass", 26),
    Broken("a day is of one commit's hours", Rollups._day, "self._load_hours(state, day_s, hours)", "pass", 9),
)
COMPARING = (
    Broken("revised windows are not compared", PartitionState._revise, _COMPARE.format("run"), "pass", 32),
    Broken("sealed windows are not compared", PartitionState._seal, _COMPARE.format("list(ends)"), "pass", 32),
)
"""Of comparisons: schedules with outputs show them."""
BROKEN = (*MERGING, *WRITING, *SEALING, *LOADING)
