"""The local cache file: what a process read last, for its next start while Kafka is unavailable."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.records import PromptRecord

FORMAT = 1
MAX_BYTES = 256 << 20


class _CachedRecords(msgspec.Struct, frozen=True):
    format: int
    topic: str
    records: list[PromptRecord]


def read_cache(path: Path, topic: str) -> PromptCatalogue | None:
    """Read a cache file; None if there is none.

    Args:
        topic: The topic whose records are expected.

    Raises:
        ValueError: The file is not a cache, or one of another topic.
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    try:
        cached = msgspec.json.decode(data, type=_CachedRecords)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if cached.format != FORMAT:
        raise ValueError(f"its format {cached.format} is unknown")
    if cached.topic != topic:
        raise ValueError(f"it is of the topic {cached.topic!r}")
    return PromptCatalogue(cached.records)


def write_cache(path: Path, topic: str, catalogue: PromptCatalogue) -> None:
    """Replace a cache file at once: a reader sees the old or the new one. Only the user can read it.

    Raises:
        OSError: It cannot be written.
    """
    data = msgspec.json.encode(_CachedRecords(FORMAT, topic, catalogue.records))
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
