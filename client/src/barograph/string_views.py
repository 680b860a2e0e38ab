"""Conversion of Arrow's string views to strings.

The format leaves the slots of nulls undefined, and validation does not look at them. Arrow's cast does: a slot with a
negative length ends the process (pyarrow 26).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_SLOT_BYTES = 16
_STRING = pa.string()


def to_string(column: Any, kind: pa.DataType = _STRING) -> Any:
    """Convert a column, shape (n,), to strings as Arrow's cast does.

    Args:
        column: a valid array or chunked array of any type that Arrow casts to strings.
        kind: string or large_string.
    """
    if pa.types.is_string_view(column.type):
        if isinstance(column, pa.ChunkedArray):
            column = pa.chunked_array([_without_null_slots(chunk) for chunk in column.chunks], column.type)
        else:
            column = _without_null_slots(column)
    return column.cast(kind)


def _without_null_slots(views: pa.Array) -> pa.Array:
    if not views.null_count:
        return views
    validity, slots, *texts = views.buffers()
    raw = pa.Array.from_buffers(pa.binary(_SLOT_BYTES), len(views), [validity, slots], offset=views.offset)
    cleared = pc.fill_null(raw, bytes(_SLOT_BYTES))
    valid = views.is_valid()
    assert not cleared.offset
    assert not valid.offset
    return pa.Array.from_buffers(views.type, len(views), [valid.buffers()[1], cleared.buffers()[1], *texts])
