import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract
from barograph.contract import Columns
from barograph.contract.file import load_contract
from barograph.values import class_text

from barograph_server.batch.backfill.check import inspect_file, read_blocks
from barograph_server.batch.backfill.files import EventFile, csv_types
from barograph_server.profiling.csv_dialect import SAMPLE_BYTES, CsvDialect, detect_dialect
from barograph_server.profiling.infer.tables import open_table
from barograph_server.profiling.table_columns import event_names, with_columns
from barograph_server.sketches.baseline.baseline import load_baseline
from tests.support.command_line import run
from tests.support.table_files import write_table

READ_ALL = """
import sys; from pathlib import Path
from barograph_server.profiling.infer.tables import TableError, open_table
for path in Path(sys.argv[1]).iterdir():
    try: open_table(path).__enter__()
    except TableError: pass"""


def test_flipped_bytes(tmp_path: Path) -> None:
    texts = [f"t{i % 50}" for i in range(2_000)]
    for seed, suffix in ((seed, suffix) for seed in range(20) for suffix in ("arrow", "arrows")):
        rng, path = random.Random(seed), tmp_path / f"{seed}.{suffix}"
        write_table(path, pa.table({"city": pa.array(texts).dictionary_encode(), "text": texts}), group_rows=500)
        data = bytearray(path.read_bytes())
        data[:] = (rng.randrange(256) if i > 8 and rng.random() < 3e-4 else byte for i, byte in enumerate(data))
        path.write_bytes(data)
    subprocess.run([sys.executable, "-c", READ_ALL, tmp_path], check=True, timeout=120)


CITIES = ("München", "Köln", "Düsseldorf", "Paris")
ROWS = [(f"e{i}", CITIES[i % 4], i / 4) for i in range(200)]


def test_every_dialect_gives_the_same_table(tmp_path: Path) -> None:
    for name, encoding, separator, point in (
        ("a.csv", "utf-8", ",", "."),
        ("a.csv", "utf-8-sig", ";", "."),
        ("a.csv", "cp1252", ";", ","),
        ("a.csv", "utf-16", "\t", "."),
        ("a.csv", "utf-16-le", ";", ","),
        ("a.txt", "utf-8", "|", "."),
    ):
        cells = [("id", "city", "amount"), *((*texts, str(amount).replace(".", point)) for *texts, amount in ROWS)]
        text = "".join(f"{separator.join(row)}\r\n" for row in cells)
        (tmp_path / name).write_bytes(text.encode(encoding))
        with open_table(tmp_path / name) as table:
            assert table.unreadable == {}
            assert [str(kind) for kind in table.columns.values()] == ["string", "string", "double"]
            columns = [pa.chunked_array(list(table.batches(column))).to_pylist() for column in ("id", "city", "amount")]
            is_usual = encoding.startswith("utf-8") and separator == ","
            assert bool(table.note) == (not is_usual)
        assert list(zip(*columns, strict=True)) == ROWS


