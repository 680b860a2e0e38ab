"""Arrow arrays of all types: flat, extensions, nested in each parent; three values, the second null where possible."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa

N = 3
_OFFSETS = [0, 1, 2, 3]


def _int32(values: list[int]) -> pa.Array:
    return pa.array(values, pa.int32())


def flat_arrays() -> dict[str, pa.Array]:
    decimals = [pa.decimal32(5, 1), pa.decimal64(5, 1), pa.decimal128(5, 1), pa.decimal256(5, 1)]
    times = [*(pa.duration(unit) for unit in ("s", "ns")), *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns"))]
    times += [pa.time32("s"), pa.time64("ns"), pa.timestamp("s", "Europe/Berlin"), pa.timestamp("ms", "+02:30")]
    numbers = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
    numbers += [pa.float16(), pa.float32(), pa.float64()]
    arrays = {str(kind): pa.array([1, None, 2], kind) for kind in (*numbers, *times, pa.date32())}
    arrays |= {str(kind): pa.array([Decimal(1), None, Decimal(2)], kind) for kind in decimals}
    arrays |= {
        str(kind): pa.array([b"a", None, b"\xff" * 30], kind)
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view())
    }
    arrays |= {
        str(kind): pa.array(["a", None, "b" * 30], kind) for kind in (pa.string(), pa.large_string(), pa.string_view())
    }
    days = pa.array([86_400_000, None, 0], pa.int64()).cast(pa.date64())
    tensors = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3], pa.int8()), 1)
    return arrays | {
        "null": pa.nulls(N),
        "bool": pa.array([True, None, False]),
        "date64": days,
        "interval": pa.array([(1, 2, 3), None, (1, 2, 3)], pa.month_day_nano_interval()),
        "fixed_size_binary": pa.array([b"ab", None, b"cd"], pa.binary(2)),
        "empty fixed_size_binary": pa.array([b"", None, b""], pa.binary(0)),
        "time beyond Python's range": pa.array([2**62, None, 1], pa.int64()).cast(pa.timestamp("s")),
        "date beyond Python's range": pa.array([2**31 - 1, None, 1], pa.int32()).cast(pa.date32()),
        "time in an unknown zone": pa.array([1, None, 2], pa.timestamp("ms", "Moon/Tranquility")),
        "uuid": _extension(pa.uuid(), pa.array([b"0" * 16, None, b"1" * 16], pa.binary(16))),
        "json": _extension(pa.json_(), pa.array(["{}", None, "1"])),
        "bool8": _extension(pa.bool8(), pa.array([1, None, 0], pa.int8())),
        "opaque": _extension(pa.opaque(pa.int8(), "x", "y"), pa.array([1, None, 0], pa.int8())),
        "tensor": _extension(pa.fixed_shape_tensor(pa.int8(), [1]), tensors),
    }


def _extension(kind: Any, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


def _dense(child: pa.Array) -> pa.Array:
    offsets = _int32([0, 0, 2])
    return pa.UnionArray.from_dense(pa.array([0, 1, 0], pa.int8()), offsets, [child, pa.array([1, 2, 3])])


PARENTS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "list": lambda child: pa.ListArray.from_arrays(_int32(_OFFSETS), child),
    "large_list": lambda child: pa.LargeListArray.from_arrays(pa.array(_OFFSETS, pa.int64()), child),
    "list_view": lambda child: pa.ListViewArray.from_arrays(_int32([0, 0, 0]), _int32([3, 1, 0]), child),
    "large_list_view": lambda child: pa.LargeListViewArray.from_arrays(
        pa.array([0, 0, 0], pa.int64()), pa.array([3, 1, 0], pa.int64()), child
    ),
    "fixed_size_list": lambda child: pa.FixedSizeListArray.from_arrays(child, 1),
    "empty fixed_size_list": lambda child: pa.FixedSizeListArray.from_buffers(
        pa.list_(child.type, 0), N, [None], children=[child.slice(0, 0)]
    ),
    "struct": lambda child: pa.StructArray.from_arrays([child, child], ["a", "b"]),
    "map": lambda child: pa.MapArray.from_arrays(_int32(_OFFSETS), pa.array(["a", "b", "c"]), child),
    "sparse_union": lambda child: pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [child, pa.array([1, 2, 3])]
    ),
    "dense_union": _dense,
    "run_end_encoded": lambda child: pa.RunEndEncodedArray.from_arrays(_int32([1, 2, 3]), child),
    "dictionary": lambda child: pa.DictionaryArray.from_arrays(pa.array([2, None, 2], pa.int8()), child),
}


def all_arrays() -> dict[str, pa.Array]:
    """Return arrays by type, flat, nested, and texts nested twice, without those that Arrow cannot write."""
    flat = flat_arrays()
    arrays = flat | {"empty struct": pa.array([{}, None, {}], pa.struct([]))}
    texts = {f"{name} of string": make(flat["string"]) for name, make in PARENTS.items()}
    for outer, wrap in PARENTS.items():
        for name, child in (flat | texts).items():
            try:
                array = wrap(child)
                pa.ipc.open_stream(write(pa.table({"a": array}))).read_all()
            except (pa.ArrowException, OSError, TypeError):
                continue
            arrays[f"{outer} of {name}"] = array
    return arrays


def write(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data
