"""Results as JSON values."""

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any


def plain(result: Any) -> Any:
    """Convert a result to what JSON has: structs by their attributes without properties, unknown numbers as None."""
    import msgspec

    return _finite(msgspec.to_builtins(result, builtin_types=(datetime,), enc_hook=encode_other, str_keys=True))


def encode_other(value: Any) -> Any:
    """Convert what msgspec does not know: arrays, mappings and paths."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
