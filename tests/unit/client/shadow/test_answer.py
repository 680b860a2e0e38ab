"""What candidates return becomes members of a prediction, or is wrong output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from barograph.events import MAX_MEMBERS
from barograph.shadow.answer import WrongOutput, call_candidate, read_answer


class StructAnswer(msgspec.Struct):
    score: float
    class_: str
    note: str = "ignored"


@dataclass
class DataAnswer:
    score: float | None
    metrics: dict[str, float]


def test_numbers_mappings_and_structs_are_answers() -> None:
    for answer, members in (
        (0.5, {"score": 0.5}),
        (3, {"score": 3}),
        (math.inf, {"score": math.inf}),
        (Decimal("0.25"), {"score": 0.25}),
        (np.int64(7), {"score": 7}),
        (np.array([0.5]), {"score": 0.5}),
        ({"score": np.float64(0.5), "class_": np.bool_(True)}, {"score": 0.5, "class_": "true"}),
        ({"class_": "late", "score": None}, {"class_": "late"}),
        ({"scores": {1: np.float32(0.5), "b": None}}, {"scores": {"1": 0.5, "b": None}}),
        (StructAnswer(0.5, "late"), {"score": 0.5, "class_": "late"}),
        (DataAnswer(None, {"tokens": 3}), {"metrics": {"tokens": 3}}),
    ):
        read = read_answer(answer)
        assert read == members, answer
        assert {type(value) for value in read.values()} <= {int, float, str, dict}, answer
    assert math.isnan(read_answer(math.nan)["score"])
    assert math.isnan(read_answer(np.array([math.nan]))["score"])


def test_other_shapes_and_types_are_wrong_output() -> None:
    for answer in (
        None,
        True,
        "0.5",
        "",
        [0.5],
        np.array([0.1, 0.9]),
        object(),
        {},
        {"score": None},
        {"score": 0.5, "other": 1},
        {"score": "0.5"},
        {"class_": ["late"]},
        {"scores": [0.1, 0.9]},
        {"scores": {"late": "0.5"}},
        {"metrics": {"tokens": True}},
        {"metrics": {str(i): i for i in range(MAX_MEMBERS + 1)}},
        SimpleNamespace(score=None),
    ):
        with pytest.raises(WrongOutput):
            read_answer(answer)
        assert call_candidate(lambda value: value, answer, lambda: 0).error == "shadow-wrong-output", answer
