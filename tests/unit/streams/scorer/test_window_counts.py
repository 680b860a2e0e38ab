"""Parts of the scorer without a warehouse: rules, windows, levels, and counts in arrays."""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Arms, Contract, LabelSpec, ShadowTest, Window

from barograph_server.sketches.baseline.levels import LEVEL_NAMES, REASON_NAMES
from barograph_server.sketches.performance.metric import MetricEstimate
from barograph_server.sketches.performance.number import ERROR_RANKS
from barograph_server.sketches.rollout.looks import LookDay
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.model import ModelScorer
from barograph_server.streams.scorer.rules import make_rules, unmeasurable_reason
from barograph_server.streams.scorer.shadow_looks import ShadowLooks
from barograph_server.streams.scorer.statement_chunks import split_by_rows
from barograph_server.streams.scorer.verdicts import change_levels, reasons, target_levels
from barograph_server.streams.scorer.window_counts import window_counts
from barograph_server.streams.scorer.windows import EventClock, window_lengths
from barograph_server.warehouse.errors import WarehouseBusy
from barograph_server.warehouse.rollouts.verdicts import StoredLooks
from barograph_server.warehouse.scoring.rules import Rules
from tests.support.pipeline import simple_contract

LABEL = LabelSpec(type="bool", positive=True)
EMPTY = build_registry([], [])


def contract(**changes: Any) -> Contract:
    return simple_contract(**{"label": LABEL, **changes})


def metric(value: float, low: float, high: float, enough: bool = True) -> MetricEstimate:
    return MetricEstimate(np.array([value]), np.array([low]), np.array([high]), np.array([enough]))


# ---------------------------------------------------------------------------------------------- rules


def test_window_lengths_are_hours_or_longer_panes_days_weeks_and_the_contracts() -> None:
    contract_ = contract(
        pane_s=60, windows=(Window(900, 60), Window(7200, 60), Window(5400, 60), Window(14 * 86400, 3600))
    )
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


@pytest.mark.parametrize(
    ("label", "kind", "positive", "is_open"),
    [
        (LabelSpec(type="bool"), "binary", "true", (False, False)),
        (LabelSpec(type="bool", positive=False), "binary", "false", (False, False)),
        (LabelSpec(type="bool", positive="late"), "binary", "true", (False, True)),
        (LabelSpec(type="category", positive="fraud"), "binary", "fraud", (True, True)),
        (LabelSpec(type="category", classes=("a", "b")), "classes", "", (False, False)),
        (LabelSpec(type="float"), "number", "", (False, False)),
    ],
)
def test_the_label_determines_the_kind(label: LabelSpec, kind: str, positive: str, is_open: tuple[bool, bool]) -> None:
    rules_ = make_rules(contract(label=label), EMPTY)
    assert (rules_.kind, rules_.positive) == (kind, positive)
    assert (rules_.has_open_labels, rules_.has_open_classes) == is_open
    assert unmeasurable_reason(contract(label=label)) == ""


# ---------------------------------------------------------------------------------------------- windows and marks


def test_a_window_ends_with_time_or_the_replay() -> None:
    assert EventClock(7200.0).has_ended(3600, 3600)
    assert not EventClock(7199.0).has_ended(3600, 3600)
    assert EventClock(5000.0, all_read=True).has_ended(3600, 3600)
    assert not EventClock(5000.0, all_read=True).has_ended(7200, 3600)
    assert EventClock(7200.0).split([0, 3600, 7200], 3600) == ({0, 3600}, {7200})
    assert EventClock(10.0).age_s(50) == 0


# ---------------------------------------------------------------------------------------------- levels


