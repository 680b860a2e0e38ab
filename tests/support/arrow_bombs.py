"""Arrow messages of at most 1 MiB whose column `features.x` or `label` unpacks to far more, or to what limits allow."""

import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tests.support.arrow_types import write
from tests.support.flatbuffer import Offsets, Pairs, Table, Text, dump

NOW_MS = 1_790_000_000_000
KAFKA_BYTES = 1 << 20
MAX_ROWS = 10_000
_MILLION = 1 << 20
_BILLION = 1_000_000_000


def message(
    column: pa.Array, compression: str | None = None, *, names: Sequence[str] = ("features.x", "label")
) -> bytes:
    n = len(column)
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), ["toy"])
    at = pa.array(np.full(n, NOW_MS))
    columns = {"model": text, "version": text, "id": text, "at": at} | dict.fromkeys(names, column)
    return write(pa.table(columns), compression)


def in_one_list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _all_in_one_view(values: pa.Array, n: int) -> pa.Array:
    sizes = pa.array(np.full(n, len(values), np.int32))
    return pa.ListViewArray.from_arrays(pa.array(np.zeros(n, np.int32)), sizes, values)


def _nulls(n: int) -> pa.Array:
    return pa.Array.from_buffers(pa.null(), n, [None])


def _empty_structs(n: int) -> pa.Array:
    return pa.StructArray.from_buffers(pa.struct([]), n, [None])


def _same(value: Any, n: int) -> pa.Array:
    values = value if isinstance(value, pa.Array) else pa.array([value])
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), values)


def views_of_one_text(n: int) -> pa.Array:
    view = (100_000).to_bytes(4, "little") + b"qqqq" + bytes(8)
    return pa.Array.from_buffers(pa.string_view(), n, [None, pa.py_buffer(view * n), pa.py_buffer(b"q" * 100_000)])


def _run(n: int, values: pa.Array) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array([n], pa.int32()), values)


def _dense(n: int, child: pa.Array) -> pa.Array:
    """Return a dense union of n rows that all have the first value of the child."""
    codes, offsets = pa.array(np.zeros(n, np.int8)), pa.array(np.zeros(n, np.int32))
    return pa.UnionArray.from_dense(codes, offsets, [child])


def _wide(column: pa.Array, n: int, compression: str | None = None) -> bytes:
    return message(column, compression, names=[f"features.f{i}" for i in range(n)])


def _deltas() -> bytes:
    """Return a dictionary of 400 kB and two thousand record batches, each with a delta of one value."""
    sink = pa.BufferOutputStream()
    kind = pa.schema({"features.x": pa.dictionary(pa.int32(), pa.string())})
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, kind, options=options) as writer:
        values = ["x" * 400_000]
        for i in range(1000):
            values = [*values, str(i)]
            column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), values)
            writer.write_batch(pa.record_batch([column], schema=kind))
    data: bytes = sink.getvalue().to_pybytes()
    return data


NULL, _INT, _STRING, _STRUCT = 1, 2, 5, 13
_INT8 = Table({0: ("i", 8), 1: ("b", 1)})


def field(name: bytes | Text, kind: int, type_: Table, children: Sequence[Table] = (), metadata: Any = None) -> Table:
    slots: dict[int, Any] = {0: name if isinstance(name, Text) else Text(name), 2: ("B", kind), 3: type_}
    slots[5] = Offsets(children)
    return Table(slots if metadata is None else slots | {6: metadata})


def schema(fields: Sequence[Table], metadata: Any = None) -> Table:
    return Table({1: Offsets(fields)} if metadata is None else {1: Offsets(fields), 2: metadata})


def encapsulate(kind: int, header: Table, body: bytes = b"", metadata: Any = None) -> bytes:
    slots: dict[int, Any] = {0: ("h", 4), 1: ("B", kind), 2: header, 3: ("q", len(body))}
    data = dump(Table(slots if metadata is None else slots | {4: metadata}))
    return b"\xff\xff\xff\xff" + struct.pack("<i", len(data)) + data + body


_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_X = [field(b"features.x", _INT, _INT8)]


def _entries(n: int) -> Offsets:
    return Offsets([Table({0: Text(b"key"), 1: Text(b"v" * 500_000)})] * n)


def _shared_fields() -> bytes:
    """Return a schema of a thousand structs of a thousand structs of four fields, all the same ones."""
    nothing = Table({})
    inner = field(b"a", _STRUCT, nothing, [field(b"b", _INT, _INT8)] * 4)
    middle = field(b"c", _STRUCT, nothing, [inner] * 1000)
    return encapsulate(1, schema([field(b"features.x", _STRUCT, nothing, [middle] * 1000)])) + _END


