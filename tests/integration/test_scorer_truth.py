"""The scorer's metrics, calibration and maturity compared with scikit-learn and scipy on raw values.

Two hundred hours and eight days of one concept are each compared with their own raw rows: to 1e-9 where counts
and sums are exact, and within the stated error where scores are binned. Labels come late, early, repeated, or never.
Whether intervals cover the truth is tested without an engine (`tests/unit/sketches/performance`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binned_statistic

from local.clickhouse import LocalClickHouse
from sketches.performance.bins import score_edges
from sketches.performance.maturity import age_edges
from tests.support import scoring
from tests.support.ground_truth import HORIZON_H, HOURS, NOW_MS, Truth, generate
from tests.support.scoring import START_MS
from warehouse.client import Client

metrics = pytest.importorskip("sklearn.metrics")

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FloatArray = NDArray[np.float64]
HORIZON_S = HORIZON_H * 3600
DAYS = range(HOURS // 24)
THRESHOLD = 0.4
LENGTHS_S = {"1h": 3600, "1d": 86400, "7d": 7 * 86400}
Figures = dict[tuple[str, str, int], dict[str, Any]]
"""Rows by metric, window length and window number."""


def binary_rows(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
    """Generate scores whose log-odds are 50 % too large, and the truth."""
    odds = rng.normal(-0.6, 1.4, n)
    return expit(1.5 * odds), (rng.random(n) < expit(odds)).astype(np.float64)


def calibration_error(scores: FloatArray, truth: FloatArray) -> float:
    """Return the mean of |rate − mean score| over ten groups of equal size."""
    groups = np.array_split(np.argsort(scores, kind="stable"), 10)
    return float(sum(len(own) * abs(truth[own].mean() - scores[own].mean()) for own in groups) / len(scores))


def binary_figures(scores: FloatArray, truth: FloatArray) -> dict[str, float]:
    predicted = scores >= THRESHOLD
    return {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "precision": metrics.precision_score(truth, predicted),
        "recall": metrics.recall_score(truth, predicted),
        "f1": metrics.f1_score(truth, predicted),
        "auc": metrics.roc_auc_score(truth, scores),
        "log_loss": metrics.log_loss(truth, scores),
        "brier": metrics.brier_score_loss(truth, scores),
    }


def test_metrics_calibration_and_maturity_of_two_classes(client: Client, engine: LocalClickHouse) -> None:
    rng = np.random.default_rng(1)
    chunks: list[FloatArray] = []

    def outputs(n: int) -> tuple[dict[str, Any], FloatArray]:
        scores, truth = binary_rows(rng, n)
        chunks.append(scores)
        return {"score": scores}, truth

    truth = generate(client, rng, 400, outputs)
    label = LabelSpec(type="bool", positive=True, threshold=THRESHOLD, horizon_s=HORIZON_S)
    contract, address = Contract(model="m", label=label), engine.address(client.database)
    scoring.scorer(client, address, contract, clock=lambda: NOW_MS / 1000).score_once()
    rows = client.arrow("SELECT *, toUnixTimestamp(window_start) AS start FROM latest_performance").to_pylist()
    figures = {
        (row["metric"], row["window"], (row["start"] - START_MS // 1000) // LENGTHS_S[row["window"]]): row
        for row in rows
    }
    check_metrics(figures, truth, chunks[0])
    check_calibration(client, figures, truth, chunks[0])
    check_maturity(client, truth)
    counted = dict(client.rows("SELECT kind, sum(n) FROM label_counts GROUP BY kind"))
    assert {kind: counted[kind] for kind in truth.counts} == truth.counts
    assert min(truth.counts.values()) > 0


def check_metrics(figures: Figures, truth: Truth, scores: FloatArray) -> None:
    for length, hours, n in (("1h", 1, HOURS), ("1d", 24, len(DAYS))):
        for number in range(n):
            own = truth.known(range(number * hours, (number + 1) * hours))
            for metric, value in binary_figures(scores[own], truth.effective_labels[own]).items():
                result = figures[metric, length, number]
                assert result["n"] == own.sum()
                # The documented error of AUC: 3·10⁻⁴ plus six times 0.03 standard errors by chance.
                near = 3e-4 + 6 * 0.03 * (result["high"] - result["low"]) / 3.92 if metric == "auc" else 1e-9
                assert result["value"] == pytest.approx(value, abs=near, rel=1e-9), (metric, length, number)


def check_calibration(client: Client, figures: Figures, truth: Truth, scores: FloatArray) -> None:
    """The curve is exact to 1e-9 in its bins; the error, which is corrected for chance, for many rows."""
    known = truth.known(range(HOURS))
    edges = np.concatenate(([-0.1], score_edges(THRESHOLD), [1.1]))
    rate, _, _ = binned_statistic(scores[known], truth.effective_labels[known], "mean", edges)
    mean, _, bin_number = binned_statistic(scores[known], scores[known], "mean", edges)
    rows = client.rows(
        "SELECT bin, sum(n) AS rows, sum(score_sum) / rows, sum(positives) / rows FROM calibration_curve "
        "WHERE slice = 'all' GROUP BY bin ORDER BY bin"
    )
    bins, counts = np.unique(bin_number - 1, return_counts=True)
    assert [row[:2] for row in rows] == list(zip(bins.tolist(), counts.tolist(), strict=True))
    assert [row[2] for row in rows] == pytest.approx(mean[bins], abs=1e-9)
    assert [row[3] for row in rows] == pytest.approx(rate[bins], abs=1e-9)
    for day in DAYS:
        own = truth.known(range(day * 24, day * 24 + 24))
        plain = calibration_error(scores[own], truth.effective_labels[own])
        result = figures["calibration_error", "1d", day]
        assert result["value"] == pytest.approx(plain, abs=0.005), day
        assert plain > 0.05
        assert result["low"] < plain < result["high"]


def check_maturity(client: Client, truth: Truth) -> None:
    """The learned curve is scipy's on the raw ages, in the same bins."""
    edges = age_edges(HORIZON_S)
    shares, coverage = truth.maturity(edges)
    rows = client.rows("SELECT age_s, share, coverage FROM label_maturity ORDER BY age_s")
    assert [row[0] for row in rows] == edges.tolist()
    assert [row[1] for row in rows] == pytest.approx(shares, abs=1e-9)
    assert rows[0][2] == pytest.approx(coverage, abs=1e-9)
    whole = truth.first_age_s[truth.hour < HOURS - HORIZON_H]
    exact = [np.mean(whole[np.isfinite(whole)] < edge) for edge in edges[1:]]
    assert shares[1:] == pytest.approx(exact, abs=0.01), "of the windows of which all labels have come"
