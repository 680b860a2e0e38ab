"""Thumbs of users are the accuracy of each version of a prompt, with intervals and the delay of labels."""

from __future__ import annotations

import json
import time

import pytest
from barograph.contract import LabelSpec, Slice

from streams.otlp.feedback_class import CONTENT
from tests.support.pipeline import Pipeline, simple_contract

N = 2_000
HOUR_MS = 3_600_000
PROMPTS = ("answer@7", "answer@8")


@pytest.mark.slow
def test_the_share_of_thumbs_up_per_version_of_a_prompt(pipeline: Pipeline) -> None:
    prompt = Slice(name="prompt", source="context.prompt", values=PROMPTS)
    contract = simple_contract(label=LabelSpec(type="bool", horizon_s=86_400), slices=(prompt,))
    pipeline.create()
    pipeline.register(contract, [])
    start_ms = (int(time.time() * 1000) // HOUR_MS - 72) * HOUR_MS
    predictions, labels = [], []
    for i in range(N):
        known = {"model": "toy", "id": f"g{i}"}
        at_ms = start_ms + i * 24 * HOUR_MS // N
        event = known | {"version": "m", "at": at_ms, "class": CONTENT, "context": {"prompt": PROMPTS[i % 2]}}
        predictions.append(json.dumps(event).encode())
        if i % 4 < 2:
            # Of the users who answer, 80 % like version 7, and 60 % version 8.
            is_up = i // 4 % 10 < (8 if i % 2 == 0 else 6)
            labels.append(json.dumps(known | {"label": is_up, "at": at_ms + HOUR_MS}).encode())
    pipeline.start("recorder")
    pipeline.start("scorer", score_s=0.5)
    pipeline.produce((0, value, None) for value in predictions)
    pipeline.produce(((0, value, None) for value in labels), pipeline.topics.labels)
    pipeline.end(1)
    pipeline.produce([(0, b"", [("barograph-mark", b"end")])], pipeline.topics.labels)
    where = "FROM latest_performance WHERE metric = 'accuracy' AND window = '1d' AND slice != 'all'"
    pipeline.wait_rows(f"SELECT sum(n) = {N // 2} {where}", "both versions of the prompt")
    rows = pipeline.rows(
        f"SELECT slice, sum(value * n) / sum(n), min(low), max(high) {where} GROUP BY slice ORDER BY slice"
    )
    assert [(row[0], row[1]) for row in rows] == [
        ("prompt=answer@7", pytest.approx(0.8)),
        ("prompt=answer@8", pytest.approx(0.6)),
    ]
    assert all(low < value < high for _, value, low, high in rows)
    (coverage,) = pipeline.rows(f"SELECT sum(n) / sum(predictions) {where}")[0]
    assert coverage == pytest.approx(0.5)
    pipeline.wait_rows("SELECT events > 0 FROM pipeline WHERE kind = 'scorer' AND silent_s < 10", "a report")
