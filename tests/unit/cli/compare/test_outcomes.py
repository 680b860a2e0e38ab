"""Labels and classes in `compare` have the forms that the scorer reads."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, LabelSpec

from cli.compare.outcomes import OutcomeCounts
from streams.registry.registry import build_registry
from streams.scorer.rules import make_rules


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
