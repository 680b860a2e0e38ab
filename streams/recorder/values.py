"""Conversion of single JSON values to recorded text and numbers.

Raw rows hold events as they were sent. Numbers that are not finite are recorded as such; in JSON the texts `NaN`,
`Infinity` and `-Infinity` spell them. A value that is neither number, flag, text nor null is recorded as its JSON text.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.streams.events.event_type import replace_surrogates
from barograph_server.warehouse.tables import constant_column

NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""JSON spelling of numbers that are not finite."""
UNWRITABLE = "…"
"""Recorded in place of a value that cannot be written as text."""
MAX_UNKNOWN = 65_535
"""Largest value of the column `unknown`."""
_TEXTUAL = (str, type(None))
_INT64_MAX = 2**63 - 1


def text_of(value: Any) -> str:
    """Convert a value to text: text unchanged, null as empty text, other values as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return replace_surrogates(value)
    try:
        return replace_surrogates(json.dumps(value, default=str, ensure_ascii=False))
    except (RecursionError, ValueError):  # nested too deeply, or an integer of thousands of digits
        return UNWRITABLE


def number_of(value: Any) -> float | None:
    """Convert an int, a float or the text of a number that is not finite. Return None for other values, flags too."""
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return np.inf if value > 0 else -np.inf
    return float(value) if value in NOT_FINITE else None


def text_column(values: Sequence[Any]) -> pa.Array:
    """Build a text column without nulls, dictionary-encoded if all values are the same."""
    if values and type(values[0]) in _TEXTUAL and values.count(values[0]) == len(values):
        return constant_column(values[0] or "", len(values))
    kinds = set(map(type, values))
    if not kinds <= {str, type(None)}:
        values = list(map(text_of, values))
    return pc.fill_null(pa.array(values, pa.string()), "")


def number_column(values: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Build a column of numbers.

    Returns:
        The numbers, shape (n,), NaN for null; and 1 for each value that is neither number nor null, else 0.
    """
    if set(map(type, values)) <= {float, type(None)}:
        return np.array(values, dtype=np.float64), np.zeros(len(values), dtype=np.int64)
    numbers = [None if value is None else number_of(value) for value in values]
    invalid = [number is None and value is not None for number, value in zip(numbers, values, strict=True)]
    return np.array(numbers, dtype=np.float64), np.array(invalid, dtype=np.int64)


def integer_column(values: Sequence[Any]) -> NDArray[np.int64]:
    """Build a column of non-negative integers; -1 for other values."""
    if set(map(type, values)) == {int}:
        try:
            return np.maximum(np.array(values, dtype=np.int64), -1)
        except OverflowError:
            pass
    return np.array([each if type(each) is int and 0 <= each <= _INT64_MAX else -1 for each in values], dtype=np.int64)
