"""`infer` compares score, class and label, and says what does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import LabelSpec
from barograph.contract.file import load_contract

from barograph_server.profiling.infer.infer import InferOptions, InferResult, infer_file
from barograph_server.profiling.infer.profile import Roles

N = 400
RNG = np.random.default_rng(5)
TRUTH = np.arange(N) % 4 == 0
SCORE = np.clip(np.where(TRUTH, 0.7, 0.3) + RNG.normal(0, 0.1, N), 0, 1)


def inferred(folder: Path, columns: dict[str, Any], **roles: str) -> InferResult:
    path = folder / "train.parquet"
    pq.write_table(pa.table({"x": RNG.normal(size=N), **columns}), path)
    return infer_file(InferOptions(table=path, model="m", version="1", roles=Roles(**roles)))  # type: ignore[arg-type]


def named(values: Any, true: Any, false: Any) -> list[Any]:
    return [true if value else false for value in values]


def reason(result: InferResult) -> str:
    (label,) = [decision for decision in result.decisions if decision.type == "label"]
    return label.reason


def about(result: InferResult, text: str) -> list[str]:
    return [warning for warning in result.warnings if text in warning]


FLAG = LabelSpec(type="bool", positive=True)


@pytest.mark.parametrize(
    ("true", "false", "spec", "why"),
    [
        (1, 0, FLAG, "1 and 0, read as true and false"),
        ("1", "0", FLAG, "1 and 0, read as true and false"),
        ("yes", "no", FLAG, "yes and no, read as true and false"),
        (True, False, FLAG, "true and false"),
        ("bad", "good", LabelSpec(type="bool", positive="bad", negative="good"), "because its mean score is higher"),
        (1, -1, LabelSpec(type="bool", positive="1", negative="-1"), "because its mean score is higher"),
        (2, 1, LabelSpec(type="category", positive="2"), "because its mean score is higher"),
    ],
)
def test_two_values_are_one_bool(tmp_path: Path, true: Any, false: Any, spec: LabelSpec, why: str) -> None:
    result = inferred(tmp_path, {"y": named(TRUTH, true, false), "p": SCORE}, label="y", score="p")
    assert result.contract.label == spec
    assert why in reason(result)
    assert not about(result, "label")


def test_classes_of_the_labels_values_fit(tmp_path: Path) -> None:
    for true, false in ((1, 0), (1.0, 0.0), ("1", "0"), (True, False), ("yes", "no")):
        columns = {"y": named(TRUTH, 1, 0), "c": named(SCORE > 0.5, true, false)}
        result = inferred(tmp_path, columns, label="y", class_="c")
        assert result.contract.label == LabelSpec(type="bool")
        assert not about(result, "undeclared_class")


@pytest.mark.parametrize("cut", [0.5, 0.65, 0.0371, 1.0])
def test_the_threshold_is_learned_from_the_class(tmp_path: Path, cut: float) -> None:
    score = np.concatenate((SCORE[2:], [cut, np.nextafter(cut, 0)]))
    # A rule overrides the score in some rows: the threshold fits the others, and the rows are named.
    for overridden in (0, 1):
        classes = named((score >= cut) ^ (np.arange(N) < overridden), 1, 0)
        result = inferred(tmp_path, {"y": TRUTH, "p": score, "c": classes}, label="y", class_="c", score="p")
        written = load_contract(result.write_contract(tmp_path, force=True).contract)
        assert written.label == LabelSpec(type="bool", positive=True, threshold=cut)
        assert ("threshold" in reason(result)) == (cut != 0.5 and not overridden)
        assert len(about(result, f"reproduces the class column c: at {cut:g}, 1 of 400 rows differ")) == overridden


def test_a_class_that_is_no_label_is_reported(tmp_path: Path) -> None:
    columns = {"y": named(TRUTH, 1, 0), "c": ["a", "b", "1", "0"] * (N // 4)}
    (warning,) = about(inferred(tmp_path, columns, label="y", class_="c"), "undeclared_class")
    assert warning == (
        "The class c has 'a', 'b' (200 rows), but the label y is true or false, 1 or 0, yes or no: these predictions "
        "would not be measured (undeclared_class). Use the same values in both columns."
    )


def test_classes_and_labels_are_one_set(tmp_path: Path) -> None:
    # pandas stores integers with nulls as floats.
    columns = {"y": pa.array([1.0, 2.0, 3.0, None] * (N // 4)), "c": [1, 2, 3, 4] * (N // 4)}
    result = inferred(tmp_path, columns, label="y", class_="c")
    assert result.contract.label == LabelSpec(type="category", classes=("1", "2", "3", "4"))
    (of_class,) = [each for each in result.baseline.fields if each.name == "class"]
    assert of_class.categories == ("1", "2", "3", "4")


def test_flags_beside_a_score_per_class_are_its_classes(tmp_path: Path) -> None:
    columns = {"y": named(TRUTH, 1, 0), "scores.no": 1 - SCORE, "scores.yes": SCORE}
    result = inferred(tmp_path, columns, label="y")
    assert result.contract.label == LabelSpec(type="category", classes=("no", "yes"))


def test_scores_and_labels_that_cannot_be_measured_are_reported(tmp_path: Path) -> None:
    truth = named(TRUTH, 1, 0)
    for score, remedy in (
        (100 * SCORE, "divide it by 100"),
        (20 * SCORE - 10, "convert it to the probability of the positive class"),
    ):
        result = inferred(tmp_path, {"y": truth, "p": score}, label="y", score="p")
        (warning,) = about(result, "The score p is between")
        assert "the label y has two values: a score outside [0, 1] is not measured (" in warning
        assert warning.endswith(f"In the table and in what you publish, {remedy}.")
    result = inferred(tmp_path, {"y": truth, "p": 1 - SCORE}, label="y", score="p")
    (warning,) = about(result, "is lower where the label is true")
    assert "If it is the probability of false, set label: positive in the contract to false." in warning
    for values, text in (([0] * N, "only the value '0'"), (pa.nulls(N, pa.int64()), "no value")):
        (warning,) = about(inferred(tmp_path, {"y": values}, label="y"), "AUC")
        assert warning.startswith(f"The label y has {text} in all rows")
    result = inferred(tmp_path, {"y": SCORE * 9, "c": named(TRUTH, "a", "b")}, label="y", class_="c")
    assert about(result, "is not measured") == ["The label y is a number, so the class c is not measured."]
    result = inferred(tmp_path, {"y": ["a", "b", "c", "d"] * (N // 4), "p": SCORE}, label="y", score="p")
    assert about(result, "name the columns of the probability of each class with --scores")


@pytest.mark.parametrize(
    ("texts", "example"),
    [
        ([f"{i / 8:.3f}" for i in range(N)], "'0.000'"),
        ([f"${i:,}.50" for i in range(900, 900 + N)], "'$900.50'"),
        ([f"{i % 70} kg" for i in range(N)], "'0 kg'"),
        ([f"{i},5" if i % 40 else "?" for i in range(N)], "'1,5'; the others: '?'"),
    ],
)
def test_numbers_as_text_are_not_categories(tmp_path: Path, texts: list[str], example: str) -> None:
    result = inferred(tmp_path, {"amount": texts})
    assert result.contract.ignored["amount"].startswith("numbers as text: ")
    assert result.contract.ignored["amount"].endswith(f"such as {example}")
    (warning,) = about(result, "numbers that are written as text: amount.")
    assert "convert them to numbers in this table and in what you publish" in warning


def test_codes_of_digits_stay_categories(tmp_path: Path) -> None:
    for name, texts in {
        "leading zeros": [f"0{i % 90 + 1000}" for i in range(N)],
        "postal codes": [f"{i % 90 + 10115}" for i in range(N)],
        "few grades": [f"{i % 12}" for i in range(N)],
        "seats": [f"{i % 60}A" for i in range(N)],
        "mixed": [f"{i % 30}" if i % 3 else f"k{i % 30}" for i in range(N)],
    }.items():
        result = inferred(tmp_path, {"code": texts})
        assert {field.name: field.type for field in result.contract.fields}["code"] == "category", name
