"""Results as JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec


def plain(result: Any) -> Any:
    """Convert a result to dictionaries of its attributes, lists and scalars; properties are left out."""
    return msgspec.to_builtins(result, enc_hook=encode_other)


def encode_other(value: Any) -> Any:
    """Convert what msgspec does not know: arrays and paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")
