import math
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Arms, Contract, LabelSpec, Rollback, ShadowTest, Window

from barograph_server.sketches.baseline.levels import LEVEL_NAMES, REASON_NAMES
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.sketches.performance.number import ERROR_RANKS
from barograph_server.sketches.rollout.looks import LookDay
from barograph_server.streams.registry.registry import Registry, build_registry
from barograph_server.streams.runtime.metrics_report import Heartbeat, Report
from barograph_server.streams.scorer.arm_comparison import compare_hours
from barograph_server.streams.scorer.checkpoint import NOTHING, Checkpoint, PassPlan
from barograph_server.streams.scorer.freeze import Pass
from barograph_server.streams.scorer.model import ModelScorer, PassResult
from barograph_server.streams.scorer.rules import make_rules, unmeasurable_reason
from barograph_server.streams.scorer.shadow_looks import ShadowLooks
from barograph_server.streams.scorer.statement_chunks import split_by_rows
from barograph_server.streams.scorer.verdicts import change_levels, reasons, target_levels
from barograph_server.streams.scorer.window_counts import window_counts
from barograph_server.streams.scorer.windows import EventClock, window_lengths
from barograph_server.streams.scorer.worker import BEAT_S, MAX_RETRY_S, Scorer
from barograph_server.streams.settings import Clock
from barograph_server.warehouse.errors import WarehouseBusy
from barograph_server.warehouse.rollouts.arm_comparisons import COLUMNS
from barograph_server.warehouse.rollouts.arm_hours import ArmHours
from barograph_server.warehouse.rollouts.verdicts import StoredLooks
from barograph_server.warehouse.scoring.new_rows import EpochPartition, PartitionEnd, Topic
from barograph_server.warehouse.scoring.rules import Rules
from tests.support.fake_consumer import FakeStop, fake_settings
from tests.support.pipeline import simple_contract

PASS_S = 8.0


def scorer_of(stop: FakeStop, clock: Clock) -> tuple[Scorer, Report]:
    report = Report("scorer", "s")
    report.heartbeat = Heartbeat(lambda: stop.now_s)
    settings = fake_settings(clock=clock, score_s=PASS_S + 2.0)
    return Scorer(settings, Registry, report, monotonic=lambda: stop.now_s), report


@pytest.mark.parametrize(("clock", "rest_s"), [("live", 24.0), ("replay", 2.0)])
def test_it_rests_after_a_long_pass_on_the_live_clock_only(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, rest_s: float
) -> None:
    stop = FakeStop()
    scorer, report = scorer_of(stop, clock)
    starts_s: list[float] = []
    ages_s: list[float] = []

    def score() -> PassResult:
        starts_s.append(stop.now_s)
        ages_s.append(report.heartbeat.age_s())
        if len(starts_s) == 2:
            stop.set()
        else:
            stop.now_s += PASS_S
        return PassResult()

    monkeypatch.setattr(scorer, "score_once", score)
    scorer.run(stop)
    assert starts_s == [0.0, PASS_S + rest_s]
    assert sum(stop.waits_s) == rest_s
    # The heartbeat is never older than a second while the scorer rests.
    assert max(*stop.waits_s, ages_s[-1]) <= BEAT_S


def test_a_pass_is_retried_with_growing_delays_while_clickhouse_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = FakeStop()
    scorer, report = scorer_of(stop, "live")
    starts_s: list[float] = []
    blocked: list[bool] = []

    def score() -> PassResult:
        starts_s.append(stop.now_s)
        blocked.append(report.heartbeat.blockage is not None)
        if len(starts_s) < 9:
            raise WarehouseBusy("busy")
        stop.set()
        return PassResult()

    monkeypatch.setattr(scorer, "score_once", score)
    scorer.run(stop)
    delays_s = [after - before for before, after in pairwise(starts_s)]
    assert all(0.25 * 2**i <= delay_s <= 0.5 * 2**i for i, delay_s in enumerate(delays_s[:5]))
    assert MAX_RETRY_S / 2 <= delays_s[-1] <= MAX_RETRY_S
    assert blocked == [False] + [True] * 8
    assert report.heartbeat.blockage is None
    assert max(stop.waits_s) <= BEAT_S


LABEL = LabelSpec(type="bool", positive=True)
EMPTY = build_registry([], [])


def contract(**changes: Any) -> Contract:
    return simple_contract(**{"label": LABEL, **changes})


