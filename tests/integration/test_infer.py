"""`barograph infer`: files, messages, exit codes; and unusual tables, whose training data again give no drift."""

from bisect import bisect_right
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from barograph.contract import CROSS, LabelSpec
from barograph.contract.file import load_contract
from numpy.typing import NDArray

from barograph_server.profiling.infer import (
    InferOptions,
    InferResult,
    OptionError,
    Roles,
    infer_file,
    phi,
    summarise,
    tables,
)
from barograph_server.sketches.baseline.baseline import load_baseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.columns import TAIL, TAIL_COLUMNS, FieldColumn
from barograph_server.sketches.baseline.fit import fit_problems
from barograph_server.sketches.baseline.layout import EVENTS, IntArray, Layout
from barograph_server.sketches.baseline.levels import Level
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.drift.rate_cells import RateCells
from tests.support.command_line import OutputOf
from tests.support.odd_tables import ODD_TABLES, ROLES, odd_table

WORDS = ("infer", "--version", "1", "--model")


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.parquet"
    pq.write_table(odd_table("outputs", rows=1000), path)
    return path


def test_infer_writes_both_files_and_prints_its_decisions(train: Path, tmp_path: Path, output_of: OutputOf) -> None:
    output = output_of(
        *(0, *WORDS, "late", train, "--time", "at", "--score", "p", "--class", "decision"),
        *("--label", "late", "--latency", "ms", "--slice", "country", "--slice", "store", "--critical", "x"),
        *("--pane", "1h", "--window", "1d:1h", "--window", "7d:1d", "--timezone", "Europe/Berlin"),
        *("--out", tmp_path / "out"),
    )
    contract = load_contract(tmp_path / "out" / "late.yaml")
    baseline = load_baseline((tmp_path / "out" / "late.1.baseline.json").read_bytes(), "it")
    assert (contract.pane_s, [window.name for window in contract.windows]) == (3600, ["1d", "7d"])
    assert contract.timezone == "Europe/Berlin"
    assert [field.name for field in contract.fields if field.critical] == ["x"]
    assert [cut.name for cut in contract.slices] == ["country", "store"]
    lines = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert "latency_ms" in lines["ms"]
    assert "event time, integers, read as s since 1970" in lines["at"]
    assert "deciles; point mass at 1, 2" in lines["store"]
    assert baseline.id in output
    assert "φ: so many events" in output
    assert "Panes of" not in output
    proposed = output_of(0, *WORDS, "late", train, "--time", "at", "--out", tmp_path / "proposed")
    assert any(line.startswith("Panes of ") and "a level needs" in line for line in proposed.splitlines())


def test_an_invalid_option_is_explained(train: Path, tmp_path: Path, output_of: OutputOf) -> None:
    for arguments, message in (
        ("--time att", "--time att: train.parquet has no such column; did you mean at?"),
        ("--slice x", "--slice x: the column has type double; slice by texts, booleans or integers"),
        ("--score country", "--score country: the column has type string, but a score needs numbers"),
        ("--time country", "is not a time in ISO 8601"),
        ("--score p --label p", "--label p: the column is already used as --score"),
        ("--window 1d", "--window 1d: write the length and the hop"),
        ("--pane 7m", "7m neither divides an hour nor is a multiple of one"),
        ("--timezone Mars", "'Mars' is not a time zone"),
    ):
        assert message in output_of(2, *WORDS, "m", train, "--out", tmp_path / "out", *arguments.split()), arguments
    assert not (tmp_path / "out").exists()