@pytest.mark.parametrize(
    ("name", "measured", "promise", "level"),
    [
        ("accuracy", metric(0.9, 0.88, 0.92), 0.85, "stable"),
        ("accuracy", metric(0.84, 0.82, 0.86), 0.85, "minor"),
        ("accuracy", metric(0.82, 0.8, 0.84), 0.85, "major"),
        ("log_loss", metric(0.4, 0.3, 0.5), 0.45, "stable"),
        ("mae", metric(0.5, 0.46, 0.6), 0.45, "major"),
        ("bias", metric(-0.5, -0.6, -0.4), 0.45, "minor"),
        ("bias", metric(-0.5, -0.52, -0.48), 0.45, "major"),
    ],
)
def test_levels_by_target(name: str, measured: MetricEstimate, promise: float, level: str) -> None:
    assert LEVEL_NAMES[int(target_levels(name, measured, promise)[0])] == level


@pytest.mark.parametrize(
    ("name", "moved", "reference", "level"),
    [
        ("auc", metric(-0.06, -0.08, -0.04), 0.8, "major"),
        ("auc", metric(-0.06, -0.13, 0.01), 0.8, "stable"),
        ("auc", metric(-0.06, -0.115, -0.005), 0.8, "minor"),
        ("auc", metric(0.06, 0.04, 0.08), 0.8, "stable"),
        ("mae", metric(0.6, 0.4, 0.8), 10.0, "major"),
        ("mae", metric(0.06, 0.04, 0.08), 10.0, "stable"),
        ("rmse", metric(-3.0, -4.0, -2.0), 10.0, "stable"),
        ("bias", metric(-0.9, -1.0, -0.8), 10.0, "major"),
        ("auc", metric(-0.5, -0.6, -0.4, enough=False), 0.8, "insufficient"),
        ("auc", metric(math.nan, math.nan, math.nan), math.nan, "insufficient"),
    ],
)
def test_levels_by_reference(name: str, moved: MetricEstimate, reference: float, level: str) -> None:
    result = change_levels(name, moved, metric(reference, 0.0, 0.0), minor=0.01, major=0.05)
    assert LEVEL_NAMES[int(result[0])] == level


@pytest.mark.parametrize(
    ("level", "measured", "reason"),
    [
        ("insufficient", metric(0.9, 0.5, 1.0, enough=False), "too few labels"),
        ("insufficient", metric(math.nan, math.nan, math.nan, enough=False), "too few labels"),
        ("insufficient", metric(math.nan, math.nan, math.nan), "undefined metric"),
        ("insufficient", metric(0.9, 0.88, 0.92), "no reference"),
        ("major", metric(0.9, 0.88, 0.92), ""),
    ],
)
def test_an_insufficient_performance_verdict_has_a_reason(level: str, measured: MetricEstimate, reason: str) -> None:
    assert REASON_NAMES[int(reasons(np.array([LEVEL_NAMES.index(level)]), measured)[0])] == reason


# ---------------------------------------------------------------------------------------------- state in arrays


def rules(kind: Any) -> Rules:
    return Rules(
        model="m",
        kind=kind,
        basis="b",
        window_s=3600,
        horizon_ms=1,
        raw_share=1.0,
        classes=("a", "b") if kind == "classes" else (),
        edges=(0.25, 0.75),
    )


def state(**columns: Any) -> pa.Table:
    n = len(columns["bins"])
    whole: dict[str, Any] = {"predictions": [9] * n, "labelled": [5] * n, "confusion": [[]] * n, "sums": [[]] * n}
    for name in ("bin_predictions", "bin_scores", "bin_labelled", "bin_labelled_scores", "bin_positives"):
        whole[name] = [[0] * len(bins) for bins in columns["bins"]]
    kinds = {"confusion": pa.list_(pa.uint64()), "sums": pa.list_(pa.float64()), "bins": pa.list_(pa.int32())}
    return pa.table(
        {
            name: pa.array(values, kinds.get(name, pa.list_(pa.float64()) if name.startswith("bin_") else None))
            for name, values in (whole | columns).items()
        }
    )