def _shared_names() -> bytes:
    name = Text(b"n" * 500_000)
    fields = [field(name, _INT, _INT8) for _ in range(4000)]
    return encapsulate(1, schema([field(b"features.x", _STRUCT, Table({}), fields)])) + _END


def _shared_zones() -> bytes:
    timestamp = Table({0: ("h", 1), 1: Text(b"z" * 500_000)})
    fields = [field(b"a", 10, timestamp)] * 100_000
    return encapsulate(1, schema([field(b"features.x", _STRUCT, Table({}), fields)])) + _END


def _overlapping_buffers() -> bytes:
    """Return a thousand texts of one row that all refer to the same 800 kB of the body."""
    n, size = 1000, 800_000
    fields = [field(f"features.f{i}".encode(), _STRING, Table({})) for i in range(n)]
    body = struct.pack("<ii", 0, size) + b"o" * size
    buffers = [(0, 0), (0, 8), (8, size)] * n
    batch = Table({0: ("q", 1), 1: Pairs([(1, 0)] * n), 2: Pairs(buffers)})
    return encapsulate(1, schema(fields)) + encapsulate(3, batch, body) + _END


def _batch_metadata() -> bytes:
    batch = Table({0: ("q", 1), 1: Pairs([(1, 0)]), 2: Pairs([(0, 0), (0, 1)])})
    return encapsulate(1, schema(_X)) + encapsulate(3, batch, bytes(8), _entries(50_000)) + _END


TOO_LARGE: dict[str, Callable[[], bytes]] = {
    "list of nulls": lambda: message(in_one_list(_nulls(2**31 - 1))),
    "list of nulls, many rows": lambda: message(
        pa.ListArray.from_arrays(pa.array(np.arange(9001, dtype=np.int32) * 100_000), _nulls(900_000_000))
    ),
    "fixed-size list of nulls": lambda: message(pa.FixedSizeListArray.from_arrays(_nulls(2**31 - 1), 2**31 - 1)),
    "list of empty fixed-size lists": lambda: message(
        in_one_list(
            pa.FixedSizeListArray.from_buffers(
                pa.list_(pa.int8(), 0), _BILLION, [None], children=[pa.array([], pa.int8())]
            )
        )
    ),
    "list of empty structs": lambda: message(in_one_list(_empty_structs(_BILLION))),
    "list of empty bytes": lambda: message(
        in_one_list(pa.Array.from_buffers(pa.binary(0), _BILLION, [None, pa.py_buffer(b"")]))
    ),
    "list view of nulls": lambda: message(_all_in_one_view(_nulls(_BILLION), 1)),
    "list views of the same nulls": lambda: message(_all_in_one_view(_nulls(_MILLION), 9000)),
    "dictionary of a list of nulls": lambda: message(_same(in_one_list(_nulls(_BILLION)), 9000)),
    "run of a list of nulls": lambda: message(_run(9000, in_one_list(_nulls(100_000)))),
    "list of a run": lambda: message(in_one_list(_run(2**31 - 1, pa.array(["x" * 500_000])))),
    "list of one text": lambda: message(in_one_list(_same("x" * 100_000, 200_000))),
    "map of one text": lambda: message(
        pa.MapArray.from_arrays([0, 10_000], pa.array([str(i) for i in range(10_000)]), _same("x" * 100_000, 10_000))
    ),
    "map of nulls": lambda: message(
        pa.MapArray.from_arrays(
            pa.array([0, _MILLION], pa.int32()),
            pa.FixedSizeListArray.from_arrays(_nulls(4 * _MILLION), 4),
            _nulls(_MILLION),
        )
    ),
    "list of views of one text": lambda: message(in_one_list(views_of_one_text(25_000))),
    "views of views of views": lambda: message(
        _all_in_one_view(_all_in_one_view(_all_in_one_view(pa.array([1] * 9000, pa.int8()), 9000), 9000), 1)
    ),
    "dense union of one list": lambda: message(_dense(9000, in_one_list(pa.array([1] * 400_000, pa.int8())))),
    "sparse union of nulls": lambda: message(
        in_one_list(pa.UnionArray.from_sparse(pa.array(np.zeros(400_000, np.int8)), [_nulls(400_000)] * 3))
    ),
    "extension of nulls": lambda: message(
        in_one_list(pa.ExtensionArray.from_storage(pa.opaque(pa.null(), "x", "y"), _nulls(_BILLION)))
    ),
    "compressed numbers": lambda: _wide(pa.array(np.zeros(5000)), 400, "zstd"),
    "compressed flags": lambda: _wide(pa.array(np.zeros(MAX_ROWS, bool)), 2000, "zstd"),
    "columns of nulls": lambda: _wide(_nulls(MAX_ROWS), 3000),
    "deltas of one dictionary": _deltas,
    "shared fields": _shared_fields,
    "shared names of fields": _shared_names,
    "shared time zones": _shared_zones,
    "shared metadata of the schema": lambda: encapsulate(1, schema(_X, _entries(100_000))) + _END,
    "shared metadata of a field": lambda: (
        encapsulate(1, schema([field(b"features.x", _INT, _INT8, metadata=_entries(100_000))])) + _END
    ),
    "shared metadata of a record batch": _batch_metadata,
    "overlapping buffers": _overlapping_buffers,
}
"""Messages beyond the limit of unpacked bytes."""