def metric(value: float, low: float, high: float, enough: bool = True) -> MetricEstimate:
    return MetricEstimate(np.array([value]), np.array([low]), np.array([high]), np.array([enough]))


def test_window_lengths_are_hours_or_longer_panes_days_weeks_and_the_contracts() -> None:
    windows = Window(900, 60), Window(7200, 60), Window(5400, 60), Window(14 * 86400, 3600)
    contract_ = contract(pane_s=60, windows=windows)
    assert make_rules(contract_, EMPTY).window_s == 3600
    assert window_lengths(contract_, 3600) == (3600, 7200, 86400, 7 * 86400, 14 * 86400)
    long = contract(pane_s=5 * 3600, windows=(Window(10 * 3600, 5 * 3600),))
    assert make_rules(long, EMPTY).window_s == 5 * 3600
    assert window_lengths(long, 5 * 3600) == (5 * 3600, 10 * 3600)


def test_only_changes_of_the_counts_change_the_basis() -> None:
    basis = make_rules(contract(), EMPTY).basis
    same = msgspec.structs.replace(LABEL, mature=0.5)
    assert make_rules(contract(label=same, lateness_s=1), EMPTY).basis == basis
    for changes in (
        {"label": msgspec.structs.replace(LABEL, threshold=0.3)},
        {"label": msgspec.structs.replace(LABEL, horizon_s=86400)},
        {"label": msgspec.structs.replace(LABEL, positive=False)},
        {"raw_share": 0.5},
        {"pane_s": 7200, "windows": (Window(7200, 7200),)},
    ):
        assert make_rules(contract(**changes), EMPTY).basis != basis, changes


def test_the_label_determines_the_kind() -> None:
    for label, kind, positive, is_open in (
        (LabelSpec(type="bool"), "binary", "true", (False, False)),
        (LabelSpec(type="bool", positive=False), "binary", "false", (False, False)),
        (LabelSpec(type="bool", positive="late"), "binary", "true", (False, True)),
        (LabelSpec(type="category", positive="fraud"), "binary", "fraud", (True, True)),
        (LabelSpec(type="category", classes=("a", "b")), "classes", "", (False, False)),
        (LabelSpec(type="float"), "number", "", (False, False)),
    ):
        rules_ = make_rules(contract(label=label), EMPTY)
        assert (rules_.kind, rules_.positive) == (kind, positive)
        assert (rules_.has_open_labels, rules_.has_open_classes) == is_open
        assert unmeasurable_reason(contract(label=label)) == ""


def test_a_window_ends_with_time_or_the_replay() -> None:
    assert [EventClock(at_s).has_ended(3600, 3600) for at_s in (7199.0, 7200.0)] == [False, True]
    assert [EventClock(5000.0, all_read=True).has_ended(start_s, 3600) for start_s in (3600, 7200)] == [True, False]
    assert EventClock(7200.0).split([0, 3600, 7200], 3600) == ({0, 3600}, {7200})
    assert EventClock(10.0).age_s(50) == 0


def test_levels_by_target() -> None:
    for name, measured, promise, level in (
        ("accuracy", metric(0.9, 0.88, 0.92), 0.85, "stable"),
        ("accuracy", metric(0.84, 0.82, 0.86), 0.85, "minor"),
        ("accuracy", metric(0.82, 0.8, 0.84), 0.85, "major"),
        ("log_loss", metric(0.4, 0.3, 0.5), 0.45, "stable"),
        ("mae", metric(0.5, 0.46, 0.6), 0.45, "major"),
        ("bias", metric(-0.5, -0.6, -0.4), 0.45, "minor"),
        ("bias", metric(-0.5, -0.52, -0.48), 0.45, "major"),
    ):
        assert LEVEL_NAMES[int(target_levels(name, measured, promise)[0])] == level


def test_levels_by_reference() -> None:
    for name, moved, reference, level in (
        ("auc", metric(-0.06, -0.08, -0.04), 0.8, "major"),
        ("auc", metric(-0.06, -0.13, 0.01), 0.8, "stable"),
        ("auc", metric(-0.06, -0.115, -0.005), 0.8, "minor"),
        ("auc", metric(0.06, 0.04, 0.08), 0.8, "stable"),
        ("mae", metric(0.6, 0.4, 0.8), 10.0, "major"),
        ("mae", metric(0.06, 0.04, 0.08), 10.0, "stable"),
        ("bias", metric(-0.9, -1.0, -0.8), 10.0, "major"),
        ("auc", metric(-0.5, -0.6, -0.4, enough=False), 0.8, "insufficient"),
        ("auc", metric(math.nan, math.nan, math.nan), math.nan, "insufficient"),
    ):
        result = change_levels(name, moved, metric(reference, 0.0, 0.0), minor=0.01, major=0.05)
        assert LEVEL_NAMES[int(result[0])] == level


