"""CSV files of any usual encoding, separator and decimal point give the same table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from barograph_server.profiling.csv_dialect import SAMPLE_BYTES, CsvDialect, detect_dialect
from barograph_server.profiling.infer.tables import open_table

CITIES = ("München", "Köln", "Düsseldorf", "Paris")
ROWS = [(f"e{i}", CITIES[i % 4], i / 4) for i in range(200)]


def write(path: Path, encoding: str, separator: str, *, comma: bool) -> Path:
    lines = [separator.join(("id", "city", "amount"))]
    for event_id, city, amount in ROWS:
        lines.append(separator.join((event_id, city, str(amount).replace(".", "," if comma else "."))))
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    return path


DIALECTS = [
    ("a.csv", "utf-8", ",", False),
    ("a.csv", "utf-8-sig", ";", False),
    ("a.csv", "cp1252", ";", True),
    ("a.csv", "utf-16", "\t", False),
    ("a.csv", "utf-16-le", ";", True),
    ("a.txt", "utf-8", "|", False),
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
