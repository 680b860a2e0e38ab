"""The scorer's metrics compared with scikit-learn and scipy on raw values, and the coverage of their intervals.

Two hundred hours of one generated concept are two hundred repetitions: each is compared with its own raw rows, to 1e-9
where counts and sums are exact and within the stated error where scores are binned, and all of them together say how
often a 95 % interval holds what a million rows of the concept show. Labels come late, early, repeated, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, LabelSpec
from numpy.typing import NDArray
from scipy.special import expit, softmax
from scipy.stats import binned_statistic

from local.clickhouse import LocalClickHouse
from sketches.performance.bins import score_edges
from sketches.performance.maturity import age_edges
from tests.support import scoring
from tests.support.ground_truth import HORIZON_H, HOURS, NOW_MS, Truth, generate
from tests.support.scoring import START_MS
from tests.support.warehouse import migrated
from warehouse.client import Client

metrics = pytest.importorskip("sklearn.metrics")

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FloatArray = NDArray[np.float64]
Figures = dict[tuple[str, str], float]
"""By metric and class."""

MANY = 1_000_000
LEAST = 0.90
"""Smallest observed coverage of 95 % intervals: 200 repetitions estimate it within ±0.03."""
HORIZON_S = HORIZON_H * 3600
CLASSES = ("cat", "dog", "fish")
DAYS = range(HOURS // 24)


@dataclass(frozen=True)
class World:
    """Generated values, and the scorer's results."""

    client: Client
    truth: Truth
    figures: dict[tuple[str, str, str, int], dict[str, Any]]
    """Metrics by metric, class, window length and window number."""

    def windows(self) -> Iterator[tuple[str, int, NDArray[np.bool_]]]:
        """Yield each window with a mask of its labelled predictions."""
        for length, hours, n in (("1h", 1, HOURS), ("1d", 24, len(DAYS))):
            for number in range(n):
                yield length, number, self.truth.known(range(number * hours, (number + 1) * hours))

    def hold(self, target: Callable[[NDArray[np.bool_]], Figures], near: Callable[[str, Any], float]) -> int:
        """Compare all metrics of all windows with those of their rows; return the number of comparisons."""
        compared = 0
        for length, number, own in self.windows():
            for (metric, of_class), value in target(own).items():
                result = self.figures[metric, of_class, length, number]
                assert result["n"] == own.sum()
                limit = near(metric, result)
                assert result["value"] == pytest.approx(value, abs=limit, rel=1e-9), (metric, of_class, length, number)
                compared += 1
        return compared

    def hold_coverage(self, truth: Figures) -> None:
        """Check the share of hours with enough labels whose interval contains the true value."""
        for (metric, of_class), value in truth.items():
            hours = [self.figures[metric, of_class, "1h", hour] for hour in range(HOURS)]
            enough = [each for each in hours if each["sufficient"]]
            assert len(enough) > 0.85 * HOURS, (metric, of_class)
            coverage = np.mean([each["low"] <= value <= each["high"] for each in enough])
            assert coverage >= LEAST, (metric, of_class)

    def hold_maturity(self) -> None:
        """Check that the learned curve is scipy's on the raw ages, in the same bins."""
        edges = age_edges(HORIZON_S)
        shares, coverage = self.truth.maturity(edges)
        rows = self.client.rows("SELECT age_s, share, coverage FROM label_maturity ORDER BY age_s")
        assert [row[0] for row in rows] == edges.tolist()
        assert [row[1] for row in rows] == pytest.approx(shares, abs=1e-9)
        assert rows[0][2] == pytest.approx(coverage, abs=1e-9)
        whole = self.truth.first_age_s[self.truth.hour < HOURS - HORIZON_H]
        exact = [np.mean(whole[np.isfinite(whole)] < edge) for edge in edges[1:]]
        assert shares[1:] == pytest.approx(exact, abs=0.01), "of the windows of which all labels have come"

    def hold_counts(self) -> None:
        """Check that labels of each kind are counted once."""
        counted = dict(self.client.rows("SELECT kind, sum(n) FROM label_counts GROUP BY kind"))
        assert {kind: counted[kind] for kind in self.truth.counts} == self.truth.counts
        assert min(self.truth.counts.values()) > 0