def test_an_insufficient_performance_verdict_has_a_reason() -> None:
    for level, measured, reason in (
        ("insufficient", metric(0.9, 0.5, 1.0, enough=False), "too few labels"),
        ("insufficient", metric(math.nan, math.nan, math.nan, enough=False), "too few labels"),
        ("insufficient", metric(math.nan, math.nan, math.nan), "undefined metric"),
        ("insufficient", metric(0.9, 0.88, 0.92), "no reference"),
        ("major", metric(0.9, 0.88, 0.92), ""),
    ):
        assert REASON_NAMES[int(reasons(np.array([LEVEL_NAMES.index(level)]), measured)[0])] == reason


def rules(kind: Any, *classes: str) -> Rules:
    times: dict[str, Any] = {"window_s": 3600, "horizon_ms": 1, "raw_share": 1.0}
    return Rules(model="m", kind=kind, basis="b", classes=classes, edges=(0.25, 0.75), **times)


def state(**columns: Any) -> pa.Table:
    n = len(columns["bins"])
    whole: dict[str, Any] = {"predictions": [9] * n, "labelled": [5] * n, "confusion": [[]] * n, "sums": [[]] * n}
    for name in ("bin_predictions", "bin_scores", "bin_labelled", "bin_labelled_scores", "bin_positives"):
        whole[name] = [[0] * len(bins) for bins in columns["bins"]]
    kinds = {"confusion": pa.uint64(), "bins": pa.int32(), "predictions": None, "labelled": None}
    types = {name: kinds.get(name, pa.float64()) for name in whole | columns}
    return pa.table(
        {name: pa.array(values, types[name] and pa.list_(types[name])) for name, values in (whole | columns).items()}
    )


def test_bins_of_classes_are_separated() -> None:
    counted = state(bins=[[-6, -1, 1, 5]], bin_labelled=[[4, 3, 7, 8]], confusion=[[1, 2, 3, 4]])
    laid = window_counts(rules("classes", "a", "b"), counted)
    assert laid.labelled_hist[0, :, :, 0].tolist() == [[0, 7, 0], [0, 0, 8]]
    predicted = laid.of_predictions.of_windows([0], np.arange(6))
    assert predicted[0, :, 0].tolist() == [3, 0, 0, 0, 0, 4], "negative numbers are of predicted classes"
    assert laid.confusion.tolist() == [[[1, 2], [3, 4]]]


def test_error_quantiles_use_both_signs() -> None:
    errors = np.array([0.0] * 10 + [1.0] * 40 + [-2.0] * 40 + [300.0] * 10)
    step = np.floor(np.log(np.maximum(np.abs(errors), 1e-9)) / np.log(1.01)).astype(int) + (1 << 17)
    signed = np.where(errors == 0, 0, np.sign(errors) * step).astype(int)
    bins, n = np.unique(signed, return_counts=True)
    counted = state(
        bins=[[*bins.tolist(), 1 << 20, (1 << 20) + 7], []],
        bin_labelled=[[*n.tolist(), 60, 40], []],
        bin_scores=[[*[0.0] * bins.size, 5.0, 6.0], []],
        sums=[[100.0] * 5, []],
    )
    laid = window_counts(rules("number"), counted)
    of_values = laid.of_predictions.of_windows([0, 1], np.array([1 << 20, (1 << 20) + 7]))
    assert of_values[..., 0].tolist() == [[60, 40], [0, 0]]
    assert of_values[0, :, 4].tolist() == [5.0, 6.0], "squares"
    exact = np.quantile(np.abs(errors), ERROR_RANKS, method="inverted_cdf")
    assert laid.error_quantiles()[0] == pytest.approx(exact, rel=0.01)
    assert np.isnan(laid.error_quantiles()[1]).all()


CLIENT: Any = None


def test_a_statement_has_at_most_so_many_keys_and_rows_or_one_key() -> None:
    assert list(split_by_rows([3, 1, 2], {1: 4, 2: 6, 3: 1}, max_rows=10)) == [[1, 2], [3]]
    assert list(split_by_rows([3, 1, 2], {1: 11, 2: 9, 3: 1}, max_rows=10)) == [[1], [2, 3]]
    assert list(split_by_rows([3, 1, 2], {}, max_rows=10, max_keys=2)) == [[1, 2], [3]]


