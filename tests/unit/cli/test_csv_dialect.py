"""CSV files of any usual encoding, separator and decimal point give the same table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from barograph.contract import Contract, Field

from cli.csv_dialect import SAMPLE_BYTES, CsvDialect, detect_dialect
from cli.infer.infer import InferOptions, infer
from cli.infer.tables import open_table
from cli.load.check import inspect_file, read_blocks
from cli.load.files import EventFile, csv_types

CITIES = ("München", "Köln", "Düsseldorf", "Paris")
ROWS = [(f"e{i}", CITIES[i % 4], i / 4) for i in range(200)]


def write(path: Path, encoding: str, separator: str, *, comma: bool = False, rows: int = 200) -> Path:
    lines = [separator.join(("id", "city", "amount"))]
    for event_id, city, amount in ROWS[:rows]:
        lines.append(separator.join((event_id, city, str(amount).replace(".", "," if comma else "."))))
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    return path


DIALECTS = [
    ("a.csv", "utf-8", ",", False),
    ("a.csv", "utf-8-sig", ";", False),
    ("a.csv", "cp1252", ",", False),
    ("a.csv", "cp1252", ";", True),
    ("a.csv", "utf-16", "\t", False),
    ("a.csv", "utf-16-le", ";", True),
    ("a.csv", "utf-16-be", ",", False),
    ("a.txt", "utf-8", "|", False),
    ("a.tsv", "cp1252", "\t", False),
]


@pytest.mark.parametrize(("name", "encoding", "separator", "comma"), DIALECTS)
def test_every_dialect_gives_the_same_table(
    tmp_path: Path, name: str, encoding: str, separator: str, comma: bool
) -> None:
    path = write(tmp_path / name, encoding, separator, comma=comma)
    with open_table(path) as table:
        assert table.unreadable == {}
        assert [str(kind) for kind in table.columns.values()] == ["string", "string", "double"]
        columns = [pa.chunked_array(list(table.batches(column))).to_pylist() for column in ("id", "city", "amount")]
        is_usual = encoding.startswith("utf-8") and separator == ","
        assert bool(table.note) == (not is_usual)
    assert list(zip(*columns, strict=True)) == ROWS


def test_infer_and_load_say_how_a_file_was_read(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", "cp1252", ";", comma=True)
    result = infer(InferOptions(table=path, model="m", version="1"))
    note = "read in the encoding cp1252, separated by semicolons, with decimal commas; if values look wrong, write the"
    assert result.warnings[-2].startswith(f"train.csv: {note}") or result.warnings[-1].startswith(f"train.csv: {note}")
    (city,) = [field for field in result.baseline.fields if field.name == "city"]
    assert set(city.categories) >= set(CITIES)
    contract = Contract(model="m", fields=(Field(name="amount", type="float", source="features.amount"),))
    events = tmp_path / "events.csv"
    events.write_bytes("id;at;amount\na;1790000000000;1,5\nb;1790000000001;2,5\n".encode("utf-16"))
    source = inspect_file(EventFile(events, csv_types(contract)), contract, "1")
    assert any("read in the encoding utf-16" in note for note in source.notes)
    amounts = [row["features.amount"] for block in read_blocks(source, contract, "1") for row in block.rows.to_pylist()]
    assert amounts == [1.5, 2.5]


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
