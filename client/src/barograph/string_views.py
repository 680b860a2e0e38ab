"""Conversion of Arrow's string views to strings.

The format leaves the slots of nulls undefined, and validation does not look at them. Arrow's cast does: a slot with a
negative length ends the process (pyarrow 26).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_SLOT_BYTES = 16


def to_string(column: Any) -> Any:
    """Convert a column of texts, shape (n,), to the type string.

    Args:
        column: a valid array or chunked array of strings, large strings or string views.
    """
    if not pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([_without_null_slots(chunk).cast(pa.string()) for chunk in column.chunks], pa.string())
    return _without_null_slots(column).cast(pa.string())


def _without_null_slots(views: pa.Array) -> pa.Array:
    """Return the array with empty slots for its nulls."""
    if not views.null_count:
        return views
    validity, slots, *texts = views.buffers()
    raw = pa.Array.from_buffers(pa.binary(_SLOT_BYTES), len(views), [validity, slots], offset=views.offset)
    cleared = pc.fill_null(raw, bytes(_SLOT_BYTES))
    valid = views.is_valid()
    assert not cleared.offset
    assert not valid.offset
    return pa.Array.from_buffers(views.type, len(views), [valid.buffers()[1], cleared.buffers()[1], *texts])