def test_arms_are_counted_up_to_the_statement_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    count_arms = Mock(side_effect=[None, WarehouseBusy("down")])
    monkeypatch.setattr("barograph_server.warehouse.scoring.arms.uncounted_hours", lambda *_: {0, 3600, 7200})
    monkeypatch.setattr("barograph_server.warehouse.scoring.arms.count_arms", count_arms)
    monkeypatch.setattr("barograph_server.warehouse.scoring.state.has_repeated_ids", Mock())
    chunks = "barograph_server.streams.scorer.model.statement_chunks"
    monkeypatch.setattr(chunks, lambda *each: [[window] for window in sorted(each[2])])
    compared = contract(label=None, arms=Arms(shares={"a": 0.5, "b": 0.5}, unit="", margins={"latency": 0.1}))
    with pytest.raises(WarehouseBusy, match="down"):
        ModelScorer(make_rules(compared, EMPTY)).run(CLIENT, Pass(compared, EMPTY, EventClock(1e6), 1), None)
    assert [call.args[3] for call in count_arms.call_args_list] == [[0], [3600]]


def test_looks_are_written_in_inserts_and_continued_after_one_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    days = [LookDay(f"2026-05-0{day}", "hash") for day in range(1, 6)]
    write = Mock(side_effect=[None, None, WarehouseBusy("down"), None])
    for name, value in {
        "shadow_days": lambda *_: [0],
        "is_after_promotion": lambda *_: False,
        "contract_history": lambda *_: [],
        "look_days": lambda *_, **__: days,
        "decide_at": Mock(),
        "look_rows": lambda *each, after_promotion: [each[4]] * 2,
        "stored_looks": Mock(side_effect=[StoredLooks(frozenset(days[:n]), False, 0) for n in (0, 4)]),
        "write_looks": write,
        "MAX_ROWS": 4,
    }.items():
        monkeypatch.setattr(f"barograph_server.streams.scorer.shadow_looks.{name}", value)
    compared = contract(label=None, shadow=ShadowTest(candidate="4", of="3", margins={"latency": 0.2}))
    pairing = Mock(run=lambda *_: 0)
    scorer = ModelScorer(make_rules(compared, EMPTY), pairing=pairing, shadow_looks=ShadowLooks(lambda: 0.0))
    with pytest.raises(WarehouseBusy, match="down"):
        scorer.run(CLIENT, Pass(compared, EMPTY, EventClock(0.0), 1), None)
    scorer.run(CLIENT, Pass(compared, EMPTY, EventClock(0.0), 1), None)
    of_days = [sorted({each.day[-1] for each in call.args[1]}) for call in write.call_args_list]
    assert of_days == [["1", "2"], ["3", "4"], ["5"], ["5"]]


GRACE_S = 60.0
P0, P1 = EpochPartition(0, 0), EpochPartition(0, 1)
Ends = dict[Topic, dict[EpochPartition, PartitionEnd]]


def ends(predictions: dict[EpochPartition, int], rows: int = 1) -> Ends:
    """Rows after the checkpoint, with the newest offset of each partition."""
    newest = {partition: PartitionEnd(offset, rows) for partition, offset in predictions.items()}
    return {"predictions": newest, "labels": {}, "shadow_predictions": {}}


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


ARMS = Arms(shares={"answer@7": 0.5, "answer@8": 0.5})
ROLLBACK = Rollback(prompt="answer", margins={"errors": 0.01, "refusals": 0.01, "cost": 0.2}, events=10)
ENDS = [3600, 7200, 14_400, 18_000]


def test_only_ends_after_the_newest_look_of_a_criterion_are_compared() -> None:
    sums = {name: np.arange(1.0, 9.0).reshape(4, 2, 1) for name in COLUMNS}
    hours = ArmHours(np.array(ENDS), {**sums, "predictions": np.full((4, 2, 1), 50.0)}, np.full((4, 2), 50))
    looks = compare_hours("m", ARMS, ROLLBACK, "answer@8", hours, {})
    assert [(each.criterion, each.at.timestamp()) for each in looks] == [
        (name, end) for name in ROLLBACK.margins for end in ENDS
    ]
    later = compare_hours("m", ARMS, ROLLBACK, "answer@8", hours, {"errors": 7200, "refusals": 18_000})
    assert repr(later) == repr([*looks[2:4], *looks[8:]])
