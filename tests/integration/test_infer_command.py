"""`barograph infer`: files, messages, exit codes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from barograph.contract.file import load_contract
from typer.testing import CliRunner, Result

from barograph_server.cli.infer import infer_command
from barograph_server.cli.options import expand
from barograph_server.sketches.baseline.baseline import load_baseline
from tests.support.odd_tables import odd_table

app = typer.Typer()
app.command()(expand(infer_command))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "400"})


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.parquet"
    pq.write_table(odd_table("outputs", rows=1000), path)
    return path


def test_infer_writes_both_files_and_prints_its_decisions(train: Path, tmp_path: Path) -> None:
    result = call(
        *(train, "--model", "late", "--version", "3", "--time", "at", "--score", "p", "--class", "decision"),
        *("--label", "late", "--latency", "ms", "--slice", "country", "--slice", "store", "--critical", "x"),
        *("--pane", "1h", "--window", "1d:1h", "--window", "7d:1d", "--timezone", "Europe/Berlin"),
        *("--out", tmp_path / "out"),
    )
    assert result.exit_code == 0, result.output
    contract = load_contract(tmp_path / "out" / "late.yaml")
    baseline = load_baseline((tmp_path / "out" / "late.3.baseline.json").read_bytes(), "it")
    assert (contract.pane_s, [window.name for window in contract.windows]) == (3600, ["1d", "7d"])
    assert contract.timezone == "Europe/Berlin"
    assert [field.name for field in contract.fields if field.critical] == ["x"]
    assert [cut.name for cut in contract.slices] == ["country", "store"]
    assert baseline.id in result.stdout
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "latency_ms" in lines["ms"]
    assert "event time, integers, read as s since 1970" in lines["at"]
    assert "deciles; point mass at 1, 2" in lines["store"]
    assert "φ from windows" in result.stdout
    assert "Panes of" not in result.stdout
    proposed = call(train, "--model", "late", "--version", "4", "--time", "at", "--out", tmp_path / "proposed")
    assert proposed.exit_code == 0, proposed.output
    assert any(line.startswith("Panes of ") and "a level needs" in line for line in proposed.stdout.splitlines())


INVALID_OPTIONS = (
    (["--time", "att"], "--time att: train.parquet has no such column; did you mean at?"),
    (["--slice", "x"], "--slice x: the column has type double; slice by texts, booleans or integers"),
    (["--score", "country"], "--score country: the column has type string, but a score needs numbers"),
    (["--time", "country"], "is not a time in ISO 8601"),
    (["--score", "p", "--label", "p"], "--label p: the column is already used as --score"),
    (["--window", "1d"], "--window 1d: write the length and the hop"),
    (["--pane", "7m"], "7m neither divides an hour nor is a multiple of one"),
    (["--timezone", "Mars"], "'Mars' is not a time zone"),
)


def test_an_invalid_option_is_explained(train: Path, tmp_path: Path) -> None:
    for arguments, message in INVALID_OPTIONS:
        result = call(train, "--model", "m", "--version", "1", "--out", tmp_path / "out", *arguments)
        assert result.exit_code == 2, arguments
        assert message in result.stderr, arguments
        assert "Traceback" not in result.output, arguments
    assert not (tmp_path / "out").exists()


def test_a_table_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    def error_of(name: str, content: bytes | None = None, out: str = "out") -> str:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        result = call(path, "--model", "m", "--version", "1", "--out", tmp_path / out)
        assert result.exit_code == 2
        assert "Traceback" not in result.output
        return result.stderr

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


def test_existing_files_with_other_content_are_kept_unless_forced(train: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (train, "--model", "a/b.c", "--version", "1.0", "--out", out)
    assert call(*arguments).exit_code == 0
    contract, baseline = out / "a%2Fb%2Ec.yaml", out / "a%2Fb%2Ec.1.0.baseline.json"
    assert sorted(out.iterdir()) == sorted([contract, baseline])
    again = call(*arguments)
    assert again.exit_code == 0
    assert again.stdout.count("unchanged") == 2

    # Comments do not matter.
    contract.write_text("# kept\n" + contract.read_text())
    assert call(*arguments).exit_code == 0
    assert contract.read_text().startswith("# kept\n")
    edited = contract.read_text().replace("slice_min_n: 500", "slice_min_n: 900")
    contract.write_text(edited)
    before = baseline.read_bytes()
    refused = call(*arguments, "--slice", "country")
    assert refused.exit_code == 2
    assert "exists with different content" in refused.stderr
    assert contract.read_text() == edited
    assert baseline.read_bytes() == before
    assert call(*arguments, "--slice", "country", "--force").exit_code == 0
    assert load_contract(contract).slice_min_n == 500
    assert baseline.read_bytes() != before