_VALUES = 1_000_000
_ESCAPED = "\x01" * 8_300_000

LARGEST: dict[str, Callable[[], bytes]] = {
    "nulls": lambda: message(in_one_list(_nulls(_VALUES // 2))),
    "empty structs": lambda: message(in_one_list(_empty_structs(_VALUES // 2))),
    "structs": lambda: message(in_one_list(pa.StructArray.from_arrays([_nulls(_VALUES // 4)], ["a"]))),
    "empty lists": lambda: message(
        in_one_list(pa.ListArray.from_arrays(pa.array(np.zeros(_VALUES // 2 + 1, np.int32)), _nulls(0))), "zstd"
    ),
    "flags": lambda: message(in_one_list(pa.array(np.zeros(_VALUES // 2, bool)))),
    "numbers": lambda: message(in_one_list(pa.array(np.full(_VALUES // 2, 0.1))), "zstd"),
    "decimals": lambda: message(
        in_one_list(pa.array([Decimal("1." + "1" * 30)] * (_VALUES // 8), pa.decimal256(70, 30))), "zstd"
    ),
    "durations": lambda: message(in_one_list(pa.array(np.full(_VALUES // 2, 10**15)).cast(pa.duration("ns"))), "zstd"),
    "intervals": lambda: message(
        in_one_list(pa.array([(1, 2, 3)] * (_VALUES // 4), pa.month_day_nano_interval())), "zstd"
    ),
    "texts": lambda: message(in_one_list(pa.array(["abcdefgh"] * (_VALUES // 8))), "zstd"),
    "a text of characters that JSON escapes": lambda: message(
        in_one_list(pa.array([_ESCAPED[: len(_ESCAPED) // 2]])), "zstd"
    ),
    "a wide text of characters that JSON escapes": lambda: message(
        in_one_list(pa.array(["\U0001f600" + _ESCAPED[: len(_ESCAPED) // 2]])), "zstd"
    ),
    "bytes": lambda: message(in_one_list(pa.array([bytes(4_000_000)])), "zstd"),
    "a map": lambda: message(
        pa.MapArray.from_arrays([0, 100_000], pa.array([str(i) for i in range(100_000)]), _nulls(100_000)), "zstd"
    ),
    "one text": lambda: message(_same("x" * 800, 5000)),
    "one list": lambda: message(_same(in_one_list(pa.array([1] * 100)), 5000)),
    "a run": lambda: message(_run(5000, pa.array(["x" * 800]))),
    "list views of the same values": lambda: message(_all_in_one_view(pa.array([1] * 100), 5000)),
    "columns of flags": lambda: _wide(pa.array(np.zeros(1000, bool)), 1000, "zstd"),
    "columns of nulls": lambda: _wide(_nulls(MAX_ROWS), 96),
    "columns of numbers": lambda: _wide(pa.array(np.zeros(MAX_ROWS)), 96, "zstd"),
    "columns of texts": lambda: _wide(pa.array(["ab"] * MAX_ROWS), 40, "zstd"),
    "rows of texts": lambda: message(pa.array(["x" * 400] * MAX_ROWS), "zstd"),
    "many columns of one row": lambda: _wide(pa.array([1]), 3000),
    "rows without names": lambda: write(pa.table({f"features.f{i}": _nulls(1000) for i in range(900)})),
}
"""Messages that unpack to about as much as the limits allow."""
