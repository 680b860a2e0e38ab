"""With baselines by hour of the week, nights are no drift: from a training table through Kafka to verdicts."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from barograph.contract import Window
from numpy.typing import NDArray

from barograph_server.profiling.infer.infer import InferOptions, InferResult, infer_file
from barograph_server.profiling.infer.profile import Roles
from barograph_server.streams.hour_of_week import compute_hours_of_week
from tests.support.pipeline import Pipeline

HOUR_S, DAY_S = 3_600, 86_400
ZONE = "America/New_York"
START_S = (int(time.time()) - 90 * DAY_S) // (7 * DAY_S) * 7 * DAY_S
TRAINING_DAYS, DAYS, PER_HOUR = 56, 4, 600
LIVE_S = START_S + TRAINING_DAYS * DAY_S
DRIFT_H = 3 * 24 + 15
"""From this hour on, for three hours, values follow the distribution of other hours."""


def values(at_s: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    hour = compute_hours_of_week(at_s, HOUR_S, ZONE) % 24
    return rng.normal(size=len(at_s)) + 2.0 * np.cos(2 * np.pi * (hour - 14) / 24)


def infer_baseline(folder: Path) -> InferResult:
    rng = np.random.default_rng(1)
    at_s = START_S + np.sort(rng.integers(0, TRAINING_DAYS * DAY_S, TRAINING_DAYS * 24 * PER_HOUR))
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
    events: list[dict[str, Any]] = [
        {"model": "shop", "version": "1", "id": str(i), "at": int(at) * 1_000, "features": {"x": float(value)}}
        for i, (at, value) in enumerate(zip(at_s, x, strict=True))
    ]
    pipeline.produce((i % 2, json.dumps(event).encode(), None) for i, event in enumerate(events))
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
    assert ends("major", "1h") == shifted
    assert ends("minor", "1h") == []
    assert set(ends("stable", "1h")) >= set(range(2, DAYS * 24)) - set(shifted)
    assert ends("major", "1d") == []
    assert pipeline.rows("SELECT DISTINCT season FROM latest_drift") == [("hour_of_week",)]
