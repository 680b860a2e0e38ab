"""Events through Kafka, recorder and scorer, both killed on the way: performance equals that of the events."""

from __future__ import annotations

import json
import time
import zlib

import numpy as np
import pytest
from barograph.contract import LabelSpec

from tests.support.pipeline import Pipeline, simple_baseline, simple_contract

N = 20_000
HOUR_MS = 3_600_000


@pytest.mark.slow
def test_labels_and_predictions_of_a_replay_are_joined_despite_kills(pipeline: Pipeline) -> None:
    contract = simple_contract(label=LabelSpec(type="bool", positive=True, horizon_s=2 * 86400))
    pipeline.create(source_partitions=2)
    pipeline.register(contract, [simple_baseline()])
    rng = np.random.default_rng(7)
    start_ms = (int(time.time() * 1000) // HOUR_MS - 72) * HOUR_MS
    at_ms = start_ms + np.sort(rng.integers(0, 24 * HOUR_MS, N))
    score = rng.random(N)
    truth = rng.random(N) < score
    delay_ms = rng.integers(0, 12 * HOUR_MS, N)
    predictions = (
        (
            i % 2,
            json.dumps(
                {
                    "model": "toy",
                    "version": "1",
                    "id": f"e{i}",
                    "at": int(at_ms[i]),
                    "score": float(score[i]),
                    "context": {"region": "north" if i % 3 else "elsewhere"},
                }
            ).encode(),
            None,
        )
        for i in range(N)
    )
    labels = [
        (
            zlib.crc32(f"e{i}".encode()) % 2,
            json.dumps(
                {"model": "toy", "id": f"e{i}", "label": bool(truth[i]), "at": int(at_ms[i] + delay_ms[i])}
            ).encode(),
            None,
        )
        for i in rng.permutation(N)[: N // 2]
    ]
    labelled = {json.loads(value)["id"] for _, value, _ in labels}
    pipeline.start("recorder")
    pipeline.start("scorer", score_s=0.5)
    pipeline.produce(labels[: N // 4], pipeline.topics.labels)
    pipeline.produce(predictions)
    pipeline.wait_rows("SELECT sum(predictions) > 0 FROM performance_state FINAL", "the first hours")
    pipeline.kill("recorder-0")
    pipeline.kill("scorer-0")
    pipeline.produce(labels[N // 4 :], pipeline.topics.labels)
    pipeline.start("recorder")
    pipeline.start("scorer", score_s=0.5)
    counted = "SELECT sum(predictions) = {} AND sum(labelled) = {} FROM performance_state FINAL WHERE slice = 'all'"
    pipeline.wait_rows(counted.format(N, N // 2), "all predictions and labels")
    own = np.array([f"e{i}" in labelled for i in range(N)])
    value = float(np.mean((score >= 0.5)[own] == truth[own]))
    day = "FROM latest_performance WHERE metric = 'accuracy' AND window = '1d' AND slice = 'all'"
    # When the replay ends, the last windows end too.
    pipeline.wait_rows(f"SELECT sum(n) = {N // 2} {day}", "the last day")
    (result,) = pipeline.rows(f"SELECT sum(value * n) / sum(n), sum(predictions) {day}")
    assert result == (pytest.approx(value), N)
    slices = pipeline.rows("SELECT slice, sum(predictions) FROM performance_state FINAL GROUP BY slice ORDER BY slice")
    assert slices == [("all", N), ("region=north", N - -(-N // 3)), ("region=other", -(-N // 3))]
    pipeline.wait_rows("SELECT events > 0 FROM pipeline WHERE kind = 'scorer' AND silent_s < 10", "a report")
    pipeline.alive()
