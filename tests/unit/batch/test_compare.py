import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from barograph.contract import Columns, Contract, LabelSpec
from barograph.contract.file import load_contract
from scipy.special import softmax

from barograph_server import CompareError, CompareReport, InferError, compare, infer
from barograph_server.batch.compare import summaries
from barograph_server.batch.compare.outcomes import OutcomeCounts
from barograph_server.batch.compare.performance import compare_performance
from barograph_server.batch.compare.periods import make_periods
from barograph_server.batch.compare.wording import moved_bin
from barograph_server.cli.compare import show_report
from barograph_server.errors import EXIT_UNJUDGED, EXIT_UNREADABLE, EXIT_VIOLATIONS
from barograph_server.sketches.baseline.baseline import load_baseline
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.scorer.rules import make_rules
from barograph_server.terminal import Terminal
from tests.support import command_line, odd_tables
from tests.support.html import Page
from tests.support.table_files import write_table

ROWS = 4_000
DAY_MS = 86_400_000
MONDAY_MS = 1_735_516_800_000
"""Monday, 30 December 2024."""
CITIES = ("Berlin", "Oslo", "Paris")
run = partial(command_line.run, "compare")


def table(seed: int, **changes: Any) -> pa.Table:
    """Rows of a binary model in order of time; `changes` replaces columns, None removes one."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=ROWS)
    score = 1 / (1 + np.exp(-logit))
    columns: dict[str, Any] = {
        "rid": pa.array([f"r{i}" for i in range(ROWS)]),
        "at": pa.array(MONDAY_MS + np.arange(ROWS) * 28 * DAY_MS // ROWS, pa.timestamp("ms", "UTC")),
        "speed": pa.array(rng.gamma(9, 8, ROWS)),
        "age": pa.array(rng.integers(18, 90, ROWS)),
        "city": pa.array(np.array(CITIES)[rng.integers(0, 3, ROWS)]),
        "p": pa.array(score),
        "bought": pa.array(rng.random(ROWS) < score),
    } | changes
    return pa.table({name: column for name, column in columns.items() if column is not None})


ROLES: dict[str, Any] = {"time": "at", "score": "p", "label": "bought", "id": "rid"}


def report(production: Any, **options: Any) -> CompareReport:
    return compare(table(1), production, **{**ROLES, "multivariate": False, **options})


def hints(result: CompareReport) -> dict[str, tuple[str, str]]:
    return {hint.field: (hint.kind, hint.text) for hint in result.hints}


def test_a_shift_in_one_week_is_reported_in_that_week() -> None:
    same = report(table(2))
    assert same.grain == "week"
    assert [period.label for period in same.periods] == ["2024-12-30", "2025-01-06", "2025-01-13", "2025-01-20"]
    assert sum(same.events) == ROWS
    assert {line.level for line in same.fields} == {"stable"}
    assert same.hints == ()
    assert not same.fails_at("minor")
    speed = table(2)["speed"].to_numpy().copy()
    speed[ROWS // 2 : ROWS * 3 // 4] += 60
    result = report(table(2, speed=pa.array(speed)))
    line = next(line for line in result.fields if line.name == "speed")
    assert [row["level"] for row in line.drift] == ["stable", "stable", "major", "stable"]
    assert result.fields[0] is line
    assert (result.level, result.cause) == ("major", "PSI of speed in 2025-01-13")
    assert line.shares is not None
    assert line.shares.period == "2025-01-13"
    flag, city = np.arange(ROWS) % 4 == 0, np.where(np.arange(ROWS) % 2, "Oslo", "Rome")
    before, after = (table(2).append_column("paid", pa.array(values)) for values in (flag, ~flag))
    after = after.set_column(4, "city", pa.array(city))[ROWS // 8 :]
    moved = {each.name: each for each in compare(before, after, **ROLES, multivariate=False).fields}
    assert moved_bin(moved["paid"]).partition(":")[0] in ("true", "false")
    assert moved["paid"].shares is not None
    assert {"true", "false"} <= {*moved["paid"].shares.labels}
    assert moved_bin(moved["city"]) == "other (new: “Rome”): 0% → 50.0%"
    partly = report(table(2)[: ROWS // 8])
    assert {moved_bin(each) for each in partly.fields} == {"insufficient: too few events"}
    assert "insufficient (too few events), PSI" in partly.to_html()
    assert sum(line.shares.production) == pytest.approx(1)
    assert result.fails_at("major")


def test_fields_are_ordered_by_the_attention_that_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    same = report(table(2))
    levels = dict(zip(("age", "city", "score", "speed"), ("stable", "insufficient", "major", "minor"), strict=True))
    changed = [replace(line, worst=(line.worst or {}) | {"level": levels[line.name]}) for line in same.fields]
    ordered = replace(same, fields=tuple(sorted(changed, key=summaries._order)))
    assert [line.name for line in ordered.fields] == ["score", "speed", "city", "age"]
    show_report(Terminal(), ordered)
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[2:6]] == ["score", "speed", "city", "age"]
    assert "4 fields, drift: 1 major, 1 minor, 1 insufficient, 1 stable; rates: 0 major, 0 minor." in out
    assert f"{ordered}".splitlines() == [out.splitlines()[0], out.splitlines()[-1]]
    assert repr(ordered) == f"<CompareReport: {out.splitlines()[-1]}>"


def test_a_psi_above_its_interval_is_explained_only_where_it_occurs(capsys: pytest.CaptureFixture[str]) -> None:
    same = report(table(2))
    line = same.fields[0]
    assert line.worst is not None
    above = replace(same, fields=(replace(line, worst=line.worst | {"psi": 0.3, "psi_high": 0.2}), *same.fields[1:]))
    note = "A PSI above its interval contains the noise of too few rows; judge the change by the interval."
    for shown, is_noted in ((same, False), (above, True)):
        show_report(Terminal(), shown)
        assert (note in " ".join(capsys.readouterr().out.split())) is is_noted
        assert (note in shown.to_html()) is is_noted


def test_a_rate_as_the_cause_is_named_as_text() -> None:
    same = report(table(2))
    line = next(each for each in same.fields if each.name == "speed")
    rate = {"kind": "below", "level": "major", "period": "2025-01-06", "baseline_rate": 0.0, "rate": 0.2}
    result = replace(same, fields=(replace(line, worst_rate=rate),))
    assert result.cause == "values below the range of speed in 2025-01-06"
    counts = "1 field, drift: 0 major, 0 minor, 0 insufficient, 1 stable; rates: 1 major, 0 minor. Worst level: major"
    assert counts in str(result)
    assert "values below the range 0% → 20.0%" in result.to_html()


def test_other_units_types_spelling_and_missing_columns_are_named() -> None:
    served = table(2)
    result = report(
        served.drop_columns(["age"])
        .set_column(2, "speed", pa.array(served["speed"].to_numpy() * 1.609344))
        .set_column(served.column_names.index("city") - 1, "city", pa.array(["  oslo"] * ROWS))
    )
    assert hints(result)["speed"] == ("units", "production looks like training × 1.609344 (miles → kilometres)")
    assert hints(result)["city"][0] == "spelling"
    assert "“  oslo” for “Oslo”" in hints(result)["city"][1]
    assert hints(result)["age"] == ("missing", "the production table has no column age: counted as null")
    # A delay has no speed, in whatever way it spread.
    for name, is_named in (("gust", True), ("arrivalDelay", False)):
        before, after = (table(seed).append_column(name, table(seed)["speed"]) for seed in (1, 2))
        i = after.column_names.index(name)
        after = after.set_column(i, name, pa.array(after[name].to_numpy() / (1.852 / 3.6)))
        assert (name in hints(compare(before, after, **ROLES, multivariate=False))) == is_named
    texts = report(table(2, speed=pa.array([str(value) for value in served["speed"].to_pylist()])))
    assert hints(texts)["speed"][0] == "type"
    assert "double in training, string in production: numbers written as text" in hints(texts)["speed"][1]


def test_performance_is_measured_and_estimated() -> None:
    rng = np.random.default_rng(3)
    labels = table(2)["bought"].to_pylist()
    flipped = [bool(rng.random() < 0.5) if i >= ROWS * 3 // 4 else labels[i] for i in range(ROWS)]
    result = report(table(2, bought=pa.array(flipped)))
    auc = {metric.period: metric for metric in result.performance if metric.metric == "auc"}
    assert [metric.level for metric in auc.values()][-1] == "major"
    assert auc["2025-01-20"].value == pytest.approx(0.5, abs=0.06)
    accuracy = next(each for each in result.performance if each.metric == "accuracy")
    cause = rf"accuracy 0\.\d+ instead of {accuracy.training:.3f} in 2025-01-20"
    assert re.fullmatch(cause, result.cause.partition(";")[0])
    early = report(table(2, at=pa.array(table(2)["at"].to_numpy() - np.timedelta64(4, "D"))))
    assert [(each.label, each.is_whole) for each in early.periods][-1] == ("2025-01-20", False)
    assert "auc in 2025-01-13" in early.to_html()
    # Scores alone cannot show that labels lost their relation to them.
    assert auc["2025-01-20"].estimate == pytest.approx(auc["2025-01-20"].training, abs=0.03)
    micro = [replace(each, metric="f1_micro") for each in result.performance if each.metric == "accuracy"]
    page = replace(result, performance=(*result.performance, *micro)).to_html()
    assert (page.count("<figcaption>accuracy = f1_micro<"), page.count("<figcaption>f1_micro<")) == (1, 0)
    unlabelled = report(table(2, bought=None))
    estimates = [metric.estimate for metric in unlabelled.performance if metric.metric == "auc"]
    assert len(estimates) == 4
    assert all(np.isfinite(estimates))
    assert "the production table has no column bought: performance is only estimated." in unlabelled.notes


def test_recall_is_estimated_at_the_cut_of_the_class() -> None:
    """The class column cuts drifting scores at 0.65; with another threshold in the contract estimates are refused."""
    rng = np.random.default_rng(4)
    logits = rng.normal(0.0, 1.5, ROWS), rng.normal(np.linspace(0.0, 1.5, ROWS), 1.5)
    scored = [(1 / (1 + np.exp(-x)), rng.random(ROWS) < 1 / (1 + np.exp(0.2 - 0.8 * x))) for x in logits]
    tables, roles = [table(1, p=p, bought=y, c=p >= 0.65) for p, y in scored], {**ROLES, "class_": "c"}
    result = compare(*tables, **roles, multivariate=False)
    recall = [m for m in result.performance if m.metric == "recall"]
    assert [m.estimate_low <= m.value <= m.estimate_high for m in recall] == [True] * 4
    wrong = msgspec.structs.replace(result.contract, label=LabelSpec(type="bool", positive=True))
    result = compare(*tables, **roles, multivariate=False, contract=wrong)
    refused = {each.metric for each in result.performance if each.estimate_reason and np.isnan(each.estimate)}
    assert refused == {"accuracy", "precision", "recall", "f1"}
    assert any("0.5, but the class of the training table is the score at or above 0.65" in n for n in result.notes)


def test_a_classifier_finds_a_change_that_no_single_field_shows() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=ROWS)
    train = pa.table({"x": x, "y": x + 0.1 * rng.normal(size=ROWS)})
    prod = pa.table({"x": rng.permutation(x), "y": rng.permutation(train["y"].to_numpy())})
    result = compare(train, prod)
    assert {line.level for line in result.fields} == {"stable"}
    assert result.multivariate is not None
    assert result.multivariate.low > 0.9
    assert {name for name, _ in result.multivariate.top_fields} == {"x", "y"}
    same = compare(train, train)
    assert same.multivariate is not None
    assert same.multivariate.low < 0.5


@pytest.mark.parametrize("name", ["nulls", "texts", "strange_numbers", "constants", "heavy_tails", "many_classes"])
def test_unusual_tables_are_compared_without_false_hints(name: str) -> None:
    roles = {**odd_tables.ROLES.get(name, {}), "slices": ()}
    result = compare(*(odd_tables.odd_table(name, seed, rows=1_500) for seed in (7, 9)), **roles)
    assert result.hints == ()
    assert result.multivariate is not None
    assert result.multivariate.low < 0.55


def test_rows_without_id_or_a_real_time_are_left_out_as_by_the_publisher() -> None:
    served = table(2, rid=pa.array([None if i % 4 == 0 else "" if i % 4 == 1 else "r" for i in range(ROWS)]))
    result = report(served)
    assert (sum(result.events), result.production.n_rejected) == (ROWS // 2, ROWS // 2)
    assert any(note.startswith(f"{ROWS // 2:,} rows of the production table without") for note in result.notes)
    times = table(2)["at"].to_pylist()
    times[:10] = [datetime(9999, 12, 31, tzinfo=UTC)] * 5 + [datetime(1, 1, 1, tzinfo=UTC)] * 5
    result = report(table(2, at=pa.array(times, pa.timestamp("ms", "UTC"))))
    assert (len(result.periods), result.production.n_rejected) == (4, 10), "defaults count as missing"
    never = pa.array([datetime(9999, 12, 31, tzinfo=UTC)] * ROWS, pa.timestamp("ms", "UTC"))
    with pytest.raises(CompareError, match="no value is a time from 1970 to 2098; check its unit"):
        report(table(2, at=never))


def test_periods_are_calendar_periods() -> None:
    grains: dict[Any, list[str]] = {
        "month": ["2024-12", "2025-01", "2025-02"],
        "week": ["2024-12-30", "2025-01-06", "2025-01-13", "2025-01-20", "2025-01-27"],
        "all": ["all rows"],
    }
    for grain, labels in grains.items():
        periods = make_periods(grain, MONDAY_MS, MONDAY_MS + 33 * DAY_MS, 86_400)
        assert [period.label for period in periods][: len(labels)] == labels
        assert periods[0].start_s <= MONDAY_MS // 1000 < periods[0].end_s
        assert all(a.end_s == b.start_s for a, b in pairwise(periods))
        assert all((period.end_s - period.start_s) % 86_400 == 0 for period in periods)
    with pytest.raises(CompareError, match="--by hour gives more than 2,000 periods from 1970-01-01 00:00 to 1971"):
        make_periods("hour", 0, 400 * DAY_MS, 3600)


def test_tables_of_all_libraries_give_the_same_verdicts() -> None:
    options: dict[str, Any] = {**ROLES, "multivariate": False, "slices": ["city"]}
    expected = compare(table(1), table(2), **options).to_dict()["drift"]
    frames = [pl.DataFrame(pl.from_arrow(table(seed))) for seed in (1, 2)]
    categorical = [frame.with_columns(pl.col("city").cast(pl.Categorical)) for frame in frames]
    for tables in ([table(seed).to_pandas() for seed in (1, 2)], frames, categorical):
        assert compare(*tables, **options).to_dict()["drift"] == expected, type(tables[0])


def test_hostile_names_are_only_text_in_the_page() -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    tables = [table(seed, **{hostile: table(seed)["speed"]}) for seed in (1, 2)]
    cities = pa.array([hostile] * ROWS)
    result = compare(tables[0], tables[1].set_column(4, "city", cities), multivariate=True, slices=["city"], **ROLES)
    page = Page(result.to_html())
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert "alert(1)" in page.text


def test_the_page_refers_to_nothing_and_a_notebook_shows_it() -> None:
    result = report(table(2))
    page = result.to_html()
    assert page.startswith("<!doctype html>")
    assert not re.findall(r"https?:|url\(|@import", page)
    shown = result._repr_html_()
    assert shown in page
    # The styles of a notebook stay as they are.
    style = re.search(r"<style>(.*)</style>", shown, re.DOTALL)
    assert style is not None
    selectors = [rule.strip() for rule in re.findall(r"(?:^|[}{])\s*([^{}@]+)\{", style[1])]
    assert all(part.strip().startswith(".barograph-report") for rule in selectors for part in rule.split(","))


OPTIONS = ("--time", "at", "--score", "p", "--label", "bought", "--id", "rid", "--no-multivariate")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    train, prod = tmp_path / "train.parquet", tmp_path / "prod.csv"
    write_table(train, table(1))
    write_table(prod, table(2, age=pa.array(table(2)["age"].to_numpy() + 30)))
    return train, prod


def test_the_command_prints_verdicts_and_writes_files(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, verdicts, folder = tmp_path / "r.html", tmp_path / "r.json", tmp_path / "contracts"
    written: list[str | Path] = ["--html", page, "--json", verdicts, "--write-contract", folder, "--model", "shop"]
    assert run(*files, *OPTIONS, *written, "--slice", "city", "--by", "all") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("prod.csv (4,000 rows, 2024-12-30 00:00 to 2025-01-26 23:49 UTC), all rows together")
    assert lines[2].split()[:2] == ["age", "major"]
    assert any(line.startswith("4 fields, drift: 1 major, 0 minor, 0 insufficient, 3 stable") for line in lines)
    content = json.loads(verdicts.read_text())
    assert content["level"] == "major"
    assert {row["slice"] for row in content["drift"]} >= {"all", "city=Oslo"}
    assert Page(page.read_text(encoding="utf-8")).tags[0] == "html"
    contract = load_contract(folder / "shop.yaml")
    baseline = folder / "shop.1.baseline.json"
    assert load_baseline(baseline.read_bytes(), str(baseline)).id == content["baseline_id"]
    assert contract.id == content["contract_id"]
    assert contract.columns == Columns(id="rid", score="p", label="bought")
    # 143 rows a day: as for `infer`, six hours and a day have too few for a level.
    assert [(window.name, window.hop_s) for window in contract.windows] == [("7d", 43_200)]
    assert contract.pane_s == 43_200
    panes = "Panes of 12h (the unit of counts), windows (length:hop) 7d:12h: in training"
    assert any(line.startswith(panes) for line in lines)
    # The contract that was written names the columns, and gives the same verdicts.
    words = ["--no-multivariate", "--contract", folder / "shop.yaml", "--by", "all", "--json", verdicts]
    assert run(*files, *words) == 0
    again = json.loads(verdicts.read_text())
    assert again["drift"] == content["drift"]
    assert again["performance"] == content["performance"]


def test_the_exit_code_follows_the_level_and_the_contracts_thresholds(files: tuple[Path, Path], tmp_path: Path) -> None:
    train, prod = files
    assert run(train, prod, *OPTIONS, "--fail-at", "major") == EXIT_VIOLATIONS
    assert run(train, prod, *OPTIONS, "--write-contract", tmp_path, "--model", "shop") == 0
    assert run(train, train, *OPTIONS, "--fail-at", "minor") == 0
    path = tmp_path / "shop.yaml"
    text = path.read_text()
    text = text.replace("psi: {minor: 0.1, major: 0.2, clear: 0.15}", "psi: {minor: 8, major: 9, clear: 8.5}")
    text = text.replace("rates: {minor: 0.01, major: 0.05}", "rates: {minor: 0.8, major: 0.9}")
    path.write_text(text.replace("windows:\n", "windows:\n  - {last: 500, length: 14d, hop: 12h}\n"))
    assert run(train, prod, *OPTIONS, "--contract", path, "--fail-at", "minor") == 0


MINUTES_MS = MONDAY_MS + np.arange(ROWS) * 16 * 60_000 // ROWS


@pytest.mark.parametrize(
    ("changes", "words", "code", "message"),
    [
        ({"bought": pa.array(np.arange(ROWS) % 2 == 0)}, [], EXIT_VIOLATIONS, "major (accuracy 0.486 instead of 0.670"),
        ({"at": pa.array(MINUTES_MS), "age": pa.array([17] * ROWS)}, [], EXIT_VIOLATIONS, "major (PSI of age in all"),
        ({"at": pa.array(MINUTES_MS)}, [], 0, "Worst level: stable"),
        ({}, ["--by", "month"], EXIT_UNJUDGED, "neither good nor bad: the data covers no whole month: choose shorter"),
        ({}, ["--by", "hour"], EXIT_UNJUDGED, "no period has enough independent rows of "),
        ({"bought": None}, [], 0, "no column bought: performance is only estimated"),
        ({"p": None}, [], EXIT_VIOLATIONS, "prod.parquet has no column p: it counts as null"),
        ({"more": pa.array(range(ROWS))}, [], 0, "because the contract has no such column: more."),
        ({"at": pa.array(MINUTES_MS - 90 * DAY_MS)}, [], 0, "All rows of train.parquet are later than those of prod"),
        (
            {"at": pc.strftime(table(2)["at"].cast(pa.timestamp("ms", "+02:00")), "%Y-%m-%dT%H:%M:%S%z")},
            *([], 0, "(4,000 rows, 2024-12-30 00:00 to 2025-01-26 23:49 UTC), by week"),
        ),
        ({"at": pa.array(["2025-01-01", "soon"] * (ROWS // 2))}, [], EXIT_UNREADABLE, "'soon' is not a time in ISO"),
        (
            {"bought": pa.array(["yes", "no", "no", "maybe"] * (ROWS // 4))},
            *([], EXIT_UNREADABLE, "prod.parquet: the column bought has 'maybe' (1,000 rows); a label must be true or"),
        ),
    ],
)
def test_a_gate_reads_the_contracts_columns_and_says_when_it_cannot_judge(
    changes: dict[str, Any], words: list[str], code: int, message: str, tmp_path: Path, capsys: Any
) -> None:
    train, prod = tmp_path / "train.parquet", tmp_path / "prod.parquet"
    write_table(train, table(1))
    write_table(prod, table(2, **changes))
    infer(train, model="shop", version="1", **ROLES).write_contract(tmp_path)
    words = [*words, "--contract", str(tmp_path / "shop.yaml"), "--no-multivariate", "--fail-at", "major"]
    assert run(train, prod, *words) == code
    printed = capsys.readouterr()
    assert message in " ".join((printed.out + printed.err).split())


def test_values_of_personal_data_are_not_shown(files: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("contract: 1\nmodel: m\nfields:\n  city: {type: category, pii: hash}\n  age: {type: int}\n")
    oslo = table(2, city=pa.array(["Oslo"] * ROWS))
    result = compare(files[0], oslo, contract=path, multivariate=False)
    assert (result.fields[0].name, result.fields[0].level) == ("city", "major")
    shown = result.to_html() + result.to_json()
    assert "•••" in shown
    assert not [city for city in CITIES if city in shown]


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({}, ["--time", "att"], "--time att: prod.parquet has no such column; did you mean at?"),
        ({"at": pa.nulls(ROWS, pa.timestamp("ms"))}, ["--time", "at"], "prod.parquet: --time at: all values are null"),
        ({}, ["--score", "city"], "--score city: the column has type string, but a score needs numbers"),
        (dict.fromkeys(("speed", "age", "city", "p", "bought")), ["--time", "at"], "no column of a field: "),
    ],
)
def test_errors_name_the_table_the_column_and_the_remedy(
    change: dict[str, Any], words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, prod = tmp_path / "train.parquet", tmp_path / "prod.parquet"
    write_table(train, table(1))
    write_table(prod, table(2, **change))
    assert run(train, prod, *words, "--no-multivariate") == EXIT_UNREADABLE
    assert message in capsys.readouterr().err


def test_a_type_that_contradicts_the_contract_is_an_error(files: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("contract: 1\nmodel: m\nfields:\n  age: {type: category}\n")
    wrong = r"The field age has the type category in the contract, and train\.parquet has"
    with pytest.raises(CompareError, match=wrong):
        compare(*files, contract=path)
    with pytest.raises(InferError, match="the training table has no rows"):
        compare(table(1).slice(0, 0), table(2))
    with pytest.raises(CompareError, match="the training table: int is not a table; pass a pyarrow Table"):
        compare(5, table(2))


def test_forms_of_labels_and_classes() -> None:
    for label, truth, classes in (
        (LabelSpec(type="bool", positive=True), [1, 0, 1, 0], ["yes", "no", "0", "1.0"]),
        (LabelSpec(type="bool", positive="bad", negative="good"), ["bad", "good", "bad", "good"], [1, 0, 0, 1]),
        (LabelSpec(type="category", positive="1"), ["yes", "x", "1.0", "2"], ["1", "0", "z", "true"]),
    ):
        counts = OutcomeCounts(make_rules(Contract(model="m", label=label), Registry()), 1)
        counts.add(np.zeros(4, np.int64), {"label": pa.array(truth), "class": pa.array(classes)})
        assert counts.counts().confusion.tolist() == [[1.0, 1.0, 1.0, 1.0]]


@pytest.mark.parametrize("kind", ["classes", "number"])
def test_periods_without_labels_have_estimates(kind: str) -> None:
    """The traffic shifts: the estimate follows it, and training does not."""
    rng = np.random.default_rng(1)
    label = LabelSpec(type="category", classes=("a", "b", "c")) if kind == "classes" else LabelSpec(type="float")
    contract = Contract(model="m", label=label)
    rules = make_rules(contract, Registry())

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
    rules = make_rules(contract, Registry())
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