def test_the_first_foreign_byte_may_be_late(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = b"id,city\n" + b"1,Paris\n" * (3 * SAMPLE_BYTES // 8) + "2,Köln\n".encode("cp1252")
    path.write_bytes(lines)
    assert detect_dialect(path).encoding == "cp1252"
    path.write_bytes(lines.replace(b"Paris", "Orléans".encode()))
    assert detect_dialect(path).encoding == "utf-8", "damaged UTF-8 is not another encoding"


def test_separators_inside_values_do_not_mislead(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,"a;b",note\n1,"x;y","one, two"\n2,"z;w","three\nfour"\n')
    assert detect_dialect(path) == CsvDialect()
    path.write_text("id\n1\n2\n")
    assert detect_dialect(path) == CsvDialect()


N = 300
FILES = ("train.parquet", "train.csv")
INFER = (
    *("--model", "m", "--version", "1", "--id", "request", "--time", "booked", "--score", "p"),
    *("--class", "y_pred", "--label", "y", "--latency", "ms"),
)
RNG = np.random.default_rng(3)


def table(**columns: Any) -> pa.Table:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    values: dict[str, Any] = {
        "request": [f"r{i}" for i in range(N)],
        "booked": [start + timedelta(minutes=i) for i in range(N)],
        "amount": RNG.normal(size=N),
        "score": RNG.integers(300, 850, N),  # a feature: the credit score
        "p": RNG.random(N),
        "y_pred": RNG.integers(0, 2, N),
        "y": RNG.integers(0, 2, N),
        "ms": RNG.random(N),
    }
    return pa.table(values | columns)


@pytest.fixture(params=FILES)
def train(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path(request.param)
    write_table(path, table())
    assert run("infer", str(path), *INFER) == 0
    return path


def test_production_data_is_checked_by_the_contracts_columns(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("check", train, "--contract", "m.yaml") == 0
    assert "conforms to the contract" in capsys.readouterr().out
    write_table(train, table().rename_columns({"p": "probability"}))
    assert run("check", train, "--contract", "m.yaml") == 1
    assert run("check", train, "--contract", "m.yaml", "--score", "probability") == 0
    contract = Path("m.yaml").read_text()
    Path("m.yaml").write_text(contract.replace("score: {type: float}", "score: {type: float, range: [0, 1]}"))
    write_table(train, table(p=[2.0] * N))
    capsys.readouterr()
    assert run("check", train, "--contract", "m.yaml") == 1
    assert "above 1" in capsys.readouterr().out


def load_rows(path: Path, contract: Contract, **columns: str) -> list[dict[str, Any]]:
    file = EventFile(path, csv_types(contract), with_columns(contract, **columns).columns)
    source = inspect_file(file, contract, "1")
    return [row for block in read_blocks(source, contract, "1") for row in block.rows.to_pylist()]


def test_infer_keeps_the_columns_of_its_options_and_load_reads_them(train: Path) -> None:
    contract = load_contract("m.yaml")
    assert contract.columns == Columns(id="request", time="booked", score="p", class_="y_pred", label="y", latency="ms")
    sources = {field.source for field in contract.fields}
    assert sources == {"features.amount", "features.score", "score", "class", "latency_ms"}
    rows = load_rows(train, contract)
    assert len(rows) == N
    first = rows[0]
    assert (first["id"], first["at"]) == ("r0", table()["booked"][0].as_py())
    assert 0 <= first["score"] <= 1
    assert first["features.score"] >= 300
    assert first["class"] in ("0", "1")
    assert set(first) == {"model", "version", "id", "at", *sources}
    write_table(train, table().select(["request", "y", "booked"]))
    labels = load_rows(train, contract)
    assert {type(row["label"]) for row in labels} == {bool}
    assert set(labels[0]) == {"model", "id", "label", "at"}
    write_table(train, table().rename_columns({"request": "trip"}))
    assert load_rows(train, contract, id="trip")[5]["id"] == "r5", "an option overrides the contract"


@pytest.mark.parametrize("name", FILES)
def test_classes_are_those_of_the_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    choices: list[list[Any]] = [[True, False], [1, 0], [1.0, 0.0], ["yes", "no"]]
    for classes in choices:
        write_table(name, table(y_pred=[classes[i % 2] for i in range(N)]))
        if classes == [True, False] and name.endswith(".csv"):  # as pandas writes them
            Path(name).write_text(Path(name).read_text().replace("true", "True").replace("false", "False"))
        assert run("infer", name, *INFER, "--force") == 0
        baseline = load_baseline(Path("m.1.baseline.json").read_bytes(), "m")
        (of_class,) = [field for field in baseline.fields if field.name == "class"]
        assert {row["class"] for row in load_rows(Path(name), load_contract("m.yaml"))} == set(of_class.categories)
        assert {class_text(value) for value in classes} == set(of_class.categories)


def test_skew_joins_by_the_contracts_ids_and_leaves_labels_out(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(y=[0] * N)
    write_table("served.parquet", rows)
    write_table("again.parquet", rows.set_column(rows.column_names.index("y"), "y", [[1] * N]))
    capsys.readouterr()
    words = ["skew", "--served", "served.parquet", "--recomputed", "again.parquet", "--contract", "m.yaml"]
    assert run(*words) == 0
    assert f"Compared {N} predictions" in capsys.readouterr().out
    events = rows.rename_columns({"request": "id", "p": "score", "score": "features.score", "y_pred": "class"})
    write_table("served.parquet", events.drop_columns(["y", "booked"]))
    assert run(*words) == 0
    assert f"Compared {N} predictions" in capsys.readouterr().out


def test_a_column_with_the_name_of_an_output_is_a_feature() -> None:
    columns = Columns(score="p", scores="q_")
    named = event_names(columns, ["id", "p", "score", "q_cat", "q_", "x"])
    assert named == {"p": "score", "score": "features.score", "q_cat": "scores.cat"}
    assert event_names(columns, ["id", "score"]) == {}, "a file of events keeps its names"
