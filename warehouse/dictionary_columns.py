"""Columns of texts as they are sent to ClickHouse: each a position in distinct texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def dictionary_column(code: NDArray[Any], texts: Sequence[str] | pa.Array) -> pa.DictionaryArray:
    """A column of texts by their positions in `texts`, which may repeat; ClickHouse takes distinct ones alone."""
    names = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    if len(pc.unique(names)) < len(names):
        distinct = names.dictionary_encode()
        code, names = distinct.indices.to_numpy(zero_copy_only=False)[code.astype(np.int64)], distinct.dictionary
    return pa.DictionaryArray.from_arrays(pa.array(code.astype(np.int32, copy=False)), names)


def constant_column(text: str, n: int) -> pa.DictionaryArray:
    """A column of n times one text."""
    return dictionary_column(np.zeros(n, dtype=np.int32), [text])
