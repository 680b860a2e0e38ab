"""The monitor writes the same comparisons under random schedules of crashes, stale processes and delayed inserts."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from streams.sketcher import partial_messages
from tests.property.test_streams_monitor import count_differences, differences
from tests.support.monitor_schedule import Run, make_history
from tests.support.output_schedule import compared_pairs, expected_pairs, with_outputs

SEEDS = (9, 18, 27, 32)
"""Each has a revised window and a window with a change of baseline; without comparisons at revisions each fails."""


def make_runs(seed: int) -> tuple[Run, Run]:
    """Return a run without mishaps and one with many, over the same history with outputs."""
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partial_messages, "_BUDGET_BYTES", rng.choice([400, 400_000]))
        history = make_history(seed, with_outputs)
    calm = Run(history, random.Random(seed))
    return calm, Run(history, rng, crashes=rng.choice([0.02, 0.1, 0.25]), budget_bytes=rng.choice([0, 1 << 30]))


@pytest.mark.long
def test_mishaps_do_not_change_comparisons() -> None:
    measures: Counter[tuple[str, str, str]] = Counter()
    for seed in SEEDS:
        calm, wild = make_runs(seed)
        expected, actual = calm.to_the_end(), wild.to_the_end()
        for run, warehouse in ((calm, expected), (wild, actual)):
            wrong = count_differences(compared_pairs(warehouse.last_sets()), expected_pairs(run.history))
            assert not wrong, f"seed {seed}: {wrong[:3]}"
        wrong = differences(actual.last_sets(), expected.last_sets())
        assert not wrong, f"seed {seed}, {dict(wild.mishaps)}: {wrong[:3]}"
        measures.update((row["kind"], row["measure"], row["source"]) for row in expected.last_sets().values())
    for kind in ("version", "arm"):
        assert {(kind, "psi", "counts"), (kind, "mean", "moments"), (kind, "p50", "sketches")} <= set(measures)
    # A version whose baseline changes within the window is compared on the bins of the later baseline.
    assert measures["arm", "psi", "sketches"] > 0
