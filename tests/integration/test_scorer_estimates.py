"""Estimates without labels: correct under traffic shift, wrong under concept drift, and then reported as untrusted.

Those of two classes are part of `test_scorer_reference.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec
from numpy.typing import NDArray
from scipy.special import softmax

from local.clickhouse import LocalClickHouse
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS
from tests.support.warehouse import columns, migrated
from warehouse.client import Client
from warehouse.tables import insert_columns

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.long]

USUAL_DAYS, DRIFTED_DAYS = 8, 4
USUAL = 5_000
"""Predictions per day."""
SHIFTS = (1.0, 2.0, 3.0)
"""Shifts in standard deviations of the reference's log-odds, one day each."""
BEFORE_DAYS = USUAL_DAYS + 0.5
"""Time at which the reference is frozen. No label of the shifted days has arrived by then."""
DAYS = USUAL_DAYS + len(SHIFTS) + DRIFTED_DAYS
Worlds = list[dict[tuple[str, int], dict[str, float]]]
"""Metrics at three times, by metric and day; `trusted` has the metrics whose estimates are trusted."""
HORIZON_S = 12 * 3600
CLASSES = ("cat", "dog", "fish")


@dataclass(frozen=True)
class Day:
    """One day's predictions."""

    start: int
    outputs: dict[str, Any]
    """Columns of the predictions."""
    truth: list[str]
    """Labels as text."""
    label_type: str

    def insert_predictions(self, client: Client) -> None:
        n = len(self.truth)
        values = {"model": ["m"] * n, "version": ["1"] * n, "id": self.ids(), **self.outputs}
        values |= {"at": self.at_ms(), "received_at": self.at_ms(), "offset": self.offsets()}
        insert_columns(client, "predictions", columns("predictions", n, **values))

    def insert_labels(self, client: Client) -> None:
        n = len(self.truth)
        came = self.at_ms() + HOUR_MS
        values = {"model": ["m"] * n, "id": self.ids(), "at": came, "received_at": came, "offset": self.offsets()}
        values |= {"label": self.truth, "label_type": [self.label_type] * n}
        insert_columns(client, "labels", columns("labels", n, **values))

    def ids(self) -> list[str]:
        return [f"d{self.start}e{i}" for i in range(len(self.truth))]

    def at_ms(self) -> NDArray[np.int64]:
        n = len(self.truth)
        return START_MS + self.start * DAY_MS + np.arange(n) * (DAY_MS // n)

    def offsets(self) -> NDArray[np.int64]:
        return self.start * 1_000_000 + np.arange(len(self.truth))


def three_classes(rng: np.random.Generator, start: int, n: int, shift: float, drifted: bool) -> Day:
    """Overconfident probabilities, whose mix of classes shifts. With drift, half of the labels are another class."""
    logits = rng.normal(np.array([0.4, 0.0, -0.2]) + shift * np.array([-0.5, 0.0, 0.5]), 1.4, (n, 3))
    truth = (rng.random(n)[:, None] > softmax(logits / 1.5, axis=-1).cumsum(axis=-1)).sum(axis=-1).clip(0, 2)
    truth = (truth + (drifted & (rng.random(n) < 0.5))) % 3
    scores = [list(zip(CLASSES, row, strict=True)) for row in softmax(logits, axis=-1).tolist()]
    return Day(start, {"scores": scores}, [CLASSES[k] for k in truth], "string")


def numbers(rng: np.random.Generator, start: int, n: int, shift: float, drifted: bool) -> Day:
    """Errors that grow with the prediction; with drift they double."""
    values = rng.lognormal(4.0 + 0.2 * shift, 0.5, n)
    errors = rng.normal(0.0, 0.1 * values**1.2 * (1 + drifted))
    return Day(start, {"score": values}, [repr(value) for value in (values - errors).tolist()], "number")


def generated(kind: Callable[..., Day], shifted: int) -> list[Day]:
    """Generate usual days, shifted ones with so many predictions each, and days with concept drift."""
    rng = np.random.default_rng(11)
    days = [kind(rng, i, USUAL, 0.0, False) for i in range(USUAL_DAYS)]
    days += [kind(rng, USUAL_DAYS + i, shifted, shift, False) for i, shift in enumerate(SHIFTS)]
    return [*days, *(kind(rng, DAYS - DRIFTED_DAYS + i, USUAL, 0.0, True) for i in range(DRIFTED_DAYS))]


def figures(client: Client) -> dict[tuple[str, int], dict[str, float]]:
    rows = client.arrow(
        "SELECT *, toUnixTimestamp(window_start) AS start FROM latest_performance WHERE window = '1d'"
    ).to_pylist()
    result = {(row["metric"], (row["start"] - START_MS // 1000) // 86400): row for row in rows}
    trusted = client.rows("SELECT metric, trusted FROM estimate_trust WHERE window = '1d'")
    return result | {("trusted", 0): dict(trusted)}


def scored(engine: LocalClickHouse, label: LabelSpec, days: list[Day]) -> Worlds:
    """Return results before the labels of the shifted days, after them, and after all labels."""
    contract = Contract(model="m", pane_s=86400, label=label)
    with migrated(engine) as client:
        now_s = START_MS / 1000 + BEFORE_DAYS * 86400
        address = engine.address(client.database)
        scorer = scoring.scorer(client, address, contract, clock=lambda: now_s)
        result = []
        for day in days[:USUAL_DAYS]:
            day.insert_predictions(client)
            day.insert_labels(client)
        scorer.score_once()
        assert client.rows("SELECT count() > 0 FROM performance_reference") == [(True,)]
        for day in days[USUAL_DAYS:]:
            day.insert_predictions(client)
        now_s = START_MS / 1000 + DAYS * 86400
        scorer.score_once()
        result.append(figures(client))
        for day in days[USUAL_DAYS:]:
            day.insert_labels(client)
            if day.start == USUAL_DAYS + len(SHIFTS) - 1:
                now_s = START_MS / 1000 + (DAYS + 1) * 86400
                scorer.score_once()
                result.append(figures(client))
        scorer.score_once()
        result.append(figures(client))
        return result


def test_estimates_of_several_classes_match_later_labels_until_the_concept_drifts(engine: LocalClickHouse) -> None:
    label = LabelSpec(type="category", classes=CLASSES, horizon_s=HORIZON_S)
    before, matured, drifted = scored(engine, label, generated(three_classes, 20_000))
    estimated = ("accuracy", "precision_macro", "recall_macro", "f1_macro")
    for i, shift in enumerate(SHIFTS):
        day = USUAL_DAYS + i
        for metric in estimated:
            awaited, came = before[metric, day], matured[metric, day]
            assert awaited["n"] == 0
            assert awaited["cbpe"] == came["cbpe"]
            assert came["cbpe"] == pytest.approx(came["value"], abs=0.02), (metric, shift)
            assert came["cbpe_low"] < came["value"] < came["cbpe_high"], (metric, shift)
            assert came["cbpe_error"] == pytest.approx(came["cbpe"] - came["value"])
    assert matured["trusted", 0] == dict.fromkeys(estimated, True)
    for day in range(USUAL_DAYS + len(SHIFTS), DAYS):
        assert drifted["accuracy", day]["cbpe_error"] > 0.1
    assert drifted["trusted", 0] == dict.fromkeys(estimated, False)


def test_estimates_of_errors_match_later_labels_until_the_concept_drifts(engine: LocalClickHouse) -> None:
    label = LabelSpec(type="float", horizon_s=HORIZON_S)
    before, matured, drifted = scored(engine, label, generated(numbers, USUAL))
    for metric in ("mae", "rmse"):
        usual = matured[metric, 0]
        for i, shift in enumerate(SHIFTS):
            awaited, came = before[metric, USUAL_DAYS + i], matured[metric, USUAL_DAYS + i]
            assert awaited["n"] == 0
            assert awaited["cbpe"] == came["cbpe"]
            assert came["value"] > (1 + 0.15 * shift) * usual["value"], "errors grow with the predictions"
            assert came["cbpe"] == pytest.approx(came["value"], rel=0.1), (metric, shift)
            assert came["cbpe_error"] == pytest.approx(came["cbpe"] - came["value"])
        assert matured[metric, USUAL_DAYS]["cbpe_low"] < matured[metric, USUAL_DAYS]["value"]
        assert matured[metric, USUAL_DAYS]["value"] < matured[metric, USUAL_DAYS]["cbpe_high"]
        for day in range(USUAL_DAYS + len(SHIFTS), DAYS):
            assert drifted[metric, day]["cbpe"] == pytest.approx(usual["value"], rel=0.1), "blind to it"
            assert drifted[metric, day]["cbpe_error"] < -0.4 * drifted[metric, day]["value"]
    assert matured["trusted", 0] == {"mae": True, "rmse": True}
    assert drifted["trusted", 0] == {"mae": False, "rmse": False}
