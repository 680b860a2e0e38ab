"""Rules of the scorer's checkpoint: what a pass covers and when the checkpoint advances."""

from __future__ import annotations

from barograph_server.streams.scorer.checkpoint import NOTHING, Checkpoint, PassPlan
from barograph_server.warehouse.scoring.new_rows import EpochPartition, PartitionEnd, Topic

GRACE_S = 60.0
P0, P1 = EpochPartition(0, 0), EpochPartition(0, 1)
Ends = dict[Topic, dict[EpochPartition, PartitionEnd]]


def ends(
    predictions: dict[EpochPartition, int], labels: dict[EpochPartition, int] | None = None, rows: int = 1
) -> Ends:
    """Rows after the checkpoint, with the newest offset of each partition."""
    return {
        "predictions": {partition: PartitionEnd(offset, rows) for partition, offset in predictions.items()},
        "labels": {partition: PartitionEnd(offset, rows) for partition, offset in (labels or {}).items()},
        "shadow_predictions": {},
    }


def run_pass(checkpoint: Checkpoint, visible: Ends, now_s: float) -> PassPlan:
    plan = checkpoint.prepare(visible, now_s)
    checkpoint.advance(plan)
    return plan


def test_the_checkpoint_stays_a_grace_period_behind() -> None:
    checkpoint = Checkpoint(NOTHING, GRACE_S)
    assert not run_pass(checkpoint, ends({P0: 10}), 0.0).advances
    assert not run_pass(checkpoint, ends({P0: 20}), 59.9).advances
    assert checkpoint.offsets == NOTHING
    plan = run_pass(checkpoint, ends({P0: 30}), 60.0)
    assert plan.advances
    # To the offsets of 60 s ago, not to those that became visible since.
    assert checkpoint.offsets["predictions"] == {P0: 10}
    assert not run_pass(checkpoint, ends({P0: 40}), 119.0).advances
    assert run_pass(checkpoint, ends({P0: 50}), 120.0).advances
    assert checkpoint.offsets["predictions"] == {P0: 30}
    # Without a grace period every pass advances to the newest rows, and a partition without any keeps its offset.
    checkpoint = Checkpoint(NOTHING, 0.0)
    for offset in (10, 20):
        assert run_pass(checkpoint, ends({P0: offset}), 0.0).advances
        assert checkpoint.offsets["predictions"] == {P0: offset}
    checkpoint = Checkpoint({"predictions": {P0: 5, P1: 7}, "labels": {}, "shadow_predictions": {}}, 0.0)
    run_pass(checkpoint, ends({P0: 10}), 0.0)
    assert checkpoint.offsets["predictions"] == {P0: 10, P1: 7}


def test_a_pass_that_broke_off_is_repeated_over_the_same_rows() -> None:
    checkpoint = Checkpoint(NOTHING, GRACE_S)
    run_pass(checkpoint, ends({P0: 10}), 0.0)
    broken = checkpoint.prepare(ends({P0: 20}), 60.0)
    repeated = checkpoint.prepare(ends({P0: 20}), 61.0)
    assert (repeated.start, repeated.next_start) == (broken.start, broken.next_start)
    assert repeated.has_changes
    assert (broken.advances, checkpoint.offsets) == (True, NOTHING), "it advances only after the work"
    # A restart has only the stored offsets, and waits for the grace period again.
    restarted = Checkpoint(checkpoint.offsets, GRACE_S).prepare(ends({P0: 20}), 61.0)
    assert restarted.start == broken.start
    assert not restarted.advances
    checkpoint.advance(repeated)
    assert checkpoint.offsets["predictions"] == {P0: 10}


def test_a_model_without_state_reads_all_its_rows_and_leaves_other_models_alone() -> None:
    checkpoint = Checkpoint({"predictions": {P0: 5}, "labels": {P1: 2}, "shadow_predictions": {}}, GRACE_S)
    plan = checkpoint.prepare(ends({P0: 10}), 0.0)
    new, known = plan.read_range(from_start=True), plan.read_range(from_start=False)
    assert new.start == NOTHING
    assert known.start == {"predictions": {P0: 5}, "labels": {P1: 2}, "shadow_predictions": {}}
    assert new.next_start == known.next_start == known.start


def test_models_are_read_only_if_rows_changed_or_the_checkpoint_moves_behind_newer_rows() -> None:
    checkpoint = Checkpoint(NOTHING, GRACE_S)
    assert run_pass(checkpoint, ends({P0: 10}), 0.0).has_changes
    assert not run_pass(checkpoint, ends({P0: 10}), 1.0).has_changes
    # A row before the newest offset became visible.
    assert run_pass(checkpoint, ends({P0: 10}, rows=2), 2.0).has_changes
    assert run_pass(checkpoint, ends({P0: 20}), 3.0).has_changes
    assert not run_pass(checkpoint, ends({P0: 20}), 4.0).has_changes
    # The advance leaves newer rows, whose counts after the next checkpoint are needed.
    assert run_pass(checkpoint, ends({P0: 20}), 60.0).has_changes
    # After an advance the rows after the checkpoint are others.
    assert run_pass(checkpoint, ends({}), 61.0).has_changes
    # A replay is exhausted once no newer offset is visible.
    checkpoint = Checkpoint(NOTHING, 0.0)
    assert not run_pass(checkpoint, ends({P0: 10}), 0.0).is_exhausted
    assert run_pass(checkpoint, ends({}), 1.0).is_exhausted
    assert not run_pass(checkpoint, ends({P0: 11}), 2.0).is_exhausted
