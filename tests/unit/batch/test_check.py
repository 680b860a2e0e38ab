from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.support import command_line
from tests.support.table_files import FORMATS, write_table

CONTRACT = """
contract: 1
model: m
fields:
  temp: {type: float, range: [-40, 130]}
  seats: {type: int, nulls: refuse}
  zip: {type: category}
  email: {type: category, pii: drop}
ignored: {note: free text}
"""
ROWS = 1_000
FILES = [f"d.{suffix}" for suffix in FORMATS]


TABLE: dict[str, Any] = {
    "id": [str(i) for i in range(ROWS)],
    "temp": [float(i % 100) for i in range(ROWS)],
    "seats": list(range(ROWS)),
    "zip": ["01234"] * ROWS,
    "email": ["secret@b.example"] * ROWS,
}
Check = Callable[..., tuple[int, dict[tuple[str, str], Any]]]


def table(**columns: Any) -> pa.Table:
    return pa.table(TABLE | columns)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(CONTRACT)


def run(*words: str) -> int:
    return command_line.run("check", *words, "--contract", "m.yaml")


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    def run_check(*words: str) -> tuple[int, dict[tuple[str, str], Any]]:
        code, report = command_line.call_json(capsys, "check", *words, "--contract", "m.yaml", "--format", "json")
        return code, {(violation["field"], violation["kind"]): violation for violation in report["violations"]}

    return run_check


@pytest.mark.parametrize("name", FILES)
def test_data_that_conforms_to_the_contract_exits_with_0(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(name, table(note=["x"] * ROWS, label=[True] * ROWS))
    assert run(name) == 0
    assert capsys.readouterr().out == f"{name}: 1,000 rows, 4 columns: conforms to the contract.\n"


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_count_of_violations(name: str, check: Check) -> None:
    temp = [None if i % 2 else 1.0 for i in range(ROWS)]
    temp[998], temp[999] = -41.0, 131.0
    seats = [None if i == 500 else i for i in range(ROWS)]
    write_table(name, table(temp=temp, seats=seats, more=[1] * ROWS).drop_columns(["zip"]))
    code, violations = check(name)
    assert code == 1
    assert {key: (each["n"], each["n_checked"], each["rows"]) for key, each in violations.items()} == {
        ("temp", "below"): (1, ROWS, [998]),
        ("temp", "above"): (1, ROWS, [999]),
        ("seats", "null"): (1, ROWS, [500]),
        ("zip", "missing"): (ROWS, ROWS, []),
        ("more", "unknown"): (ROWS, ROWS, []),
    }
    assert violations["temp", "above"]["limit"] == 130
    # A sample is spread evenly and reports row numbers of the file.
    write_table(name, table(temp=[200.0 + i for i in range(ROWS)]))
    for n, taken in ((1, 1), (333, 333), (999, 999), (5000, ROWS)):
        above = check(name, "--sample", str(n))[1]["temp", "above"]
        assert (above["n"], above["n_checked"]) == (taken, taken)
        assert above["rows"] == [i * ROWS // taken for i in range(min(5, taken))]
        assert [float(text) - 200 for text in above["examples"]] == above["rows"]


def test_a_malformed_csv_cell_affects_only_itself(check: Check) -> None:
    rows = table().slice(0, 3)
    write_table("d.csv", rows.set_column(1, "temp", [["1.5", "abc", "7"]]))
    code, violations = check("d.csv")
    assert (code, list(violations)) == (1, [("temp", "type")])
    assert (violations["temp", "type"]["rows"], violations["temp", "type"]["examples"]) == ([1], ["abc"])
    # Decimal commas are numbers.
    write_table("d.csv", rows.drop_columns(["temp"]))
    lines = Path("d.csv").read_text().replace('"', "").replace(",", ";").splitlines()
    temps = ["temp", "1,5", "abc", "-999,25"]
    Path("d.csv").write_text("".join(f"{line};{temp}\n" for line, temp in zip(lines, temps, strict=True)))
    code, violations = check("d.csv")
    assert code == 1
    assert {key: each["rows"] for key, each in violations.items()} == {("temp", "type"): [1], ("temp", "below"): [2]}


def test_personal_data_is_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    write_table("d.parquet", table(email=[["secret@b.example"]] * ROWS))
    for words in (("d.parquet",), ("d.parquet", "--format", "json")):
        assert run(*words) == 1
        assert "secret" not in capsys.readouterr().out


def test_columns_that_are_not_features_can_be_excluded(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    write_table("d.parquet", table(booking=[1] * ROWS, moment=[1] * ROWS))
    assert check("d.parquet", "--without", "booking", "--time", "moment") == (0, {})
    assert run("d.parquet", "--without", "boking") == 2
    assert run("d.parquet", "--without", "booking", "--time", "momment") == 2
    assert "d.parquet has no column 'momment' of event times; correct --time." in capsys.readouterr().err


def test_an_unreadable_file_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for name, content, message in (
        ("none.parquet", None, "none.parquet cannot be read: no such file or directory"),
        ("d.parquet", b"PAR1 and no more", "d.parquet cannot be read as Parquet"),
        ("d.csv", b"temp,seats\n", "d.csv has no rows"),
    ):
        if content is not None:
            Path(name).write_bytes(content)
        assert run(name) == 2, name
        output = capsys.readouterr()
        assert message in output.err
        assert output.out == ""
    write_table("d.parquet", table())
    Path("m.yaml").write_text("contract: 1\n")
    assert run("d.parquet") == 2
    assert "m.yaml" in capsys.readouterr().err
