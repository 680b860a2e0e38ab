"""Comparisons under random schedules of crashes, stale processes and late writes: always the same rows."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

import pytest

from streams import flush
from tests.property.test_streams_monitor import counted_wrong, differing
from tests.support.broken_rules import COMPARING, Broken
from tests.support.memory_warehouse import Key, Row
from tests.support.monitor_schedule import Run, make_history
from tests.support.output_schedule import compared_pairs, expected_pairs, with_outputs

SEEDS = (9, 27, 32, 44)
"""In some of them a window is revised, and a baseline changes within one."""


def make_runs(seed: int) -> tuple[Run, Run]:
    """A run without mishaps and one with many, over the same history with outputs."""
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "_BUDGET_BYTES", rng.choice([400, 400_000]))
        history = make_history(seed, with_outputs)
    calm = Run(history, random.Random(seed))
    wild = Run(
        history,
        rng,
        crashes=rng.choice([0.02, 0.1, 0.25]),
        budget_bytes=rng.choice([0, 1 << 30]),
        dies_at=rng.choice(["comparisons", "volume", "panes", "chain"]),
    )
    return calm, wild


@cache
def calm_sets(seed: int) -> dict[Key, Row]:
    """The last comparisons of a run without mishaps; they are read, never changed."""
    calm, _ = make_runs(seed)
    sets = calm.to_the_end().last_sets()
    wrong = counted_wrong(compared_pairs(sets), expected_pairs(calm.history))
    assert not wrong, f"seed {seed}: {wrong[:3]}"
    return sets


def check_wild(seed: int) -> None:
    """Run with mishaps, and hold the comparisons to the events and to those of a run without."""
    wanted = calm_sets(seed)
    _, wild = make_runs(seed)
    try:
        found = wild.to_the_end().last_sets()
        wrong = counted_wrong(compared_pairs(found), expected_pairs(wild.history)) or differing(found, wanted)
        assert not wrong, wrong[:3]
    except Exception as error:
        error.add_note(f"seed {seed}, {dict(wild.mishaps)}")
        raise


@pytest.mark.slow
def test_whatever_crashes_the_comparisons_are_the_same() -> None:
    measures: Counter[tuple[str, str, str]] = Counter()
    for seed in SEEDS:
        check_wild(seed)
        measures.update((row["kind"], row["measure"], row["source"]) for row in calm_sets(seed).values())
    for kind in ("version", "arm"):
        assert {(kind, "psi", "counts"), (kind, "mean", "moments"), (kind, "p50", "sketches")} <= set(measures)
    # A version whose baseline changed within the window is compared on the bins of the later one.
    assert measures["arm", "psi", "sketches"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("broken", COMPARING, ids=lambda broken: broken.fault)
def test_without_a_rule_they_are_not(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    calm_sets(broken.seed)
    broken.apply(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        check_wild(broken.seed)
