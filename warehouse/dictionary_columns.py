"""Dictionary-encoded text columns: each value is an index into distinct texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def dictionary_column(codes: NDArray[Any], texts: Sequence[str] | pa.Array) -> pa.DictionaryArray:
    """Build a text column from indexes into `texts`, which may repeat; ClickHouse accepts distinct texts only.

    Args:
        codes: shape (rows,), the index of each row's text.
    """
    names = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    if len(pc.unique(names)) < len(names):
        distinct = names.dictionary_encode()
        codes, names = distinct.indices.to_numpy(zero_copy_only=False)[codes.astype(np.int64)], distinct.dictionary
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32, copy=False)), names)


def constant_column(text: str, n: int) -> pa.DictionaryArray:
    """Build a column that repeats one text n times."""
    return dictionary_column(np.zeros(n, dtype=np.int32), [text])
