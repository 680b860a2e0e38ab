"""Detects how a CSV file is written: its encoding, its separator and its decimal point."""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from charset_normalizer import from_bytes

SAMPLE_BYTES = 1 << 16
"""Bytes from which separator, decimal point and encoding are detected."""
_CHUNK_BYTES = 1 << 20
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_UTF8 = "utf-8"
_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_WESTERN = "cp1252"
"""The encoding of Western Europe on Windows: the most likely of those that fit equally."""
_ASCII = 127
_MIN_FOREIGN_BYTES = 20
"""Minimum number of bytes beyond ASCII to detect an encoding by its characters."""
_COMMA_NUMBER = re.compile(r"[+-]?\d+(,\d+)?")
_POINT_NUMBER = re.compile(r"[+-]?\d+\.\d+")


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a CSV file is written."""

    encoding: str = _UTF8
    """Name of a codec of Python."""
    separator: str = ","
    decimal_point: str = "."

    @property
    def note(self) -> str:
        """What differs from UTF-8, commas and decimal points, and what to do if it is wrong; empty if nothing does."""
        parts = []
        if self.encoding != _UTF8:
            parts.append(f"in the encoding {self.encoding}")
        if self.separator != ",":
            parts.append(f"separated by {_SEPARATORS[self.separator]}")
        if self.decimal_point != ".":
            parts.append("with decimal commas")
        if not parts:
            return ""
        return f"read {', '.join(parts)}; if values look wrong, write the file as UTF-8, separated by commas"


def detect_dialect(path: Path) -> CsvDialect:
    """Detect the dialect of a CSV file from its bytes; `.tsv` files are separated by tabs.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    return _detect(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _detect(path: Path, _mtime_ns: int, _size: int) -> CsvDialect:
    encoding = _detect_encoding(path)
    with path.open("rb") as file:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(file.read(SAMPLE_BYTES))
    is_whole = path.stat().st_size <= SAMPLE_BYTES
    if path.suffix.lower() == ".tsv":
        return CsvDialect(encoding, "\t")
    separator, rows = _detect_separator(text.removeprefix("\ufeff"), is_whole=is_whole)
    return CsvDialect(encoding, separator, _detect_decimal_point(separator, rows))


def _detect_encoding(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    for bom, name in _BOMS.items():
        if head.startswith(bom):
            return name
    # Text has no NUL; in UTF-16 every second byte of an ASCII character is one.
    for name, high_bytes in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if high_bytes.count(0) * 2 > len(high_bytes):
            return name
    bad_byte = _first_undecodable(path, _UTF8)
    if bad_byte is None:
        return _UTF8
    with path.open("rb") as file:
        file.seek(max(0, bad_byte - SAMPLE_BYTES // 2))
        sample = file.read(SAMPLE_BYTES)
    text = sample.decode(_UTF8, "replace")
    n_bad = text.count("\ufffd")
    if sum(not character.isascii() for character in text) > 2 * n_bad:
        return _UTF8  # damaged UTF-8
    foreign = b"\n".join(line for line in sample.splitlines() if not line.isascii())
    match = from_bytes(foreign).best() if sum(byte > _ASCII for byte in foreign) >= _MIN_FOREIGN_BYTES else None
    candidates = match.could_be_from_charset if match is not None else []
    encoding = _WESTERN if match is None or _WESTERN in candidates else match.encoding
    return encoding if _first_undecodable(path, encoding) is None else "latin-1"


def _first_undecodable(path: Path, encoding: str) -> int | None:
    """Return the approximate position of the first bytes that an encoding does not have; None if there are none."""
    decoder = codecs.getincrementaldecoder(encoding)()
    position = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return position + error.start
            position += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return position
    return None


def _detect_separator(text: str, *, is_whole: bool) -> tuple[str, list[list[str]]]:
    """Return the separator that divides all rows of a sample into the most columns, and the rows."""
    result: tuple[str, list[list[str]]] = (",", [])
    n_columns = 1
    for separator in _SEPARATORS:
        try:
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
        except csv.Error:
            continue
        if not is_whole:
            rows = rows[:-1]  # the last row is cut off
        width = len(rows[0]) if rows else 0
        if width > n_columns and all(len(row) == width for row in rows):
            result, n_columns = (separator, rows), width
    return result


def _detect_decimal_point(separator: str, rows: Sequence[Sequence[str]]) -> str:
    if separator == ",":
        return "."
    columns = [[cell.strip() for cell in column if cell.strip()] for column in zip(*rows[1:], strict=True)]
    if any(column and any(_POINT_NUMBER.fullmatch(cell) for cell in column) for column in columns):
        return "."
    # Single cells may be damaged, or have a word for a missing number.
    has_commas = any(
        any("," in cell for cell in numbers) and 2 * len(numbers) >= len(column)
        for column in columns
        if (numbers := [cell for cell in column if _COMMA_NUMBER.fullmatch(cell)])
    )
    return "," if has_commas else "."
