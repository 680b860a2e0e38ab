"""Single values of raw events as they are recorded: text, numbers, and what is neither.

Raw rows hold events as they came. Numbers that are not finite stay what they are, and the texts `NaN`, `Infinity`
and `-Infinity` stand for them where JSON has no number. Whatever is neither number, flag, text nor null is recorded
as its JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from warehouse.dictionary_columns import constant_column

NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""How JSON events spell numbers that are not finite."""
UNWRITABLE = "…"
"""Stands for a value that was read and cannot be written as text."""
MAX_UNKNOWN = 65_535
"""What the column `unknown` holds at most."""
_TEXTUAL = (str, type(None))
_INT64_MAX = 2**63 - 1


def text_of(value: Any) -> str:
    """Write a value as text: text as it is, null as no text, everything else as its JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value)
    try:
        return clean(json.dumps(value, default=str, ensure_ascii=False))
    except (RecursionError, ValueError):  # nested too deep, or a whole number of thousands of digits
        return UNWRITABLE


def number_of(value: Any) -> float | None:
    """Read a number: an int or float, or the text of one that is not finite. None for all else, flags too."""
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return np.inf if value > 0 else -np.inf
    return float(value) if value in NOT_FINITE else None


def clean(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def text_column(values: Sequence[Any]) -> pa.Array:
    """Write values as a column of text without nulls, dictionary-encoded where all are the same."""
    if values and type(values[0]) in _TEXTUAL and values.count(values[0]) == len(values):
        return constant_column(values[0] or "", len(values))
    kinds = set(map(type, values))
    if not kinds <= {str, type(None)}:
        values = list(map(text_of, values))
    return pc.fill_null(pa.array(values, pa.string()), "")


def number_column(values: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read values as numbers.

    Returns:
        Shape (n,), NaN where there is none; and 1 for each value that is something else, else 0.
    """
    if set(map(type, values)) <= {float, type(None)}:
        return np.array(values, dtype=np.float64), np.zeros(len(values), dtype=np.int64)
    read = [None if value is None else number_of(value) for value in values]
    other = [found is None and value is not None for found, value in zip(read, values, strict=True)]
    return np.array(read, dtype=np.float64), np.array(other, dtype=np.int64)


def integer_column(values: Sequence[Any]) -> NDArray[np.int64]:
    """Read whole numbers from 0 on; -1 for all else."""
    if set(map(type, values)) == {int}:
        try:
            return np.maximum(np.array(values, dtype=np.int64), -1)
        except OverflowError:
            pass
    return np.array([each if type(each) is int and 0 <= each <= _INT64_MAX else -1 for each in values], dtype=np.int64)
