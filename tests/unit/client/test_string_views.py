"""String views become strings, whatever the slots of their nulls contain."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest
from barograph.string_views import to_string

LONG = b"b" * 30
SLOTS = {
    "negative length": struct.pack("<iiii", -0x1000000, 0, 0, 0),
    "length beyond the text": struct.pack("<iiii", 1 << 30, 0, 0, 0),
    "unknown buffer": struct.pack("<iiii", 30, 0, 1 << 20, 0),
}


def views(null_slot: bytes) -> pa.Array:
    slots = [struct.pack("<i12s", 1, b"a"), null_slot, struct.pack("<i4sii", 30, LONG[:4], 0, 0), null_slot]
    validity, data = bytes([0b0101]), [pa.py_buffer(b"".join(slots)), pa.py_buffer(LONG)]
    return pa.Array.from_buffers(pa.string_view(), len(slots), [pa.py_buffer(validity), *data])


@pytest.mark.parametrize("slot", SLOTS.values(), ids=SLOTS)
@pytest.mark.parametrize("start", [0, 1, 3])
def test_slots_of_nulls_are_not_read(slot: bytes, start: int) -> None:
    array = views(slot).slice(start)
    array.validate(full=True)
    expected = ["a", None, LONG.decode(), None][start:]
    assert to_string(array).to_pylist() == expected
    assert to_string(pa.chunked_array([array, array])).to_pylist() == expected * 2


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("to", [pa.string(), pa.large_string()])
def test_every_type_of_text_becomes_strings(kind: pa.DataType, to: pa.DataType) -> None:
    for texts in ([], [None, None], ["", None, "名前", "x" * 100]):
        column = to_string(pa.array(texts, kind), to)
        assert (column.type, column.to_pylist()) == (to, texts)
