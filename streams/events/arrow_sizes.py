"""Sizes of Arrow columns whose rows share values, with each row's value written out.

A dictionary may hold one long text that all rows refer to. Views, list views, runs and dense unions share values in the
same way, also inside of lists and structs, where each level multiplies the size. Sizes are computed from the children
up, one array per level, without expanding anything. Sums are floats, since a billion times a billion bytes must not
overflow.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.streams.events.arrow_metadata import VALUE_BYTES

FEW_BYTES = 256 << 10
"""Below this bound on the size of shared values, the exact size is not computed."""

_Sizes = NDArray[np.float64] | float
"""Size of each value, shape (n,), or the size that all values have."""


def shares_values(kind: pa.DataType) -> bool:
    """Return whether rows of a type, or of a type nested in it, may refer to the same values."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return shares_values(kind.storage_type)
    if types.is_dictionary(kind) or _is_view(kind) or types.is_run_end_encoded(kind):
        return True
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return True
    if types.is_union(kind) and kind.mode == "dense":
        return True
    return any(shares_values(kind.field(i).type) for i in range(kind.num_fields))


def shared_bytes(chunks: Sequence[pa.Array]) -> float:
    """Return an upper bound on the size of a column whose rows share values, with each row's value written out.

    The arrays have no offset, as those of a message that was read.
    """
    return sum(map(_total, chunks))


def _total(chunk: pa.Array) -> float:
    if pa.types.is_dictionary(chunk.type) and not chunk.type.value_type.num_fields:
        # The common case, such as a column of one model name. Flat values are all of a dictionary's size at most.
        bound = chunk.dictionary.nbytes * len(chunk)
        if bound <= FEW_BYTES and not _is_view(chunk.type.value_type):
            return float(bound)
    sizes = _sizes(chunk)
    return sizes * len(chunk) if isinstance(sizes, float) else float(sizes.sum())


def _sizes(array: pa.Array) -> _Sizes:
    """Return the size of each value of an array in bytes, at least `VALUE_BYTES`."""
    kind, types = array.type, pa.types
    if not len(array):  # its buffers may be missing
        return 0.0
    if isinstance(kind, pa.BaseExtensionType):
        return _sizes(array.storage)
    if types.is_dictionary(kind):
        return _take(_sizes(array.dictionary), array.indices)
    if types.is_run_end_encoded(kind):
        ends = np.minimum(array.run_ends.to_numpy().astype(np.int64), len(array))
        sizes = _sizes(array.values)
        return sizes if isinstance(sizes, float) else np.repeat(sizes[: len(ends)], np.diff(ends, prepend=0))
    if _is_view(kind):
        # The length is the first four of a view's sixteen bytes.
        lengths = np.frombuffer(array.buffers()[1] or b"", np.int32).reshape(-1, 4)[: len(array), 0]
        return VALUE_BYTES + np.where(_is_valid(array), lengths, 0).astype(np.float64)
    if types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind) or types.is_large_binary(kind):
        text_lengths: NDArray[np.float64] = pc.fill_null(pc.binary_length(array), 0).to_numpy().astype(np.float64)
        return VALUE_BYTES + text_lengths
    if types.is_struct(kind):
        return VALUE_BYTES + _add([_sizes(array.field(i)) for i in range(kind.num_fields)], len(array))
    if types.is_union(kind):
        return VALUE_BYTES + _union_sizes(array)
    if types.is_map(kind):
        return VALUE_BYTES + _ranges(_add([_sizes(array.keys), _sizes(array.items)], len(array.keys)), array)
    if types.is_fixed_size_list(kind):
        sizes, n, width = _sizes(array.values), len(array), int(kind.list_size)
        if isinstance(sizes, float):
            return VALUE_BYTES + sizes * width
        totals: NDArray[np.float64] = sizes[: n * width].reshape(n, width).sum(axis=1)
        return VALUE_BYTES + totals
    if kind.num_fields:
        return VALUE_BYTES + _ranges(_sizes(array.values), array)
    return float(VALUE_BYTES if types.is_null(kind) else max(VALUE_BYTES, kind.bit_width // 8))


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _is_valid(array: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool)


def _take(sizes: _Sizes, indices: pa.Array) -> _Sizes:
    """Return the sizes that indices refer to; null refers to nothing."""
    if isinstance(sizes, float):
        return sizes
    codes = pc.fill_null(indices, 0).to_numpy()
    return np.append(sizes, VALUE_BYTES)[np.where(_is_valid(indices), codes, len(sizes))]


def _add(columns: Sequence[_Sizes], n: int) -> _Sizes:
    """Add the sizes of the members of n structs; arrays may be longer."""
    total: _Sizes = 0.0
    for sizes in columns:
        total = total + (sizes if isinstance(sizes, float) else sizes[:n])
    return total


def _ranges(sizes: _Sizes, lists: pa.Array) -> NDArray[np.float64]:
    """Add the sizes of the values of each list, a list view or a list."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    if pa.types.is_list_view(lists.type) or pa.types.is_large_list_view(lists.type):
        lengths = np.where(_is_valid(lists), lists.sizes.to_numpy(), 0).astype(np.int64)
        starts = np.where(lengths > 0, offsets, 0)
    else:
        starts, lengths = offsets[:-1], np.diff(offsets)
    if isinstance(sizes, float):
        return sizes * lengths.astype(np.float64)
    ends = np.concatenate(([0.0], np.cumsum(sizes)))
    return ends[starts + lengths] - ends[starts]


def _union_sizes(union: pa.Array) -> _Sizes:
    codes = union.type_codes.to_numpy()
    offsets = union.offsets.to_numpy() if union.type.mode == "dense" else np.arange(len(union))
    result = np.zeros(len(union))
    for i, code in enumerate(union.type.type_codes):
        rows = codes == code
        sizes = _sizes(union.field(i))
        result[rows] = sizes if isinstance(sizes, float) else sizes[offsets[rows]]
    return result
