import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Arms, Contract, Field, LabelSpec, Slice, Window
from barograph.contract.file import load_contract

from barograph_server.batch.compare.compare import compare
from barograph_server.cli.infer import parse_arms
from barograph_server.profiling.infer import InferOptions, InferResult, OptionError, summarise
from barograph_server.profiling.infer.columns import TextColumn
from barograph_server.profiling.infer.files import escape_name
from barograph_server.profiling.infer.infer import infer_table
from barograph_server.profiling.infer.loss import MISSING
from barograph_server.profiling.infer.slices import SliceDimension
from barograph_server.profiling.infer.summarise import is_whole, mean_and_std, needs_doubles
from barograph_server.profiling.infer.tables import memory_table
from barograph_server.profiling.infer.training import infer, parse_window
from barograph_server.sketches.baseline.baseline import BaselineError, SliceValues, dump_baseline, load_baseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.fit import fit_problems
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.terminal import NAME_CHARS, shorten_name

LARGEST = float(np.finfo(np.float64).max)


def dimension(codes: list[int]) -> SliceDimension:
    values = SliceValues(name="d", source="features.d", values=("a", "b"), trained=True)
    return SliceDimension("d", values, np.array(codes, dtype=np.int16))


def texts(values: list[str | None]) -> TextColumn:
    known = list(dict.fromkeys(value for value in values if value is not None))
    codes = np.array([-1 if value is None else known.index(value) for value in values], dtype=np.int32)
    return TextColumn.from_codes(codes, known)


def test_moments_neither_overflow_nor_vanish() -> None:
    for values, mean, std in (
        ([], 0.0, 0.0),
        ([0.0, 0.0], 0.0, 0.0),
        ([0.1] * 7, 0.1, 0.0),
        ([1.0, 2.0, 3.0, 6.0], 3.0, 3.5**0.5),
        ([-LARGEST, LARGEST], 0.0, LARGEST),
        ([LARGEST, LARGEST], LARGEST, 0.0),
        ([5e-324, 5e-324], 5e-324, 0.0),
    ):
        assert mean_and_std(np.array(values)) == pytest.approx((mean, std), rel=1e-11)


def test_integers_must_be_exact_in_doubles() -> None:
    whole = ([1.0, 2.0], [-3.0])
    assert [is_whole(np.array(values)) for values in (*whole, [], [1.0, 2.5], [2.0**53])] == [True] * 2 + [False] * 3


def test_doubles_are_needed_if_32_bits_are_too_coarse() -> None:
    ten_minutes, years = np.linspace(1.7e9, 1.7e9 + 600, 1000), np.linspace(1.7e9, 1.8e9, 1000)
    assert [needs_doubles(values) for values in (ten_minutes, np.array([0.0, 1e39]))] == [True] * 2
    fine = (years, np.linspace(-1, 1, 1000), np.full(9, 0.1), np.empty(0))
    assert [needs_doubles(values) for values in fine] == [False] * 4


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_numbers_are_counted_per_slice_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(summarise, "CHUNK_ROWS", chunk)
    values, finite = np.array([1.0, 2.0, np.nan, np.inf, 2.0, 3.0]), np.array([1.0, 2.0, 2.0, 3.0])
    result = summarise.summarise_numbers("x", values, finite, [dimension([0, 0, 1, 0, 2, 2])], integer=True)
    field = result.baseline
    assert field.edges == (1.5, 2.5)
    assert result.cells.tolist() == [0, 1, 3, 4, 1, 2]
    assert {name: (counts.cells, counts.invalid) for name, counts in field.slices.items()} == {
        "all": ((1, 2, 1, 1), 1),
        "d=a": ((1, 1, 0, 0), 1),
        "d=b": ((0, 0, 0, 1), 0),
        "d=other": ((0, 1, 1, 0), 0),
    }
    assert (field.low, field.high, field.mean) == (1.0, 3.0, 2.0)


