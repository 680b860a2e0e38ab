"""`compare` counts labels as the scorer's SQL does: the same rows give the same metrics per day."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, LabelSpec

from barograph_server.batch.compare.outcomes import OutcomeCounts
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.scorer.measure import measure
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.streams.scorer.window_counts import window_counts
from barograph_server.warehouse.scoring.state import window_sums
from tests.support import scoring
from tests.support.scoring import DAY_MS, START_MS
from tests.support.warehouse import migrated

pytestmark = pytest.mark.engine
N, DAYS = 3_000, 2
CLASSES = ("cat", "dog", "fish")
SPECS = {
    "binary": LabelSpec(type="bool", positive=True, threshold=0.4),
    "classes": LabelSpec(type="category", classes=CLASSES),
    "number": LabelSpec(type="float"),
}


def generate(kind: str, rng: np.random.Generator) -> tuple[list[dict[str, Any]], list[Any]]:
    """Outputs and labels of rows: missing and invalid scores, classes that contradict scores, unknown labels."""
    outputs: list[dict[str, Any]] = []
    labels: list[Any] = []
    for i in range(N):
        if kind == "binary":
            score = float(rng.beta(2, 3))
            score = {0: float("nan"), 1: 1.5}.get(i % 50, score)
            named = ("true" if rng.random() < 0.5 else "false") if i % 7 == 0 else ""
            outputs.append({"score": score, "class": named})
            labels.append(bool(rng.random() < (score if 0 <= score <= 1 else 0.5)))
        elif kind == "classes":
            p = rng.dirichlet((1.0, 1.5, 2.0))
            shares = dict(zip(CLASSES, map(float, p * (1.2 if i % 40 == 0 else 1.0)), strict=True))
            named = CLASSES[int(rng.integers(3))] if i % 5 == 0 else ""
            outputs.append({"scores": {} if i % 30 == 0 else shares, "class": named})
            labels.append("bird" if i % 25 == 0 else CLASSES[int(rng.choice(3, p=p))])
        else:
            score = float("nan") if i % 50 == 0 else float(rng.normal(100, 20))
            outputs.append({"score": score})
            labels.append(score if i % 60 == 1 else float(rng.normal(98, 20)))
        if rng.random() < 0.2:
            labels[-1] = None
    return outputs, labels


def counted(contract: Contract, days: list[int], outputs: list[dict[str, Any]], labels: list[Any]) -> OutcomeCounts:
    counts = OutcomeCounts(make_rules(contract, Registry()), DAYS)
    columns = {"label": pa.array(labels)}
    if "score" in outputs[0]:
        columns["score"] = pa.array([row["score"] for row in outputs])
    if "class" in outputs[0]:
        columns["class"] = pa.array([row["class"] or None for row in outputs])
    for name in CLASSES if "scores" in outputs[0] else ():
        columns[f"scores.{name}"] = pa.array([row["scores"].get(name) for row in outputs])
    half = N // 2
    for rows in (slice(0, half), slice(half, N)):
        part = OutcomeCounts(make_rules(contract, Registry()), DAYS)
        part.add(np.array(days[rows]), {name: column[rows] for name, column in columns.items()})
        counts.merge(part)
    return counts


@pytest.mark.parametrize("kind", SPECS)
def test_metrics_equal_those_of_the_scorer(engine: LocalClickHouse, kind: str) -> None:
    rng = np.random.default_rng(5)
    contract = Contract(model="m", label=SPECS[kind])
    outputs, labels = generate(kind, rng)
    times = [START_MS + int(rng.integers(DAYS * DAY_MS)) for _ in range(N)]
    rows = [scoring.prediction(i, times[i], i, **outputs[i]) for i in range(N)]
    label_rows = [
        scoring.label(
            i, times[i] + 1_000, i, str(value).lower(), {"binary": "bool", "classes": "string"}.get(kind, "number")
        )
        for i, value in enumerate(labels)
        if value is not None
    ]
    with migrated(engine) as client:
        scoring.insert(client, "predictions", rows)
        scoring.insert(client, "labels", label_rows)
        address = engine.address(client.database)
        now_ms = START_MS + 10 * DAY_MS
        scoring.scorer(client, address, contract, clock=lambda: now_ms / 1000).score_once()
        stored = scoring.shown(client, "value, low, high, n")
        rules = make_rules(contract, Registry())
        starts = [START_MS // 1000 + day * 86_400 for day in range(DAYS)]
        expected = window_counts(rules, window_sums(client, rules, 86_400, starts))
    days = [(at_ms - START_MS) // DAY_MS for at_ms in times]
    actual = counted(contract, days, outputs, labels).counts()
    for name in ("predictions", "labelled", "confusion", "sums", "labelled_hist", "prediction_hist", "errors", "sizes"):
        assert getattr(actual, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-9), name
    cells = np.unique(expected.of_predictions.cell)
    assert (cells.size > 0) == (kind != "binary")
    sums, stored_sums = (each.of_predictions.of_windows([0, 1], cells) for each in (actual, expected))
    assert sums == pytest.approx(stored_sums, rel=1e-9, abs=1e-9)
    measured = measure(rules, actual)
    compared = 0
    for (metric, of_class), result in measured.items():
        for day in range(DAYS):
            value, low, high, n = stored["1", "all", metric, of_class, "1d", START_MS // 1000 + day * 86_400]
            assert result.n[day] == n, (metric, of_class, day)
            ours = (result.metric.value[day], result.metric.low[day], result.metric.high[day])
            assert ours == pytest.approx((value, low, high), rel=1e-9, abs=1e-12, nan_ok=True), (metric, of_class, day)
            compared += 1
    assert compared >= 2 * 5
