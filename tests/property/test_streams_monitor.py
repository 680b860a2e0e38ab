"""The monitor under random schedules of crashes, stale processes and late writes: always the same rows."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from streams.monitor.state.store import ROWS_AT_ONCE
from streams.monitor.verdicts import due_windows, judge
from streams.sketcher import partial_messages
from tests.support.memory_warehouse import Key, MemoryWarehouse, Row, without
from tests.support.monitor_schedule import (
    History,
    Run,
    expected_categories,
    expected_days,
    expected_distances,
    expected_signals,
    expected_verdicts,
    expected_volume,
    make_history,
    verdict_events,
)

SEEDS = (0, 1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 16, 18, 20, 22, 25, 27, 30, 62)
"""Chosen because rules of writing, acknowledging and sealing, broken on purpose, failed at them; what came since may
have moved at which of them each does."""
GROUP = 10
COMPARED = (
    *("panes", "volume", "violations", "rollups", "losses", "offset_ledger", "progress"),
    *("errors", "producers", "dead_letter_counts"),
)
UNORDERED = ("record_seq", "judged_at", "recorded_at", "updated_at", "counted_at", "sketch")
"""Columns that tell when or how often something was done, not what came out."""


def differing(found: dict[Key, Row], wanted: dict[Key, Row], but: tuple[str, ...] = UNORDERED) -> list[str]:
    """Rows that differ, as sentences."""
    left, right = without(found, but), without(wanted, but)
    told = [f"missing {key}" for key in right.keys() - left.keys()]
    told += [f"not wanted {key}" for key in left.keys() - right.keys()]
    for key in left.keys() & right.keys():
        one, other = left[key], right[key]
        told += [f"{key}: {n} is {one[n]!r}, not {other[n]!r}" for n in one if not _same(one[n], other[n])]
    return sorted(told)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))


def check_against_events(warehouse: MemoryWarehouse, run: Run) -> None:
    """Hold panes and last verdicts to counts made event by event."""
    volume: Counter[Any] = Counter()
    for row in warehouse.tables["volume"].values():
        assert row["sealed"], f"volume is not sealed: {row}"
        volume[row["model"], row["version"], row["slice"], row["pane_start"]] += row["n"]
    assert not counted_wrong(volume, expected_volume(run.history)), "volume"
    check_signals(warehouse, run.history)
    verdicts = verdict_events(warehouse.last("rates"))
    wrong = counted_wrong(verdicts, expected_verdicts(run.history))
    assert not wrong, f"verdicts: {wrong}"
    days: Counter[Any] = Counter()
    for row in warehouse.tables["rollups"].values():
        if row["pane_s"] == 86_400 and row["field"] == "x":
            days[row["model"], row["version"], row["slice"], row["pane_start"]] += row["n"]
    assert not counted_wrong(days, expected_days(run.history)), "days"
    names: Counter[Any] = Counter()
    for row in warehouse.named().values():
        assert row["n_low"] == row["n_high"]
        names[row["model"], row["version"], row["category"], row["pane_start"]] += row["n_low"]
    assert not counted_wrong(names, expected_categories(run.history)), "new categories"
    described: Counter[Any] = Counter()
    for row in warehouse.last("distances").values():
        described[row["model"], row["version"], row["window"], row["window_end"]] += row["n"]
        assert row["ks_error"] == row["ks_error"], f"a sketch did not hold every number: {row}"
    assert not counted_wrong(described, expected_distances(run.history)), "distances"
    lost = {key[1:] for key in warehouse.tables["losses"]}
    assert sum(end - start for _, start, end in lost) == run.history.lost


def check_signals(warehouse: MemoryWarehouse, history: History) -> None:
    """Hold what is counted beside the volume to counts made event by event."""
    tables, wanted = warehouse.tables, expected_signals(history)
    found: dict[str, Counter[Any]] = {name: Counter() for name in wanted}
    for row in tables["volume"].values():
        key = row["model"], row["version"], row["slice"], row["pane_start"]
        for name, column in (("failed", "errors"), ("timed", "timed"), ("slow", "slow")):
            found[name][key] += row[column]
    for row in tables["errors"].values():
        found["errors"][row["model"], row["version"], row["slice"], row["kind"], row["pane_start"]] += row["n"]
    for row in tables["violations"].values():
        found["violations"][row["model"], row["version"], row["field"], row["kind"], row["pane_start"]] += row["n"]
        assert row["policy"] == "reject"
    last: Counter[Any] = Counter()
    for row in tables["producers"].values():
        found["producers"][row["model"], row["producer"], row["pane_start"]] += row["n"]
        last[row["model"], row["producer"]] = max(last[row["model"], row["producer"]], row["last_seq"] + 1)
    for name, counts in wanted.items():
        wrong = counted_wrong(found[name], counts)
        assert not wrong, f"{name}: {wrong[:3]}"
    numbers: Counter[Any] = Counter()
    for event in history.counted:
        if event.producer is not None:
            numbers[event.model, event.producer] = max(numbers[event.model, event.producer], event.seq + 1)
    assert last == numbers
    dead: Counter[Any] = Counter()
    for row in tables["dead_letter_counts"].values():
        dead[row["model"], row["reason"], row["hour"]] += row["n"]
    assert dead == history.dead


def counted_wrong(found: Counter[Any], wanted: Counter[Any]) -> list[str]:
    """Keys whose counts differ, as sentences."""
    keys = sorted(found.keys() | wanted.keys())
    return [f"{key}: {found[key]}, not {wanted[key]}" for key in keys if found[key] != wanted[key]]


def make_runs(seed: int) -> tuple[Run, Run]:
    """A run without mishaps and one with many, over the same history."""
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partial_messages, "_BUDGET_BYTES", rng.choice([150, 400, 400_000]))
        history = make_history(seed)
    calm = Run(history, random.Random(seed))
    wild = Run(
        history,
        rng,
        crashes=rng.choice([0.02, 0.06, 0.12, 0.25]),
        budget_bytes=rng.choice([0, 1 << 30]),
        rows_at_once=(1, 8, ROWS_AT_ONCE)[seed % 3],
        revise_s=rng.choice([60.0, 600.0]),
        writes_ahead=rng.choice([False, True]),
    )
    return calm, wild


def compare(calm: Run, wild: Run) -> None:
    """Run both and hold their rows to the events and to one another."""
    wanted = calm.to_the_end()
    with pytest.MonkeyPatch.context() as patch:
        # Few rows are many here.
        patch.setattr(judge, "ROWS_AT_ONCE", 2)
        patch.setattr(due_windows, "MOST_ROWS", 2)
        found = wild.to_the_end()
    check_against_events(wanted, calm)
    check_against_events(found, wild)
    for table in COMPARED:
        wrong = differing(found.tables[table], wanted.tables[table])
        assert not wrong, f"{table}: {wrong[:3]}"
    wrong = differing(found.named(), wanted.named())
    assert not wrong, f"new_categories: {wrong[:3]}"
    for table in ("drift", "rates", "distances"):
        wrong = differing(found.last(table), wanted.last(table))
        assert not wrong, f"{table}: {wrong[:3]}"


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(SEEDS), GROUP))
def test_whatever_crashes_the_rows_are_the_same(first: int) -> None:
    for seed in SEEDS[first : first + GROUP]:
        calm, wild = make_runs(seed)
        try:
            compare(calm, wild)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {dict(wild.mishaps)}: {error}") from error