def scored(engine: LocalClickHouse, label: LabelSpec, fill: Callable[[Client], Truth]) -> Iterator[World]:
    with migrated(engine) as client:
        truth = fill(client)
        address = engine.address(client.database)
        contract = Contract(model="m", label=label)
        scoring.scorer(client, address, contract, clock=lambda: NOW_MS / 1000).score_once()
        rows = client.arrow("SELECT *, toUnixTimestamp(window_start) AS start FROM latest_performance").to_pylist()
        seconds = {"1h": 3600, "1d": 86400, "7d": 7 * 86400}
        figures = {
            (
                row["metric"],
                row["class"],
                row["window"],
                (row["start"] - START_MS // 1000) // seconds[row["window"]],
            ): row
            for row in rows
        }
        yield World(client, truth, figures)


# ---------------------------------------------------------------------------------------------- two classes

THRESHOLD = 0.4


def binary_rows(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
    """Generate scores whose log-odds are 50 % too large, and the truth."""
    odds = rng.normal(-0.6, 1.4, n)
    return expit(1.5 * odds), (rng.random(n) < expit(odds)).astype(np.float64)


def calibration_error(scores: FloatArray, truth: FloatArray) -> float:
    """Return the mean of |rate − mean score| over ten groups of equal size."""
    groups = np.array_split(np.argsort(scores, kind="stable"), 10)
    return float(sum(len(own) * abs(truth[own].mean() - scores[own].mean()) for own in groups) / len(scores))


def binary_figures(scores: FloatArray, truth: FloatArray) -> Figures:
    predicted = scores >= THRESHOLD
    return {
        ("accuracy", ""): metrics.accuracy_score(truth, predicted),
        ("precision", ""): metrics.precision_score(truth, predicted),
        ("recall", ""): metrics.recall_score(truth, predicted),
        ("f1", ""): metrics.f1_score(truth, predicted),
        ("auc", ""): metrics.roc_auc_score(truth, scores),
        ("log_loss", ""): metrics.log_loss(truth, scores),
        ("brier", ""): metrics.brier_score_loss(truth, scores),
    }


def binned(metric: str, result: dict[str, Any]) -> float:
    """Return the documented error: for AUC 3·10⁻⁴ plus six times 0.03 standard errors by chance."""
    return 3e-4 + 6 * 0.03 * float(result["high"] - result["low"]) / 3.92 if metric.startswith("auc") else 1e-9


@pytest.fixture(scope="module")
def binary(engine: LocalClickHouse) -> Iterator[tuple[World, FloatArray]]:
    rng = np.random.default_rng(1)
    chunks: list[FloatArray] = []

    def outputs(n: int) -> tuple[dict[str, Any], FloatArray]:
        scores, truth = binary_rows(rng, n)
        chunks.append(scores)
        return {"score": scores}, truth

    def fill(client: Client) -> Truth:
        return generate(client, rng, 400, outputs, lambda y: 1 - y, lambda y: "true" if y else "false", "bool")

    label = LabelSpec(type="bool", positive=True, threshold=THRESHOLD, horizon_s=HORIZON_S)
    for world in scored(engine, label, fill):
        yield world, chunks[0]


def test_metrics_of_two_classes_equal_scikit_learn(binary: tuple[World, FloatArray]) -> None:
    world, scores = binary
    compared = world.hold(lambda own: binary_figures(scores[own], world.truth.effective_labels[own]), binned)
    assert compared == 7 * (HOURS + len(DAYS))
    world.hold_counts()
    world.hold_maturity()


def test_intervals_of_two_classes_cover_the_truth(binary: tuple[World, FloatArray]) -> None:
    world, _ = binary
    scores, truth = binary_rows(np.random.default_rng(2), MANY)
    world.hold_coverage({**binary_figures(scores, truth), ("calibration_error", ""): calibration_error(scores, truth)})


def test_calibration_of_two_classes_equals_that_of_the_raw_scores(binary: tuple[World, FloatArray]) -> None:
    """The curve is exact to 1e-9 in its bins; the error, which is corrected for chance, for many rows."""
    world, scores = binary
    known = world.truth.known(range(HOURS))
    edges = np.concatenate(([-0.1], score_edges(THRESHOLD), [1.1]))
    rate, _, _ = binned_statistic(scores[known], world.truth.effective_labels[known], "mean", edges)
    mean, _, bin_number = binned_statistic(scores[known], scores[known], "mean", edges)
    rows = world.client.rows(
        "SELECT bin, sum(n) AS rows, sum(score_sum) / rows, sum(positives) / rows FROM calibration_curve "
        "WHERE slice = 'all' GROUP BY bin ORDER BY bin"
    )
    bins, counts = np.unique(bin_number - 1, return_counts=True)
    assert [row[:2] for row in rows] == list(zip(bins.tolist(), counts.tolist(), strict=True))
    assert [row[2] for row in rows] == pytest.approx(mean[bins], abs=1e-9)
    assert [row[3] for row in rows] == pytest.approx(rate[bins], abs=1e-9)
    for day in DAYS:
        own = world.truth.known(range(day * 24, day * 24 + 24))
        plain = calibration_error(scores[own], world.truth.effective_labels[own])
        result = world.figures["calibration_error", "", "1d", day]
        assert result["value"] == pytest.approx(plain, abs=0.005), day
        assert plain > 0.05
        assert result["low"] < plain < result["high"]


# ---------------------------------------------------------------------------------------------- more classes


def class_rows(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
    probabilities = softmax(rng.normal([0.4, 0.0, -0.2], 1.4, (n, 3)), axis=-1)
    truth = (rng.random(n)[:, None] > probabilities.cumsum(axis=-1)).sum(axis=-1).clip(0, 2)
    return probabilities, truth.astype(np.float64)


def class_figures(probabilities: FloatArray, truth: FloatArray) -> Figures:
    true, predicted = truth.astype(int), probabilities.argmax(axis=-1)
    result: Figures = {("accuracy", ""): metrics.accuracy_score(true, predicted)}
    for average in ("macro", "micro", None):
        *scores, _ = metrics.precision_recall_fscore_support(true, predicted, average=average)
        for name, score in zip(("precision", "recall", "f1"), scores, strict=True):
            if average is None:
                result |= {(name, of): value for of, value in zip(CLASSES, score, strict=True)}
            else:
                result[f"{name}_{average}", ""] = score
    result |= {("auc", of): metrics.roc_auc_score(true == k, probabilities[:, k]) for k, of in enumerate(CLASSES)}
    result["auc_macro", ""] = metrics.roc_auc_score(true, probabilities, average="macro", multi_class="ovr")
    result["log_loss", ""] = metrics.log_loss(true, probabilities)
    result["brier", ""] = metrics.brier_score_loss(true, probabilities, labels=[0, 1, 2], scale_by_half=False)
    return result


@pytest.fixture(scope="module")
def several(engine: LocalClickHouse) -> Iterator[tuple[World, FloatArray]]:
    rng = np.random.default_rng(3)
    chunks: list[FloatArray] = []

    def outputs(n: int) -> tuple[dict[str, Any], FloatArray]:
        probabilities, truth = class_rows(rng, n)
        chunks.append(probabilities)
        return {"scores": [list(zip(CLASSES, row, strict=True)) for row in probabilities.tolist()]}, truth

    def fill(client: Client) -> Truth:
        return generate(client, rng, 250, outputs, lambda y: (y + 1) % 3, lambda y: CLASSES[int(y)], "string")

    for world in scored(engine, LabelSpec(type="category", classes=CLASSES, horizon_s=HORIZON_S), fill):
        yield world, chunks[0]


def test_metrics_of_several_classes_equal_scikit_learn(several: tuple[World, FloatArray]) -> None:
    world, probabilities = several
    compared = world.hold(lambda own: class_figures(probabilities[own], world.truth.effective_labels[own]), binned)
    assert compared == 22 * (HOURS + len(DAYS))
    [(rows,)] = world.client.rows("SELECT sum(n) FROM calibration_curve WHERE slice = 'all'")
    assert rows == 3 * world.truth.known(range(HOURS)).sum(), "each label counts once per class"
    world.hold_counts()
    world.hold_maturity()


def test_intervals_of_several_classes_cover_the_truth(several: tuple[World, FloatArray]) -> None:
    world, _ = several
    probabilities, truth = class_rows(np.random.default_rng(4), MANY)
    one_by_one = [calibration_error(probabilities[:, k], (truth == k).astype(float)) for k in range(3)]
    world.hold_coverage({**class_figures(probabilities, truth), ("calibration_error", ""): float(np.mean(one_by_one))})


# ---------------------------------------------------------------------------------------------- numbers

QUANTILES = {"error_p50": 0.5, "error_p90": 0.9, "error_p99": 0.99}


def errors(rng: np.random.Generator, n: int) -> FloatArray:
    return rng.normal(0.4, 2.0, n)


def number_figures(error: FloatArray) -> Figures:
    nothing = np.zeros_like(error)
    return {
        ("mae", ""): metrics.mean_absolute_error(nothing, error),
        ("rmse", ""): metrics.root_mean_squared_error(nothing, error),
        ("bias", ""): float(error.mean()),
    }


@pytest.fixture(scope="module")
def number(engine: LocalClickHouse) -> Iterator[tuple[World, FloatArray]]:
    rng = np.random.default_rng(5)
    chunks: list[FloatArray] = []

    def outputs(n: int) -> tuple[dict[str, Any], FloatArray]:
        truth = rng.normal(50.0, 12.0, n)
        chunks.append(truth + errors(rng, n))
        return {"score": chunks[0]}, truth

    def fill(client: Client) -> Truth:
        return generate(client, rng, 550, outputs, lambda y: y + 30.0, repr, "number")

    for world in scored(engine, LabelSpec(type="float", horizon_s=HORIZON_S), fill):
        yield world, chunks[0]


def test_metrics_of_numbers_equal_scikit_learn(number: tuple[World, FloatArray]) -> None:
    world, guesses = number
    error = guesses - world.truth.effective_labels
    compared = world.hold(lambda own: number_figures(error[own]), lambda _metric, _found: 1e-9)
    assert compared == 3 * (HOURS + len(DAYS))
    for length, number_, own in world.windows():
        sizes = np.abs(error[own])
        for name, rank in QUANTILES.items():
            # Between the order statistics next to the rank, from bins of one percent.
            low, high = (np.quantile(sizes, rank, method=method) for method in ("lower", "higher"))
            result = world.figures[name, "", length, number_]["value"]
            assert low * 0.99 <= result <= high * 1.01, (name, length, number_)
    world.hold_counts()
    world.hold_maturity()


def test_intervals_of_numbers_cover_the_truth(number: tuple[World, FloatArray]) -> None:
    world, _ = number
    error = errors(np.random.default_rng(6), MANY)
    quantiles = {(name, ""): float(np.quantile(np.abs(error), rank)) for name, rank in QUANTILES.items()}
    world.hold_coverage({**number_figures(error), **quantiles})
