"""Comparisons of versions that return a probability per class, or a number, equal figures of numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from barograph.contract import Contract, Field, Window
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from sketches.baseline.baseline import Baseline, FieldBaseline
from tests.support.comparison_builder import MergedEvents, Row, one
from tests.support.outputs import class_field, numeric_field

START_S = 1_789_992_000
END_S = START_S + 3 * 3600
N = 3_000
CLASSES = ("bird", "cat", "dog")
FloatArray = NDArray[np.float64]


def contract(*fields: Field) -> Contract:
    return Contract(model="m", pane_s=3600, windows=(Window(3 * 3600, 3600),), fields=fields)


def baseline(version: str, *fields: FieldBaseline) -> Baseline:
    return Baseline(model="m", version=version, rows=N, slice_rows={"all": N}, dimensions=(), fields=fields)


def events(version: str, answers: list[Row]) -> list[Row]:
    step_ms = 3 * 3_600_000 // len(answers)
    return [
        {"model": "m", "version": version, "id": f"{version}-{i}", "at": START_S * 1000 + i * step_ms, **answer}
        for i, answer in enumerate(answers)
    ]


def check_mean(row: Row, left: FloatArray, right: FloatArray) -> None:
    reference = ttest_ind(right, left, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert (row["n_left"], row["n_right"]) == (len(left), len(right))
    assert (row["left_value"], row["right_value"]) == pytest.approx((left.mean(), right.mean()), rel=1e-9)
    assert row["p_value"] == pytest.approx(reference.pvalue, rel=1e-5)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((interval.low, interval.high), rel=1e-5)


def test_scores_and_confidence_of_many_classes() -> None:
    rng = np.random.default_rng(3)
    scores = {"1": rng.dirichlet([2.0, 2.0, 2.0], N), "2": rng.dirichlet([2.0, 2.0, 4.0], N)}
    # A tenth of the second version's answers lack the score of `bird`: their confidence is the largest of the others.
    scores["2"][: N // 10, 0] = np.nan
    sent = []
    for version, of_version in scores.items():
        answers = []
        for row in of_version.tolist():
            known = {name: score for name, score in zip(CLASSES, row, strict=True) if score == score}
            answers.append({"scores": known, "class": CLASSES[int(np.nanargmax(row))]})
        sent += events(version, answers)
    edges = np.linspace(0.1, 0.9, 9)
    trained = [numeric_field(f"scores.{name}", scores["1"][:, i], edges) for i, name in enumerate(CLASSES)]
    trained.append(numeric_field("confidence", scores["1"].max(axis=1), edges))
    classes = class_field("class", CLASSES, scores["1"].argmax(axis=1))
    fields = [Field(name=field.name, type="float", source=field.name) for field in trained]
    fields.append(Field(name="class", type="category", source="class"))
    rows = MergedEvents(
        contract(*fields), [baseline("1", *trained, classes), baseline("2", *trained, classes)], sent
    ).compare([END_S])

    for i, name in enumerate(CLASSES):
        left, right = (of_version[:, i] for of_version in scores.values())
        check_mean(one(rows, field=f"scores.{name}", measure="mean"), left, right[~np.isnan(right)])
        nulls = one(rows, field=f"scores.{name}", measure="null_rate")
        assert nulls["right_value"] == pytest.approx(np.isnan(right).mean())
        # An event without the score counts in the last bin, `null`.
        assert one(rows, field=f"scores.{name}", measure="psi")["n_right"] == N
        share = one(rows, field="class", measure="share", category=name)
        largest = [np.nanargmax(of_version, axis=1) for of_version in scores.values()]
        assert (share["left_value"], share["right_value"]) == pytest.approx([(at == i).mean() for at in largest])
    check_mean(
        one(rows, field="confidence", measure="mean"),
        *(np.nanmax(of_version, axis=1) for of_version in scores.values()),
    )
    assert one(rows, field="scores.dog", measure="psi")["level"] == "major"
    assert one(rows, field="scores.bird", measure="null_rate")["level"] == "major"


def test_numeric_answers() -> None:
    """Minutes of delay: integers far from 0, without a class."""
    rng = np.random.default_rng(5)
    delays = {"1": rng.normal(1_000.0, 20.0, N).round(), "2": rng.normal(1_005.0, 25.0, N).round()}
    trained = numeric_field("score", delays["1"], integer=True)
    sent = []
    for version, of_version in delays.items():
        sent += events(version, [{"score": int(value)} for value in of_version])
    baselines = [baseline(version, trained) for version in "12"]
    score = Field(name="score", type="int", source="score")
    rows = MergedEvents(contract(score), baselines, sent).compare([END_S])
    check_mean(one(rows, field="score", measure="mean"), *delays.values())
    median = one(rows, field="score", measure="p50")
    assert median["difference_low"] <= 5.0 <= median["difference_high"]
    edges = np.array(trained.edges)
    b, c = (
        np.bincount(np.searchsorted(edges, of_version, side="right"), minlength=10) + 0.5
        for of_version in delays.values()
    )
    p, q = b / b.sum(), c / c.sum()
    psi = one(rows, field="score", measure="psi")
    # The empty bin of nulls adds nothing.
    assert psi["difference"] == pytest.approx(float(((q - p) * np.log(q / p)).sum()), rel=1e-9)
    assert {(row["field"], row["measure"]) for row in rows} == {
        ("events", "error_rate"),
        *(("score", measure) for measure in ("psi", "null_rate", "mean", "p50", "p99")),
    }
