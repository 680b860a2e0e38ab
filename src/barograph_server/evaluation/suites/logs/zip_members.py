"""Members of zip files that are compressed with zstd (method 93), which Python's `zipfile` reads only from 3.14 on."""

import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pyarrow as pa

from barograph_server.evaluation.suites.logs.json_values import MAX_LOG_BYTES, EvalLogError

ZSTD = 93
_OF_PYTHON = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGES = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, pa.ArrowException, zlib.error)
_LOCAL_HEADER_BYTES = 30
_NAME_BYTES, _EXTRA_BYTES = slice(26, 28), slice(28, 30)


class ZipMembers:
    """A zip file of at most `MAX_LOG_BYTES` bytes of content; a context manager, which closes the file."""

    def __init__(self, path: Path) -> None:
        """Open the file, and read the list of members."""
        self._path = path
        with ExitStack() as opened:
            try:
                self._file = opened.enter_context(path.open("rb"))
                self._archive = opened.enter_context(zipfile.ZipFile(self._file))
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
                raise EvalLogError(
                    f"{path}: is not a complete zip file: {error}. Did the run end? `inspect log dump` shows what is "
                    "there."
                ) from error
            self._members = {info.filename: info for info in self._archive.infolist()}
            size = sum(info.file_size for info in self._members.values())
            if size > MAX_LOG_BYTES:
                raise EvalLogError(f"{path}: contains {size:,} bytes; logs of up to {MAX_LOG_BYTES:,} can be imported.")
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def names(self) -> list[str]:
        """The names of the members, sorted."""
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        """Return the content of a member; no more is unpacked than the list of members states."""
        info = self._members.get(name)
        if info is None:
            raise EvalLogError(f"{self._path}: has no member {name}. Did the run end?")
        if info.compress_type not in (*_OF_PYTHON, ZSTD):
            raise EvalLogError(
                f"{self._path}: the member {name} is compressed by method {info.compress_type}; stored members, "
                "deflate and zstd can be read. Convert the log with `inspect log convert --to json`."
            )
        try:
            content = self._read_zstd(info) if info.compress_type == ZSTD else self._unpack(info)
        except _DAMAGES as error:
            raise EvalLogError(f"{self._path}: the member {name} cannot be read: {error}.") from error
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise EvalLogError(f"{self._path}: the member {name} is damaged: its size or checksum differs.")
        return content

    def _unpack(self, info: zipfile.ZipInfo) -> bytes:
        with self._archive.open(info) as member:
            return member.read(info.file_size + 1)

    def _read_zstd(self, info: zipfile.ZipInfo) -> bytes:
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL_HEADER_BYTES)
        skipped = int.from_bytes(header[_NAME_BYTES], "little") + int.from_bytes(header[_EXTRA_BYTES], "little")
        self._file.seek(skipped, 1)
        packed = self._file.read(info.compress_size)
        return bytes(pa.Codec("zstd").decompress(packed, decompressed_size=info.file_size, asbytes=True))
