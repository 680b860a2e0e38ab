"""Distances and q-values equal those of scipy, and with baselines by hour of the week nights are no drift."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Window
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import false_discovery_control, ks_2samp, wasserstein_distance

from barograph_server.profiling.infer.infer import InferOptions, InferResult, infer_file
from barograph_server.profiling.infer.profile import Roles
from barograph_server.sketches.drift.distances import STEP_ERROR
from barograph_server.streams.hour_of_week import compute_hours_of_week
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.toy_events import messages

HOUR_S = 3600
START_S = 1_790_000_000 // 86_400 * 86_400
HOURS = 30
N = 24_000


def test_distances_of_a_shifted_field_match_scipy(pipeline: Pipeline) -> None:
    rng = np.random.default_rng(8)
    at_s = np.sort(rng.integers(START_S, START_S + HOURS * HOUR_S, N))
    x = rng.normal(0.4, 1.3, N).astype(np.float32).astype(float)
    k = rng.integers(0, 5, N)
    fields = tuple(
        msgspec.structs.replace(field, weight=3.0) if field.name == "k" else field for field in simple_contract().fields
    )
    pipeline.prepare(simple_contract(fields=fields), source_partitions=2)
    pipeline.produce(messages((event(i, int(at_s[i]), float(x[i]), int(k[i])) for i in range(N)), 2))
    pipeline.end(2)
    pipeline.start_all("sketcher", "monitor")
    pipeline.wait_judged(N)
    check_distances(pipeline, at_s, x)
    check_drift(pipeline, at_s, x)


def event(i: int, at_s: int, x: float, k: int) -> dict[str, Any]:
    features = {"x": x if i % 50 else None, "k": k, "flag": i % 2 == 0, "colour": ("red", "green", "blue")[i % 3]}
    return {"model": "toy", "version": "1", "id": f"e{i}", "at": at_s * 1000 + i % 1000, "features": features}


def check_distances(pipeline: Pipeline, at_s: NDArray[np.int64], x: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(1)
    rng.integers(0, 2, 10_000)
    base = rng.normal(size=10_000)
    low, high = np.quantile(base, [0.001, 0.999], method="inverted_cdf")
    quartile, three = np.quantile(base, [0.25, 0.75], method="inverted_cdf")
    present = np.arange(N) % 50 != 0
    distances = pipeline.rows(
        "SELECT window, toUnixTimestamp(window_start), toUnixTimestamp(window_end), n, ks, ks_error, ks_threshold, "
        "ks_rejects, w1, mean, mean_shift, mean_shift_low, mean_shift_high, std_ratio, p50, p99 "
        "FROM latest_distances WHERE model = 'toy' AND field = 'x' ORDER BY window, window_end"
    )
    assert pipeline.rows("SELECT DISTINCT slice, revisions FROM latest_distances WHERE field = 'x'") == [("all", 1)]
    # Windows are described every quarter of their length in whole hops: 3h every hop, 1d every second hop of 3 h.
    ends = {name: [row[2] for row in distances if row[0] == name] for name in ("3h", "1d")}
    assert {b - a for a, b in pairwise(ends["3h"])} == {HOUR_S}
    assert {b - a for a, b in pairwise(ends["1d"])} == {6 * HOUR_S}
    assert all(end % (6 * HOUR_S) == 0 for end in ends["1d"])
    for name, start, end, n, ks, error, threshold, rejects, w1, mean, shift, *shifts, ratio, p50, p99 in distances:
        window = x[present & (at_s >= start) & (at_s < end)]
        assert n == len(window)
        assert 0 < error < 0.02
        assert ks == pytest.approx(ks_2samp(window, base, method="asymp").statistic, abs=error)
        assert threshold == pytest.approx(1.358102 * np.sqrt(1 / n + 1 / len(base)) + error, abs=1e-5)
        whole = start >= START_S and end <= START_S + HOURS * HOUR_S
        assert rejects == (whole and ks > threshold)
        assert rejects or not whole, "n is over 1,000, which suffices to detect this shift"
        true = wasserstein_distance(window.clip(low, high), base.clip(low, high)) / (three - quartile)
        assert w1 == pytest.approx(true, abs=(error + STEP_ERROR) * (high - low) / (three - quartile))
        assert mean == pytest.approx(window.mean(), rel=1e-9)
        assert shift == pytest.approx((window.mean() - base.mean()) / base.std(), rel=1e-9)
        assert shifts[0] < shift < shifts[1]
        assert ratio == pytest.approx(window.std(ddof=1) / base.std(), rel=1e-6)
        for value, rank in ((p50, 0.5), (p99, 0.99)):
            assert np.mean(window <= value) == pytest.approx(rank, abs=0.0135 + 1 / n)
        assert name in ("3h", "1d")
    # Categories have no distances; numbers that did not shift are not reported as different.
    others = pipeline.rows("SELECT field, max(ks_rejects), max(ks), max(w1) FROM latest_distances GROUP BY field")
    assert {field: rejects for field, rejects, *_ in others} == {"x": True, "k": False, "flag": False}


def check_drift(pipeline: Pipeline, at_s: NDArray[np.int64], x: NDArray[np.float64]) -> None:
    [trained] = [field for field in simple_baseline().fields if field.name == "x"]
    drift = pipeline.rows(
        "SELECT field, toUnixTimestamp(window_start), toUnixTimestamp(window_end), js, p_value, q_value, level "
        "FROM latest_drift WHERE model = 'toy' AND slice = 'all' AND window = '1d' ORDER BY window_end, field"
    )
    judged = 0
    for end in {row[2] for row in drift}:
        rows = {field: rest for field, _, window_end, *rest in drift if window_end == end}
        start = end - 86_400
        inside = (at_s >= start) & (at_s < end)
        null = inside & (np.arange(N) % 50 == 0)
        cells = np.bincount(np.searchsorted(trained.edges, x[inside & ~null], side="right"), minlength=10)
        assert rows["x"][0] == pytest.approx(
            jensenshannon([*cells, null.sum()], trained.slices["all"].cells, base=2), abs=1e-9
        )
        if start < START_S or end > START_S + HOURS * HOUR_S:
            assert all(np.isnan(q) for _, _, q, _ in rows.values())
            continue
        judged += 1
        weight = {name: 3.0 if name == "k" else 1.0 for name in rows}
        ratio = [p / weight[name] * np.mean(list(weight.values())) for name, (_, p, _, _) in rows.items()]
        expected = false_discovery_control(np.minimum(ratio, 1.0))
        np.testing.assert_allclose([q for _, _, q, _ in rows.values()], expected, rtol=1e-9)
        assert rows["x"][3] in ("minor", "major")
    assert judged == 3


DAY_S = 86_400
ZONE = "America/New_York"
TRAINING_START_S = (int(time.time()) - 90 * DAY_S) // (7 * DAY_S) * 7 * DAY_S
TRAINING_DAYS, DAYS, PER_HOUR = 56, 4, 600
LIVE_S = TRAINING_START_S + TRAINING_DAYS * DAY_S
DRIFT_H = 3 * 24 + 15
"""From this hour on, for three hours, values follow the distribution of other hours."""


def values(at_s: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    hour = compute_hours_of_week(at_s, HOUR_S, ZONE) % 24
    return rng.normal(size=len(at_s)) + 2.0 * np.cos(2 * np.pi * (hour - 14) / 24)


def infer_baseline(folder: Path) -> InferResult:
    rng = np.random.default_rng(1)
    at_s = TRAINING_START_S + np.sort(rng.integers(0, TRAINING_DAYS * DAY_S, TRAINING_DAYS * 24 * PER_HOUR))
    table = pa.table({"at": pa.array(at_s * 1_000, pa.timestamp("ms", "UTC")), "x": values(at_s, rng)})
    pq.write_table(table, folder / "train.parquet")
    return infer_file(
        InferOptions(
            table=folder / "train.parquet",
            model="shop",
            version="1",
            roles=Roles(time="at"),
            pane_s=HOUR_S,
            windows=(Window(HOUR_S, HOUR_S), Window(DAY_S, HOUR_S)),
            timezone=ZONE,
            season="hour_of_week",
        )
    )


def test_nights_are_stable_and_a_shift_within_an_hour_is_detected(pipeline: Pipeline, tmp_path: Path) -> None:
    result = infer_baseline(tmp_path)
    assert result.baseline.fields[0].slices["all"].phi["1h"].value < 1.1
    pipeline.prepare(result.contract, [result.baseline], source_partitions=2)
    pipeline.start_all("sketcher", "monitor")
    rng = np.random.default_rng(2)
    at_s = LIVE_S + np.sort(rng.integers(0, DAYS * DAY_S, DAYS * 24 * PER_HOUR))
    x = values(at_s, rng)
    hour = (at_s - LIVE_S) // HOUR_S
    drifted = (hour >= DRIFT_H) & (hour < DRIFT_H + 3)
    x[drifted] = values(at_s[drifted] + 12 * HOUR_S, rng)
    events = (
        {"model": "shop", "version": "1", "id": str(i), "at": int(at) * 1_000, "features": {"x": float(value)}}
        for i, (at, value) in enumerate(zip(at_s, x, strict=True))
    )
    pipeline.produce(messages(events, 2))
    pipeline.end(2)
    end_s = LIVE_S + DAYS * DAY_S
    pipeline.wait_rows(f"SELECT toUnixTimestamp(max(sealed_until)) >= {end_s} FROM progress FINAL", "the end")
    pipeline.wait_settled()

    def ends(level: str, window: str) -> list[int]:
        rows = pipeline.rows(
            "SELECT intDiv(toUnixTimestamp(window_end) - {live:UInt32}, 3600) FROM latest_drift "
            "WHERE field = 'x' AND slice = 'all' AND window = {window:String} AND level = {level:String} ORDER BY 1",
            {"live": LIVE_S, "window": window, "level": level},
        )
        return [int(end) for (end,) in rows]

    shifted = [DRIFT_H + 1, DRIFT_H + 2, DRIFT_H + 3]
    assert (ends("major", "1h"), ends("minor", "1h"), ends("major", "1d")) == (shifted, [], [])
    assert set(ends("stable", "1h")) >= set(range(2, DAYS * 24)) - set(shifted)
    assert pipeline.rows("SELECT DISTINCT season FROM latest_drift") == [("hour_of_week",)]