def test_categories_are_ordered_by_rows_then_name_and_the_rest_is_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summarise, "MAX_CATEGORIES", 3)
    column = texts(["z", "b", "b", "a", None, "c", "z", "d"])
    result = summarise.summarise_texts("t", column, [dimension([0, 0, 1, 1, 0, 2, 2, 0])])
    field = result.baseline
    assert field.categories == ("b", "z", "a")
    assert field.slices["all"].cells == (2, 2, 1, 2, 1)
    # Retained by one row: a, and z, which c would otherwise outrank.
    singletons = {name: counts.singletons for name, counts in field.slices.items()}
    assert singletons == {"all": 3, "d=a": 1, "d=b": 1, "d=other": 1}
    assert result.cells.tolist() == [1, 0, 0, 2, 4, 3, 1, 3]


@pytest.mark.parametrize("max_categories", [4, 20, 1000])
def test_expected_unseen_rows_are_those_unseen_in_others(monkeypatch: pytest.MonkeyPatch, max_categories: int) -> None:
    """Leave-one-out: check for each row whether the categories of the other rows contain its value."""
    monkeypatch.setattr(summarise, "MAX_CATEGORIES", max_categories)
    rng = np.random.default_rng(max_categories)
    column = [f"{value:02d}" for value in np.minimum(rng.zipf(1.5, 300), 60)]
    whole = summarise.summarise_texts("t", texts(list(column)), [dimension((np.arange(300) % 3).tolist())]).baseline
    unseen = np.zeros(300, dtype=bool)
    for row, value in enumerate(column):
        others = summarise.summarise_texts("t", texts([*column[:row], *column[row + 1 :]]), []).baseline
        unseen[row] = value not in others.categories
    slices = {"all": slice(None), "d=a": slice(0, None, 3), "d=b": slice(1, None, 3), "d=other": slice(2, None, 3)}
    for name, rows in slices.items():
        counts = whole.slices[name]
        assert counts.cells[-2] + counts.singletons == unseen[rows].sum(), name
    assert 0 < unseen.sum() < 300


N = 400
RNG = np.random.default_rng(5)
TRUTH = np.arange(N) % 4 == 0
SCORE = np.clip(np.where(TRUTH, 0.7, 0.3) + RNG.normal(0, 0.1, N), 0, 1)


def inferred(columns: dict[str, Any], **roles: Any) -> InferResult:
    return infer(pa.table({"x": RNG.normal(size=N), **columns}), model="m", version="1", **roles)


