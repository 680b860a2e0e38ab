"""Atomic writes of files."""

import hashlib
import os
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write a file atomically: after a crash it has either the old or the new content.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