def test_bins_of_classes_are_separated() -> None:
    laid = window_counts(
        rules("classes"), state(bins=[[-6, -1, 1, 5]], bin_labelled=[[4, 3, 7, 8]], confusion=[[1, 2, 3, 4]])
    )
    assert laid.labelled_hist[0, :, :, 0].tolist() == [[0, 7, 0], [0, 0, 8]]
    predicted = laid.of_predictions.of_windows([0], np.arange(6))
    assert predicted[0, :, 0].tolist() == [3, 0, 0, 0, 0, 4], "negative numbers are of predicted classes"
    assert laid.confusion.tolist() == [[[1, 2], [3, 4]]]


def test_error_quantiles_use_both_signs() -> None:
    errors = np.array([0.0] * 10 + [1.0] * 40 + [-2.0] * 40 + [300.0] * 10)
    step = np.floor(np.log(np.maximum(np.abs(errors), 1e-9)) / np.log(1.01)).astype(int) + (1 << 17)
    signed = np.where(errors == 0, 0, np.sign(errors) * step).astype(int)
    bins, n = np.unique(signed, return_counts=True)
    laid = window_counts(
        rules("number"),
        state(
            bins=[[*bins.tolist(), 1 << 20, (1 << 20) + 7], []],
            bin_labelled=[[*n.tolist(), 60, 40], []],
            bin_scores=[[*[0.0] * bins.size, 5.0, 6.0], []],
            sums=[[100.0] * 5, []],
        ),
    )
    of_values = laid.of_predictions.of_windows([0, 1], np.array([1 << 20, (1 << 20) + 7]))
    assert of_values[..., 0].tolist() == [[60, 40], [0, 0]]
    assert of_values[0, :, 4].tolist() == [5.0, 6.0], "squares"
    exact = np.quantile(np.abs(errors), ERROR_RANKS, method="inverted_cdf")
    assert laid.error_quantiles()[0] == pytest.approx(exact, rel=0.01)
    assert np.isnan(laid.error_quantiles()[1]).all()


# ---------------------------------------------------------------------------------------------- passes that break off

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
        ModelScorer(make_rules(compared, EMPTY)).run(CLIENT, compared, EMPTY, None, EventClock(1e6), 1)
    assert [call.args[3] for call in count_arms.call_args_list] == [[0], [3600]]


def test_looks_are_written_in_inserts_and_continued_after_one_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    days = [LookDay(f"2026-05-0{day}", "hash") for day in range(1, 6)]
    write = Mock(side_effect=[None, None, WarehouseBusy("down"), None])
    for name, value in {
        "shadow_days": lambda *_: [0],
        "is_canary": lambda *_: False,
        "contract_history": lambda *_: [],
        "look_days": lambda *_, **__: days,
        "decide_at": Mock(),
        "look_rows": lambda *each, is_canary: [each[4]] * 2,
        "stored_looks": Mock(side_effect=[StoredLooks(frozenset(days[:n]), False, 0) for n in (0, 4)]),
        "write_looks": write,
        "MAX_ROWS": 4,
    }.items():
        monkeypatch.setattr(f"barograph_server.streams.scorer.shadow_looks.{name}", value)
    compared = contract(label=None, shadow=ShadowTest(candidate="4", of="3", margins={"latency": 0.2}))
    pairing = Mock(run=lambda *_: 0)
    scorer = ModelScorer(make_rules(compared, EMPTY), pairing=pairing, shadow_looks=ShadowLooks(lambda: 0.0))
    with pytest.raises(WarehouseBusy, match="down"):
        scorer.run(CLIENT, compared, EMPTY, None, EventClock(0.0), 1)
    scorer.run(CLIENT, compared, EMPTY, None, EventClock(0.0), 1)
    of_days = [sorted({each.day[-1] for each in call.args[1]}) for call in write.call_args_list]
    assert of_days == [["1", "2"], ["3", "4"], ["5"], ["5"]]
