"""Comparisons of two versions and two arms by real processors equal figures computed from the source events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, fisher_exact, ttest_ind

from sketches.baseline.levels import Level
from sketches.comparison.sample_ratio import anytime_p
from tests.support.outputs import CLASSES, output_baseline, output_contract, output_events
from tests.support.pipeline import Pipeline
from warehouse.arm_ratios import sample_ratio, write_ratio

HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS
HOURS = 8
WINDOW_S = 3 * 3600
Event = dict[str, Any]


def psi_by_hand(b: NDArray[np.int64], c: NDArray[np.int64]) -> tuple[float, float]:
    """PSI and p of two samples on bins that need no merging."""
    p, q = (b + 0.5) / (b.sum() + len(b) / 2), (c + 0.5) / (c.sum() + len(c) / 2)
    psi = float(((q - p) * np.log(q / p)).sum())
    n_h = b.sum() * c.sum() / (b.sum() + c.sum())
    return psi, float(chi2.sf(n_h * psi, len(b) - 1))


def numbers(events: list[Event], name: str) -> NDArray[np.float64]:
    values = (event["metrics"]["tokens"] if name == "tokens" else event.get(name) for event in events)
    return np.array([value for value in values if value is not None], dtype=np.float64)


def test_differences_equal_those_of_the_source(pipeline: Pipeline) -> None:
    pipeline.create(source_partitions=2)
    contract = output_contract()
    baselines = [output_baseline("1", 1), output_baseline("2", 2)]
    pipeline.register(contract, baselines)
    events = output_events(24_000, START_MS, HOURS)
    pipeline.produce((i % 2, json.dumps(event).encode(), None) for i, event in enumerate(events))
    pipeline.end(2)
    for processor in ("sketcher", "monitor", "recorder"):
        pipeline.start(processor)
    pipeline.wait_rows("SELECT sum(n) = 24000 AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "sealed volume")
    pipeline.wait_settled()
    pipeline.wait_rows("SELECT uniqExact(id) = 24000 FROM predictions", "raw predictions")

    end_s = START_MS // 1000 + 5 * 3600
    within = [event for event in events if end_s - WINDOW_S <= event["at"] // 1000 < end_s]
    check(pipeline, "version_comparison", "previous", "version", end_s, within, lambda e: e["version"], ("1", "2"))
    check(pipeline, "arm_comparison", "control", "arm", end_s, within, lambda e: e["arm"], ("a", "b"))
    compared = pipeline.rows(
        "SELECT DISTINCT toUnixTimestamp(window_end) FROM version_comparison WHERE model = 'toy' AND window = '3h' "
        "ORDER BY window_end"
    )
    # Three-hour windows are compared every hour; the last ones end after the last event.
    assert [end for (end,) in compared][:HOURS] == [START_MS // 1000 + hour * 3600 for hour in range(1, HOURS + 1)]
    check_ratio(pipeline, events)


def check(
    pipeline: Pipeline,
    view: str,
    left: str,
    right: str,
    end_s: int,
    events: list[Event],
    side_of: Callable[[Event], str],
    names: tuple[str, str],
) -> None:
    rows_of_view = pipeline.rows(
        f"SELECT field, measure, category, {left}_n, {right}_n, {left}_value, {right}_value, difference, "
        f"difference_low, difference_high, p_value, level, source FROM {view} "
        f"WHERE model = 'toy' AND window = '3h' AND window_end = {end_s} "
        f"AND {left} = '{names[0]}' AND {right} = '{names[1]}'"
    )
    rows = {(field, measure, category): rest for field, measure, category, *rest in rows_of_view}
    assert len(rows) == len(rows_of_view) > 15
    sides = [[event for event in events if side_of(event) == name] for name in names]
    sizes = [len(side) for side in sides]

    failed = [sum("error" in event for event in side) for side in sides]
    table = np.array([[k, n - k] for k, n in zip(failed, sizes, strict=True)])
    m, n, x, y, difference, low, high, p, level, _ = rows["events", "error_rate", ""]
    assert [m, n] == sizes
    assert [x, y, difference] == pytest.approx([failed[0] / m, failed[1] / n, failed[1] / n - failed[0] / m], abs=1e-12)
    assert p == pytest.approx(fisher_exact(table).pvalue, rel=1e-6)
    assert low < difference < high
    assert level == ("major" if view == "arm_comparison" else "minor")

    m, n, x, y, *_ = rows["latency_ms", "slow_rate", ""]
    assert [m, n] == sizes
    assert [x, y] == pytest.approx([np.mean(numbers(side, "latency_ms") > 100.0) for side in sides])
    for category in CLASSES:
        m, n, x, y, *_ = rows["class", "share", category]
        assert [x, y] == pytest.approx([sum(e.get("class") == category for e in side) / len(side) for side in sides])
    classes = [
        np.array([sum(event.get("class") == name for event in side) for name in (*CLASSES, None)]) for side in sides
    ]
    *_, psi, _, _, p, _, source = rows["class", "psi", ""]
    assert (psi, p) == pytest.approx(psi_by_hand(*classes), rel=1e-6)
    assert source == "counts"
    tokens = [np.bincount(np.clip(numbers(side, "tokens").astype(int), 1, 8) - 1, minlength=8) for side in sides]
    *_, psi, _, _, p, _, source = rows["tokens", "psi", ""]
    assert (psi, p) == pytest.approx(psi_by_hand(*tokens), rel=1e-6)
    assert source == "counts"

    for field in ("score", "latency_ms"):
        values = [numbers(side, field) for side in sides]
        reference = ttest_ind(values[1], values[0], equal_var=False)
        interval = reference.confidence_interval(0.95)
        m, n, x, y, difference, low, high, p, level, source = rows[field, "mean", ""]
        assert [m, n] == [len(side) for side in values]
        assert [x, y] == pytest.approx([side.mean() for side in values], rel=1e-9)
        assert [low, high, p] == pytest.approx([interval.low, interval.high, reference.pvalue], rel=1e-5)
        assert (level, source) == ("", "moments")
        for measure, rank in (("p50", 0.5), ("p99", 0.99)):
            *_, x, y, difference, low, high, _, _, source = rows[field, measure, ""]
            assert low <= np.quantile(values[1], rank) - np.quantile(values[0], rank) <= high
            assert source == "sketches"
    # The baselines have different edges, so version 1 is rebinned from its sketches on the edges of version 2.
    edges = np.array(output_baseline("2", 2).fields[1].edges)
    scores = [
        np.array(
            [
                *np.bincount(np.searchsorted(edges, numbers(side, "score"), side="right"), minlength=10),
                sum(event.get("score") is None for event in side),
            ]
        )
        for side in sides
    ]
    *_, psi, low, high, _, _, source = rows["score", "psi", ""]
    assert psi == pytest.approx(psi_by_hand(*scores)[0], abs=0.03)
    assert low <= psi_by_hand(*scores)[0] <= high
    assert source == "sketches"


def check_ratio(pipeline: Pipeline, events: list[Event]) -> None:
    """The parity of the user number assigns the arm, so the ratio of users is as planned."""
    users = {event["context"]["user"]: event["arm"] for event in events}
    with pipeline.client as client:
        ratio = sample_ratio(client, output_contract())
        assert ratio is not None
        write_ratio(client, ratio)
        rows = client.rows(
            "SELECT arm, units, crossovers, level FROM latest_arm_ratios WHERE model = 'toy' ORDER BY arm"
        )
    units = [sum(arm == name for arm in users.values()) for name in "ab"]
    assert [arm.units for arm in ratio.arms] == units
    assert ratio.p_value == pytest.approx(float(anytime_p(units, [0.5, 0.5])))
    assert rows == [(arm, n, 0, Level.insufficient.name) for arm, n in zip("ab", units, strict=True)]
