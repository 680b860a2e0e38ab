"""Critical fields by their importance for the outputs, with the reason and what pages."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from barograph_server.profiling.infer.training import infer

RNG = np.random.default_rng(8)
A, B, C = RNG.normal(size=(3, 4000))
TABLE = {"a": A, "b": B, "c": C, "many": [f"v{i % 900}" for i in range(4000)], "scores.x": A, "scores.y": -A}
TABLE |= {"p": 3 * A**2 + 2 * B + RNG.normal(size=4000), "kind": np.where(A > 0.5, "x", "y")}


@pytest.mark.parametrize(
    ("columns", "roles", "critical", "reason"),
    [
        ("a b c many p", {"score": "p"}, ["a", "b"], "of the variance of the score on the training rows that each"),
        ("a b c kind", {"class_": "kind"}, ["a"], "of the variance of the class on"),
        ("a b c scores.x scores.y", {}, ["a"], "of the variance of the class probabilities on"),
        ("b c kind", {"class_": "kind"}, [], "none explains 10% of the variance of the class on"),
        ("a b c", {}, [], "Name it with --score, --scores or --class, or the fields with --critical."),
    ],
)
def test_fields_that_explain_the_outputs_are_critical(
    columns: str, roles: dict[str, Any], critical: list[str], reason: str, tmp_path: Path
) -> None:
    train = pa.table({name: TABLE[name] for name in columns.split()})
    result = infer(train, model="m", version="1", **roles)
    assert [field.name for field in result.contract.fields if field.critical] == critical
    assert [each.field for each in result.decisions if "; critical: explains" in each.reason] == critical
    text = result.write_contract(tmp_path).contract.read_text()
    assert reason in text.splitlines()[2]
    assert not infer(train, model="m", version="1", critical=["c"], **roles).critical_reasons
