"""Members of zip files that are compressed with zstd (method 93), which Python's `zipfile` reads only from 3.14 on."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import pyarrow as pa

from cli.eval.logs.errors import EvalLogError
from cli.eval.logs.json_values import MAX_LOG_BYTES

ZSTD = 93
_LOCAL_HEADER_BYTES = 30
_NAME_BYTES, _EXTRA_BYTES = slice(26, 28), slice(28, 30)


class ZipMembers:
    """A zip file of at most `MAX_LOG_BYTES` bytes of content."""

    def __init__(self, path: Path) -> None:
        """Read the list of members.

        Raises:
            EvalLogError: the file is no zip file, or its content is too large.
        """
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._members = {info.filename: info for info in archive.infolist()}
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise EvalLogError(
                f"{path}: is not a complete zip file: {error}. Did the run end? `inspect log dump` shows what is there."
            ) from error
        size = sum(info.file_size for info in self._members.values())
        if size > MAX_LOG_BYTES:
            raise EvalLogError(f"{path}: contains {size:,} bytes; logs of up to {MAX_LOG_BYTES:,} can be imported.")

    @property
    def names(self) -> list[str]:
        """The names of the members, sorted."""
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        """Return the content of a member.

        Raises:
            EvalLogError: it is missing, damaged, or compressed by another method.
        """
        info = self._members.get(name)
        if info is None:
            raise EvalLogError(f"{self._path}: has no member {name}. Did the run end?")
        try:
            if info.compress_type != ZSTD:
                with zipfile.ZipFile(self._path) as archive:
                    return archive.read(info)
            content = self._read_zstd(info)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, pa.ArrowException, zlib.error) as error:
            raise EvalLogError(f"{self._path}: the member {name} cannot be read: {error}.") from error
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise EvalLogError(f"{self._path}: the member {name} is damaged: its checksum differs.")
        return content

    def _read_zstd(self, info: zipfile.ZipInfo) -> bytes:
        with self._path.open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER_BYTES)
            skipped = int.from_bytes(header[_NAME_BYTES], "little") + int.from_bytes(header[_EXTRA_BYTES], "little")
            file.seek(skipped, 1)
            packed = file.read(info.compress_size)
        # The content is never larger than the size that the list of members states.
        return bytes(pa.Codec("zstd").decompress(packed, decompressed_size=info.file_size, asbytes=True))