def test_columns_that_are_members_of_events_are_read_where_the_contract_in_force_reads_them() -> None:
    x, two = RNG.normal(size=N), ["a", "b"] * (N // 2)
    columns = {"metrics.tokens": x, "features.temp": x, "context.tier": two, "arm": two}
    table = memory_table("recorded", pa.table({**columns, "context.gone": pa.nulls(N, pa.string())}))
    contract = Contract(
        model="m",
        fields=(
            Field(name="t", type="float", source="features.temp", low=0.0, critical=True),
            Field(name="gone", type="category", source="context.gone"),
        ),
        slices=(Slice(name="level", source="context.tier", values=("b", "c")),),
        owners=("ops",),
    )
    result = infer_table(table, InferOptions(table=Path(), model="m", version="1", contract=contract))
    sources = {"tokens": "metrics.tokens", "t": "features.temp", "tier": "context.tier", "gone": "context.gone"}
    assert {field.name: field.source for field in result.contract.fields} == sources
    assert set(contract.fields) <= set(result.contract.fields)
    assert (result.contract.owners, result.contract.slices) == (("ops",), contract.slices)
    assert fit_problems(result.contract, result.baseline) == []
    baseline = {field.name: field for field in result.baseline.fields}
    assert baseline["t"].slices["all"].below == np.count_nonzero(x < 0)
    assert result.baseline.slice_rows == {"all": N, "level=b": N // 2, "level=c": 0, "level=other": N // 2}


def named(values: Any, true: Any, false: Any) -> list[Any]:
    return [true if value else false for value in values]


def reason(result: InferResult) -> str:
    (label,) = [decision for decision in result.decisions if decision.type == "label"]
    return label.reason


def about(result: InferResult, text: str) -> list[str]:
    return [warning for warning in result.warnings if text in warning]


FLAG = LabelSpec(type="bool", positive=True)


def test_two_values_are_one_bool() -> None:
    for true, false, spec, why in (
        (1, 0, FLAG, "1 and 0, read as true and false"),
        ("1", "0", FLAG, "1 and 0, read as true and false"),
        ("yes", "no", FLAG, "yes and no, read as true and false"),
        (True, False, FLAG, "true and false"),
        ("bad", "good", LabelSpec(type="bool", positive="bad", negative="good"), "because its mean score is higher"),
        (1, -1, LabelSpec(type="bool", positive="1", negative="-1"), "because its mean score is higher"),
        (2, 1, LabelSpec(type="category", positive="2"), "because its mean score is higher"),
    ):
        result = inferred({"y": named(TRUTH, true, false), "p": SCORE}, label="y", score="p")
        assert result.contract.label == spec
        assert why in reason(result)
        assert not about(result, "label")


def test_classes_of_the_labels_values_fit() -> None:
    for true, false in ((1, 0), (1.0, 0.0), ("1", "0"), (True, False), ("yes", "no")):
        columns = {"y": named(TRUTH, 1, 0), "c": named(SCORE > 0.5, true, false)}
        result = inferred(columns, label="y", class_="c")
        assert result.contract.label == LabelSpec(type="bool")
        assert not about(result, "undeclared_class")


@pytest.mark.parametrize("cut", [0.5, 0.65, 0.0371, 1.0])
def test_the_threshold_is_learned_from_the_class(tmp_path: Path, cut: float) -> None:
    score = np.concatenate((SCORE[2:], [cut, np.nextafter(cut, 0)]))
    # A rule overrides the score in some rows: the threshold fits the others, and the rows are named.
    for overridden in (0, 1):
        classes = named((score >= cut) ^ (np.arange(N) < overridden), 1, 0)
        result = inferred({"y": TRUTH, "p": score, "c": classes}, label="y", class_="c", score="p")
        written = load_contract(result.write_contract(tmp_path, force=True).contract)
        assert written.label == LabelSpec(type="bool", positive=True, threshold=cut)
        assert ("threshold" in reason(result)) == (cut != 0.5 and not overridden)
        assert len(about(result, f"reproduces the class column c: at {cut:g}, 1 of 400 rows differ")) == overridden


def test_a_class_that_is_no_label_is_reported() -> None:
    columns = {"y": named(TRUTH, 1, 0), "c": ["a", "b", "1", "0"] * (N // 4)}
    (warning,) = about(inferred(columns, label="y", class_="c"), "undeclared_class")
    assert warning == (
        "The class c has 'a', 'b' (200 rows), but the label y is true or false, 1 or 0, yes or no: these predictions "
        "would not be measured (undeclared_class). Use the same values in both columns."
    )


def test_classes_and_labels_are_one_set() -> None:
    # pandas stores integers with nulls as floats.
    columns = {"y": pa.array([1.0, 2.0, 3.0, None] * (N // 4)), "c": [1, 2, 3, 4] * (N // 4)}
    result = inferred(columns, label="y", class_="c")
    assert result.contract.label == LabelSpec(type="category", classes=("1", "2", "3", "4"))
    (of_class,) = [each for each in result.baseline.fields if each.name == "class"]
    assert of_class.categories == ("1", "2", "3", "4")


def test_flags_beside_a_score_per_class_are_its_classes() -> None:
    columns = {"y": named(TRUTH, 1, 0), "scores.no": 1 - SCORE, "scores.yes": SCORE}
    result = inferred(columns, label="y")
    assert result.contract.label == LabelSpec(type="category", classes=("no", "yes"))


def test_scores_and_labels_that_cannot_be_measured_are_reported() -> None:
    truth = named(TRUTH, 1, 0)
    for score, remedy in (
        (100 * SCORE, "divide it by 100"),
        (20 * SCORE - 10, "convert it to the probability of the positive class"),
    ):
        result = inferred({"y": truth, "p": score}, label="y", score="p")
        (warning,) = about(result, "The score p is between")
        assert "the label y has two values: a score outside [0, 1] is not measured (" in warning
        assert warning.endswith(f"In the table and in what you publish, {remedy}.")
    result = inferred({"y": truth, "p": 1 - SCORE}, label="y", score="p")
    (warning,) = about(result, "is lower where the label is true")
    assert "If it is the probability of false, set label: positive in the contract to false." in warning
    for values, text in (([0] * N, "only the value '0'"), (pa.nulls(N, pa.int64()), "no value")):
        (warning,) = about(inferred({"y": values}, label="y"), "AUC")
        assert warning.startswith(f"The label y has {text} in all rows")
    result = inferred({"y": SCORE * 9, "c": named(TRUTH, "a", "b")}, label="y", class_="c")
    assert about(result, "is not measured") == ["The label y is a number, so the class c is not measured."]
    result = inferred({"y": ["a", "b", "c", "d"] * (N // 4), "p": SCORE}, label="y", score="p")
    assert about(result, "name the columns of the probability of each class with --scores")


def test_numbers_as_text_are_not_categories() -> None:
    for texts, example in (
        ([f"{i / 8:.3f}" for i in range(N)], "'0.000'"),
        ([f"${i:,}.50" for i in range(900, 900 + N)], "'$900.50'"),
        ([f"{i % 70} kg" for i in range(N)], "'0 kg'"),
        ([f"{i},5" if i % 40 else "?" for i in range(N)], "'1,5'; the others: '?'"),
    ):
        result = inferred({"amount": texts})
        assert result.contract.ignored["amount"].startswith("numbers as text: ")
        assert result.contract.ignored["amount"].endswith(f"such as {example}")
        (warning,) = about(result, "numbers that are written as text: amount.")
        assert "convert them to numbers in this table and in what you publish" in warning


def test_codes_of_digits_stay_categories() -> None:
    for name, texts in {
        "leading zeros": [f"0{i % 90 + 1000}" for i in range(N)],
        "postal codes": [f"{i % 90 + 10115}" for i in range(N)],
        "few grades": [f"{i % 12}" for i in range(N)],
        "seats": [f"{i % 60}A" for i in range(N)],
        "mixed": [f"{i % 30}" if i % 3 else f"k{i % 30}" for i in range(N)],
    }.items():
        result = inferred({"code": texts})
        assert {field.name: field.type for field in result.contract.fields}["code"] == "category", name


RNG_CRITICAL = np.random.default_rng(8)
A, B, C = RNG_CRITICAL.normal(size=(3, 4000))
TABLE = {"a": A, "b": B, "c": C, "many": [f"v{i % 900}" for i in range(4000)], "scores.x": A, "scores.y": -A}
TABLE |= {"p": 3 * A**2 + 2 * B + RNG_CRITICAL.normal(size=4000), "kind": np.where(A > 0.5, "x", "y")}


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
    assert reason in result.write_contract(tmp_path).contract.read_text().splitlines()[2]
    assert not infer(train, model="m", version="1", critical=["c"], **roles).critical_reasons


SHARES = {"a": 0.75, "b": 0.25}


def test_arms_become_a_slice_that_is_compared_with_all() -> None:
    arms = Arms(shares=SHARES, unit="context.user")
    result = inferred({"p": SCORE}, score="p", arms=arms)
    assert result.contract.arms == arms
    assert result.contract.slices == (Slice(name="arm", source="arm", values=("a", "b"), sketches=("score",)),)
    assert result.baseline.dimensions == (SliceValues(name="arm", source="arm", values=("a", "b"), trained=False),)
    assert fit_problems(result.contract, result.baseline) == []
    layout = Layout(result.baseline)
    assert layout.slices == ("all", "arm=a", "arm=b", "arm=other")
    bins = PsiBins(layout)
    per_slice = {layout.slices[s]: bins.base_bins[bins.starts[g]] for g, s in enumerate(bins.slice_index)}
    assert per_slice["arm=a"] == per_slice["all"]


def test_wrong_arms_are_rejected() -> None:
    assert parse_arms(["a=0.75", "b=0.25"], None) == Arms(shares=SHARES)
    assert parse_arms([], None) is None
    for texts, unit in ((["a"], None), (["=0.5"], None), (["a=half"], None), ([], "context.user")):
        with pytest.raises(OptionError):
            parse_arms(texts, unit)
    with pytest.raises(OptionError, match=r"the shares sum to 0\.9; write shares that sum to 1"):
        inferred({}, arms=Arms(shares={"a": 0.5, "b": 0.4}))


def rows(seed: int, share: float, n: int = 6_000) -> pa.Table:
    """Predictions that do not depend on `road`, whose errors are three times as large on ice."""
    rng = np.random.default_rng(seed)
    ice = rng.random(n) < share
    p, noise, speed = rng.normal(100, 10, n), rng.normal(size=n), rng.exponential(size=n)
    error = noise * np.where(ice, 3.0, 1.0) * (1 + speed)
    at = pa.array(1_767_571_200_000 + np.arange(n) * 240_000).cast(pa.timestamp("ms"))
    return pa.table({"at": at, "road": np.where(ice, "ice", "dry"), "speed": speed, "p": p, "y": p - error})


def test_an_estimate_follows_features_while_predictions_stay() -> None:
    later = rows(2, 0.6)
    errors = later["p"].to_numpy() - later["y"].to_numpy()
    # The trees know rows of training; that must not make rows like them look better.
    for seed, share, truth in ((2, 0.6, np.abs(errors).mean()), (3, 0.1, None)):
        table = rows(seed, share).drop_columns("y")
        report = compare(rows(1, 0.1), table, score="p", label="y", multivariate=False)
        mae, rmse = (next(each for each in report.performance if each.metric == name) for name in ("mae", "rmse"))
        assert mae.estimate == pytest.approx(truth or mae.training, rel=0.08)
        assert np.isnan([mae.estimate_low, rmse.estimate_high]).all()
        assert (mae.estimate > 1.5 * mae.training) == (truth is not None)
        if truth:
            assert rmse.estimate == pytest.approx(np.sqrt((errors**2).mean()), rel=0.08)
    page = compare(rows(1, 0.1), later, time="at", score="p", label="y", by="week", multivariate=False).to_html()
    assert "nan" not in page


def test_a_baseline_has_valid_trees_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    result = infer(rows(1, 0.1), model="m", version="1", score="p", label="y")
    trees = result.baseline.loss
    assert trees is not None
    assert {each.source for each in trees.features} >= {"features.road", "features.speed"}
    assert "errors are estimated from" in next(each.reason for each in result.decisions if each.type == "label")
    assert load_baseline(dump_baseline(result.baseline), "b") == result.baseline
    inner = next(i for i, split in enumerate(trees.split) if split >= 0)
    for right in (0, inner, inner + 1, len(trees.split)):
        wrong = msgspec.structs.replace(trees, right=(*trees.right[:inner], right, *trees.right[inner + 1 :]))
        with pytest.raises(BaselineError, match="does not exist"):
            dump_baseline(msgspec.structs.replace(result.baseline, loss=wrong))
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    without = infer(rows(1, 0.1), model="m", version="1", score="p", label="y")
    assert without.baseline.loss is None
    assert MISSING in without.warnings


def test_a_window_has_a_length_and_a_hop() -> None:
    assert parse_window("90s:30s") == Window(90, 30)
    assert parse_window("last=500:14d:6h") == Window(14 * 86_400, 6 * 3600, last=500)


def test_names_are_escaped_in_file_names_and_stay_distinct() -> None:
    for name, part in (
        ("flight-delay", "flight-delay"),
        ("1.2.0", "1.2.0"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("модель", "модель"),
        ('q"<>|:*?\\', "q%22%3C%3E%7C%3A%2A%3F%5C"),
        ("a\u200bb", "a%E2%80%8Bb"),
    ):
        assert escape_name(name) == part
    first = f"{escape_name('a', dots=False)}.{escape_name('b.c')}"
    assert first != f"{escape_name('a.b', dots=False)}.{escape_name('c')}"
    parts = [escape_name(name) for name in ("日" * 200, "日" * 199 + "本", "日" * 199, "x" * 200, "x" * 199)]
    assert len(set(parts)) == len(parts)
    assert max(len(part.encode()) for part in parts) <= 110
    assert len(shorten_name("x" * 300)) == NAME_CHARS
    assert shorten_name("a\nb") == "a\\nb"
