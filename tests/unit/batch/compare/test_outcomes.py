"""Labels and classes in `compare` have the forms that the scorer reads."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, LabelSpec
from scipy.special import softmax

from barograph_server.batch.compare.outcomes import OutcomeCounts
from barograph_server.batch.compare.performance import compare_performance
from barograph_server.streams.registry.registry import build_registry
from barograph_server.streams.scorer.rules import make_rules


@pytest.mark.parametrize(
    ("label", "truth", "classes"),
    [
        (LabelSpec(type="bool", positive=True), [1, 0, 1, 0], ["yes", "no", "0", "1.0"]),
        (LabelSpec(type="bool", positive="bad", negative="good"), ["bad", "good", "bad", "good"], [1, 0, 0, 1]),
        (
            LabelSpec(type="bool", positive="bad", negative="good"),
            [True, False, True, False],
            ["bad", "no", "good", "t"],
        ),
        (LabelSpec(type="category", positive="1"), ["yes", "x", "1.0", "2"], ["1", "0", "z", "true"]),
    ],
)
def test_forms_of_labels_and_classes(label: LabelSpec, truth: list[object], classes: list[object]) -> None:
    contract = Contract(model="m", label=label)
    counts = OutcomeCounts(make_rules(contract, build_registry([(contract, 0)], [])), 1)
    counts.add(np.zeros(4, np.int64), {"label": pa.array(truth), "class": pa.array(classes)})
    assert counts.counts().confusion.tolist() == [[1.0, 1.0, 1.0, 1.0]]


@pytest.mark.parametrize("kind", ["classes", "number"])
def test_periods_without_labels_have_estimates(kind: str) -> None:
    """The traffic shifts: the estimate follows it, and training does not."""
    rng = np.random.default_rng(1)
    label = LabelSpec(type="category", classes=("a", "b", "c")) if kind == "classes" else LabelSpec(type="float")
    contract = Contract(model="m", label=label)
    rules = make_rules(contract, build_registry([(contract, 0)], []))

    def counted(shift: float, *, has_labels: bool) -> tuple[OutcomeCounts, float]:
        n, columns = 20_000, {}
        if kind == "classes":
            probability = softmax(rng.normal(0.0, 1.0 + shift, (n, 3)), axis=-1)
            true = (rng.random(n)[:, None] > probability.cumsum(axis=-1)).sum(axis=-1).clip(0, 2)
            columns = {f"scores.{name}": pa.array(probability[:, k]) for k, name in enumerate(label.classes)}
            columns["label"] = pa.array([label.classes[k] for k in true])
            value = float(np.mean(probability.argmax(axis=-1) == true))
        else:
            score = rng.lognormal(0.3 * shift, 0.5, n)
            error = rng.normal(0.0, 0.1 * score)
            columns = {"score": pa.array(score), "label": pa.array(score - error)}
            value = float(np.abs(error).mean())
        counts = OutcomeCounts(rules, 1)
        counts.add(np.zeros(n, np.int64), columns if has_labels else {k: v for k, v in columns.items() if k != "label"})
        return counts, value

    training, usual = counted(0.0, has_labels=True)
    production, value = counted(1.0, has_labels=False)
    rows = compare_performance(contract, rules, ["today"], training.counts(), production.counts())
    [line] = [row for row in rows if (row.metric, row.class_name) == ("accuracy" if kind == "classes" else "mae", "")]
    assert line.n == 0
    assert line.estimate == pytest.approx(value, rel=0.03)
    if kind == "classes":
        assert line.estimate_low < line.estimate < line.estimate_high
    assert abs(value - usual) > 0.15 * usual


def test_an_estimate_that_misses_its_own_reference_is_refused() -> None:
    """The classes c and d have so few right or wrong rows that they share a map, although c is rarely right."""
    contract = Contract(model="m", label=LabelSpec(type="category", classes=("a", "b", "c", "d")))
    rules = make_rules(contract, build_registry([(contract, 0)], []))
    right = {"a": (1200, 2000), "b": (1200, 2000), "c": (10, 400), "d": (3981, 4000)}
    predicted = np.repeat(list(right), [n for _, n in right.values()])
    truth = np.concatenate([np.repeat([k, "b" if k == "a" else "a"], [r, n - r]) for k, (r, n) in right.items()])
    columns = {f"scores.{k}": pa.array(np.where(predicted == k, 0.7, 0.1)) for k in right} | {"label": pa.array(truth)}
    (counts := OutcomeCounts(rules, 1)).add(np.zeros(len(truth), np.int64), columns)
    rows = compare_performance(contract, rules, ["today"], counts.counts(), counts.counts())
    reasons = {row.metric: row.estimate_reason for row in rows if not row.class_name}
    assert (reasons["precision_macro"], reasons["accuracy"]) == ("misses the reference", "")
    for row in rows:
        assert np.isnan(row.estimate) or row.estimate_low <= row.value <= row.estimate_high, row.metric
