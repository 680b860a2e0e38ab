"""What candidates return becomes members of a prediction, or is wrong output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType, SimpleNamespace

import msgspec
import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no stubs here
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
        (np.float32(0.5), {"score": 0.5}),
        (np.int64(7), {"score": 7}),
        (np.array([0.5]), {"score": 0.5}),
        (np.array([[0.5]]), {"score": 0.5}),
        (np.array(0.5), {"score": 0.5}),
        ({"score": np.float64(0.5), "class_": np.bool_(True)}, {"score": 0.5, "class_": "true"}),
        (MappingProxyType({"class_": 1.0}), {"class_": "1"}),
        ({"class_": "late", "score": None}, {"class_": "late"}),
        ({"scores": {1: np.float32(0.5), "b": None}}, {"scores": {"1": 0.5, "b": None}}),
        (StructAnswer(0.5, "late"), {"score": 0.5, "class_": "late"}),
        (DataAnswer(None, {"tokens": 3}), {"metrics": {"tokens": 3}}),
        (SimpleNamespace(score=1), {"score": 1}),
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
        np.bool_(True),
        "0.5",
        "",
        1 + 2j,
        [0.5],
        (0.5,),
        np.array([]),
        np.array([0.1, 0.9]),
        pd.NA,
        pd.Timestamp("2026-01-01"),
        object(),
        {},
        {"score": None},
        {"score": "0.5"},
        {"score": [0.5]},
        {"score": 0.5, "class": "late"},
        {"score": 0.5, 3: 1},
        {"class_": ["late"]},
        {"class_": b"late"},
        {"scores": [0.1, 0.9]},
        {"scores": {"late": "0.5"}},
        {"metrics": {"tokens": True}},
        {"metrics": {str(i): i for i in range(MAX_MEMBERS + 1)}},
        SimpleNamespace(score=None),
    ):
        with pytest.raises(WrongOutput):
            read_answer(answer)
        assert call_candidate(lambda value: value, answer, lambda: 0).error == "shadow-wrong-output", answer


def test_every_exception_becomes_the_name_of_its_class() -> None:
    def candidate(error: BaseException) -> None:
        raise error

    for error in (ValueError("secret"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
        result = call_candidate(candidate, error, iter([1_000_000, 3_500_000]).__next__)
        assert result == ({}, type(error).__name__, 2.5)