def test_a_table_that_cannot_be_used_is_explained(tmp_path: Path, output_of: OutputOf) -> None:
    def error_of(name: str, content: bytes | None = None, out: str = "out") -> str:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        return output_of(2, *WORDS, "m", path, "--out", tmp_path / out)

    assert "cannot be read: no such file or directory" in error_of("missing.parquet")
    assert "is empty; give a table" in error_of("empty.csv", b"")
    assert "cannot be read as Parquet" in error_of("broken.parquet", b"PAR1broken")
    assert "has the column 'a' more than once" in error_of("twice.csv", b"a,a\n1,2\n")
    assert "has 50,001 columns, and a table may have 10,000" in error_of("wide.csv", b"a," * 50_000 + b"\n")
    (tmp_path / "folder").mkdir()
    assert "is a directory" in error_of("folder")
    path = tmp_path / "damaged.parquet"
    pq.write_table(pa.table({"x": [float(i) for i in range(5000)]}), path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[200:2000] = bytes(1800)
    assert "the column 'x' cannot be read" in error_of(path.name, bytes(data))
    twice = pa.Table.from_arrays([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    assert "more than once" in error_of("twice.parquet")
    pq.write_table(pa.table({"id": range(500)}), tmp_path / "ids.parquet")
    assert "no column that can be monitored: 'id' looks like an id" in error_of("ids.parquet")
    pq.write_table(odd_table("outputs", rows=1000), tmp_path / "train.parquet")
    assert "not a directory" in error_of("train.parquet", out="twice.parquet/out")


def test_existing_files_with_other_content_are_kept_unless_forced(
    train: Path, tmp_path: Path, output_of: OutputOf
) -> None:
    out = tmp_path / "out"
    command = ("infer", train, "--model", "a/b.c", "--version", "1.0", "--out", out)
    output_of(0, *command)
    contract, baseline = out / "a%2Fb%2Ec.yaml", out / "a%2Fb%2Ec.1.0.baseline.json"
    assert sorted(out.iterdir()) == sorted([contract, baseline])
    assert output_of(0, *command).count("unchanged") == 2
    # Comments do not matter.
    contract.write_text("# kept\n" + contract.read_text())
    output_of(0, *command)
    assert contract.read_text().startswith("# kept\n")
    edited = contract.read_text().replace("slice_min_n: 500", "slice_min_n: 900")
    contract.write_text(edited)
    before = baseline.read_bytes()
    assert "exists with different content" in output_of(2, *command, "--slice", "country")
    assert (contract.read_text(), baseline.read_bytes()) == (edited, before)
    output_of(0, *command, "--slice", "country", "--force")
    assert load_contract(contract).slice_min_n == 500
    assert baseline.read_bytes() != before


def write(table: pa.Table, folder: Path, name: str = "train.parquet", row_group_size: int | None = None) -> Path:
    path = folder / name
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def infer(path: Path, **roles: Any) -> InferResult:
    return infer_file(InferOptions(table=path, model="m", version="1", roles=Roles(**roles)))


def inferred(path: Path, name: str) -> InferResult:
    return infer(path, **ROLES.get(name, {}))


def python_values(column: Any, field_type: str, at_ms: NDArray[np.float64] | None) -> list[Any]:
    column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("ms"))
        divisor = {"ms": 1, "us": 10**3, "ns": 10**6}[column.type.unit]
        moments = [None if v is None else v // divisor for v in column.cast(pa.int64()).to_pylist()]
        assert at_ms is not None
        return [None if v is None else (t - v) / 1000 for t, v in zip(at_ms.tolist(), moments, strict=True)]
    if pa.types.is_duration(column.type):
        return [v / 10**6 for v in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_time32(column.type):
        return [float(v) for v in column.cast(pa.int32()).to_pylist()]
    values: list[Any] = column.to_pylist()
    if field_type == "category":
        return values
    return [None if value is None else float(value) for value in values]


def slice_values(table: pa.Table, cut: str) -> list[str | None]:
    columns = [table[name].to_pylist() for name in cut.split(CROSS)]
    result: list[str | None] = []
    for row in zip(*columns, strict=True):
        texts = [None if v is None else str(int(v)) if isinstance(v, bool) else str(v) for v in row]
        strange = len(texts) > 1 and any(CROSS in (text or "") for text in texts)
        result.append(None if None in texts or strange else CROSS.join(map(str, texts)))
    return result


def largest_score(table: pa.Table) -> list[Any]:
    rows = zip(*(table[f"scores.{name}"].to_pylist() for name in ("cat", "dog", "o'fish")), strict=True)
    result: list[float | None] = []
    for row in rows:
        known = [value for value in row if value is not None]
        result.append(max(known, key=lambda value: (not np.isfinite(value), value)) if known else None)
    return result


def counted_by_hand(table: pa.Table, result: InferResult, roles: Roles) -> IntArray:
    """Count a table on the layout of its baseline, row by row; shape (n_slices, width)."""
    layout = Layout(result.baseline)
    counts = layout.empty_counts()
    rows_of: list[set[int]] = [{0} for _ in range(table.num_rows)]
    for cut, dimension, start in zip(roles.slices, result.baseline.dimensions, layout.dimension_starts, strict=True):
        for rows, value in zip(rows_of, slice_values(table, cut), strict=True):
            position = dimension.values.index(value) if value in dimension.values else len(dimension.values)
            rows.add(start + position)
    for rows in rows_of:
        for row in rows:
            counts[row, EVENTS] += 1
    at_ms = None
    if roles.time is not None:
        at_ms = table[roles.time].cast(pa.int64()).to_numpy() * (1000.0 if roles.time == "at_s" else 1.0)
    column_of = {decision.field: decision.column for decision in result.decisions if decision.field}
    for declared, field, start in zip(result.contract.fields, layout.fields, layout.starts.tolist(), strict=True):
        is_largest = declared.source == "confidence"
        numbers = (
            largest_score(table) if is_largest else python_values(table[column_of[field.name]], declared.type, at_ms)
        )
        place_of = {category: i for i, category in enumerate(field.categories)}
        for rows, value in zip(rows_of, numbers, strict=True):
            extra: list[int] = []
            if value is None:
                cell = field.n_cells + FieldColumn.NULL
            elif field.kind == "category":
                cell = place_of.get(value, field.n_cells + FieldColumn.UNSEEN)
            elif not np.isfinite(value):
                cell = field.n_cells
            else:
                cell = bisect_right(field.edges, value)
                extra = [field.n_cells + FieldColumn.BELOW] * (field.low is not None and value < field.low)
                extra += [field.n_cells + FieldColumn.ABOVE] * (field.high is not None and value > field.high)
            for row in rows:
                for position in (cell, *extra):
                    counts[row, start + position] += 1
    return counts


@pytest.mark.parametrize("name", ODD_TABLES)
def test_an_unusual_table_gives_a_valid_contract_and_its_own_rows_show_no_drift(tmp_path: Path, name: str) -> None:
    table = odd_table(name)
    result = inferred(write(table, tmp_path), name)
    written = result.write_contract(tmp_path / "out")
    assert load_contract(written.contract) == result.contract
    assert load_baseline(written.baseline.read_bytes(), "it") == result.baseline
    assert fit_problems(result.contract, result.baseline) == []
    columns_told = {decision.column for decision in result.decisions}
    assert columns_told - {"scores"} == set(table.column_names)
    assert ("scores" in columns_told) is (name == "many_classes")
    layout = Layout(result.baseline)
    counts = counted_by_hand(table, result, Roles(**ROLES.get(name, {})))
    for row, slice_name in enumerate(layout.slices):
        for field, start in zip(layout.fields, layout.starts.tolist(), strict=True):
            trained = field.slices[slice_name]
            expected = [*trained.cells, *(trained.count(column) for column in TAIL_COLUMNS)]
            assert counts[row, start : start + field.n_cells + TAIL].tolist() == expected, (slice_name, field.name)
    assert counts[:, EVENTS].tolist() == [result.baseline.slice_rows[s] for s in layout.slices]
    bins = PsiBins(layout)
    verdicts = psi_verdicts(bins.base_bins, bins.window_bins(counts[None]), bins.starts)
    # With fewer than a hundred rows, smoothing of empty bins alone exceeds that.
    assert (verdicts.psi[verdicts.n >= 100] < 0.01).all()
    assert not (verdicts.level == Level.major).any()
    rates = RateCells(layout)
    share, trained_share = rates.k(counts[None])[0] / rates.n(counts[None])[0], rates.base_k / rates.base_n
    # The expected share of unseen values is that of values seen once, so only it exceeds the observed share.
    assert (share <= trained_share).all()


@pytest.mark.parametrize("name", ODD_TABLES)
def test_row_groups_and_chunks_change_no_result(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = odd_table(name, rows=700)
    whole = inferred(write(table, tmp_path), name)
    assert inferred(tmp_path / "train.parquet", name) == whole
    for module, setting, value in (
        (tables, "BATCH_ROWS", 64),
        (summarise, "CHUNK_ROWS", 100),
        (phi, "CHUNK_ROWS", 90),
        (phi, "CHUNK_COUNTS", 5000),
    ):
        monkeypatch.setattr(module, setting, value)
    cut = inferred(write(table, tmp_path, row_group_size=37), name)
    assert cut.baseline.id == whole.baseline.id
    assert cut == whole


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_csv_gives_the_same_result_as_parquet(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barograph_server.profiling.table_files._CSV_BLOCK_BYTES", 2000)
    table, path = odd_table("outputs"), tmp_path / f"train.{ending}"
    expected = inferred(write(table, tmp_path, path.name), "outputs")
    pa_csv.write_csv(table, path, pa_csv.WriteOptions(delimiter="\t" if ending == "tsv" else ","))
    result = inferred(path, "outputs")
    assert result.baseline.slice_rows == expected.baseline.slice_rows
    assert [field.type for field in result.contract.fields] == [field.type for field in expected.contract.fields]
    for one, other in zip(result.baseline.fields, expected.baseline.fields, strict=True):
        assert one.slices == other.slices


def test_csv_types_widen_if_later_rows_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barograph_server.profiling.table_files._CSV_BLOCK_BYTES", 64)
    path = tmp_path / "train.csv"
    head = "whole,empty,day,flag,word,region\n"
    early = "1,,2020-01-01,true,7,NA\n" * 20
    late = 'NaN,3,2020-01-02 10:00:00,maybe,x,"NA"\n2.5,4,2020-01-03,false,inf,US\n'
    path.write_text(head + early + late)
    result = infer(path)
    types = {decision.column: decision.type for decision in result.decisions}
    assert types == {
        "whole": "float",
        "empty": "int",
        "day": "-",  # a timestamp, whose age needs an event time
        "flag": "category",
        "word": "category",
        "region": "category",
    }
    cells = {field.name: field.slices["all"].cells for field in result.baseline.fields}
    # NA in quotes is a region.
    assert (cells["whole"][-1], cells["empty"][-1], cells["region"]) == (1, 20, (1, 1, 0, 20))


def test_slices_are_the_most_frequent_values_and_the_rest_is_other(tmp_path: Path) -> None:
    table = odd_table("outputs")
    baseline = inferred(write(table, tmp_path), "outputs").baseline
    country, store, mobile = baseline.dimensions
    named = [value for value in table["country"].to_pylist() if value not in ("other", "")]
    assert country.values == tuple(sorted(set(named), key=lambda v: (-named.count(v), v)))
    assert len(store.values) == 20
    assert set(mobile.values) == {"0", "1"}
    assert baseline.slice_rows["country=other"] == 4000 - len(named)
    assert baseline.slice_rows["mobile=1"] == sum(table["mobile"].to_pylist())
    for dimension in baseline.dimensions:
        assert sum(baseline.slice_rows[f"{dimension.name}={value}"] for value in (*dimension.values, "other")) == 4000


def test_ids_are_ignored_unless_the_user_names_them(tmp_path: Path) -> None:
    path = write(odd_table("ids"), tmp_path)
    result = infer(path)
    assert set(result.contract.ignored) == {"counter", "snowflake", "hash", "uuid"}
    assert any("counter, snowflake, hash, uuid" in warning for warning in result.warnings)
    contract = infer(path, critical=frozenset({"counter"}), slices=("snowflake",)).contract
    assert set(contract.ignored) == {"hash", "uuid"}
    assert {field.name for field in contract.fields if field.critical} == {"counter"}


def test_names_of_outputs_are_reserved(tmp_path: Path) -> None:
    contract = inferred(write(odd_table("outputs"), tmp_path), "outputs").contract
    assert {(field.name, field.source) for field in contract.fields} == {
        *((name, f"features.{name}") for name in ("x", "country", "store", "mobile")),
        *((name, name) for name in ("score", "class", "latency_ms")),
    }
    assert contract.label == LabelSpec(type="bool", positive="late", negative="on time")
    names = inferred(write(odd_table("odd_names"), tmp_path), "odd_names").contract
    scores = {(field.name, field.source) for field in names.fields if field.name.endswith("score")}
    assert scores == {(name, name) for name in ("features.score", "features.features.score")}


def test_scores_of_classes_and_their_label(tmp_path: Path) -> None:
    table = odd_table("many_classes")
    contract = inferred(write(table, tmp_path), "many_classes").contract
    scores = {"scores.cat", "scores.dog", "scores.o'fish"}
    assert {(field.name, field.source) for field in contract.fields} == {
        *((name, f"features.{name}") for name in ("origin", "carrier", "seats", "scores.note")),
        *((name, name) for name in ("class", "confidence", *scores)),
    }
    assert contract.label == LabelSpec(type="category", classes=("bird", "cat", "dog", "o'fish"))
    renamed = write(table.rename_columns([name.replace("scores.", "p ") for name in table.column_names]), tmp_path)
    fields = infer(renamed, scores="p ", critical=frozenset({"p cat"})).contract.fields
    assert {field.name for field in fields if field.source.startswith("scores.")} == scores
    assert {field.name for field in fields if field.critical} == {"scores.cat"}
    with pytest.raises(OptionError, match="has no numeric column with this prefix"):
        infer(renamed, scores="q")


LABELS: tuple[tuple[list[Any], dict[str, Any], LabelSpec], ...] = (
    (["a", "b", "c"], {}, LabelSpec(type="category", classes=("a", "b", "c"))),
    (["a", "b", "a"], {}, LabelSpec(type="bool", positive="b", negative="a")),
    ([1, 2, 3], {"class_": "said"}, LabelSpec(type="category", classes=("1", "2", "3"))),
    ([1, 2, 3], {}, LabelSpec(type="float")),
    ([0.5, 1.5, 2], {}, LabelSpec(type="float")),
    ([True, False, True], {"score": "p"}, LabelSpec(type="bool", positive=True)),
    ([0, 1, 1], {}, LabelSpec(type="bool")),
)


def test_the_label_type_is_inferred_from_the_values(tmp_path: Path) -> None:
    for column, roles, label in LABELS:
        path = write(pa.table({"p": [0.1, 0.2, 0.3], "said": ["1", "2", "3"], "truth": column}), tmp_path)
        assert infer(path, label="truth", **roles).contract.label == label, column


def test_crossed_slices_are_pairs_that_occur(tmp_path: Path) -> None:
    table = odd_table("many_classes")
    result = inferred(write(table, tmp_path), "many_classes")
    _, pair, triple = result.baseline.dimensions
    assert pair.source == "features.origin * features.carrier"
    assert len(pair.values) == 20
    rows = Counter(value for value in slice_values(table, "origin * carrier") if value is not None)
    assert list(pair.values) == sorted(rows, key=lambda value: (-rows[value], value))[:20]
    assert all(value.count(" * ") == 2 for value in triple.values)
    assert [cut.name for cut in result.contract.slices][1] == "origin * carrier"
    for cut, message in (("origin * nowhere", "no such column"), ("origin * origin", "crosses a source with itself")):
        with pytest.raises(OptionError, match=message):
            infer(tmp_path / "train.parquet", slices=(cut,))
