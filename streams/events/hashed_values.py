"""Values of fields that the contract hashes. One that is no hash was published in plain text and must not be stored."""

import struct
from collections.abc import Callable, Sequence
from itertools import chain, starmap
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract
from barograph.publisher.pii import DIGEST_CHARS, HASH_PATTERN, KEY_ID_CHARS
from msgspec.structs import astuple
from numpy.typing import NDArray

NOT_HASHED: Final = "not-hashed"
"""Recorded in place of a value that is no hash. It is no hash either: a rebuild from raw rows counts it as invalid."""
CHUNK: Final = 4_000
"""Values compared at once, so that their bytes stay in the processor's cache."""
_WHOLE_HASH: Final = rf"\A{HASH_PATTERN}\z"
_HASH_CHARS: Final = KEY_ID_CHARS + 1 + DIGEST_CHARS


def hashed_sources(contract: Contract) -> frozenset[str]:
    """Return the sources whose values the publisher hashes."""
    return frozenset(field.source for field in contract.fields if field.pii == "hash")


def plain_values(texts: pa.Array) -> NDArray[np.bool_] | None:
    """Return a mask of the values that are neither null nor a hash, shape (n,); None if there are none."""
    present = texts.drop_null()
    if all(_are_hashes(present.slice(start, CHUNK)) for start in range(0, len(present), CHUNK)):
        return None
    hashed = pc.fill_null(pc.match_substring_regex(texts, _WHOLE_HASH), True)
    mask: NDArray[np.bool_] = ~hashed.to_numpy(zero_copy_only=False)
    return mask


def replace_plain_values(texts: pa.Array, replacement: str) -> pa.Array:
    """Replace the values that are neither null nor a hash."""
    plain = plain_values(texts)
    return texts if plain is None else pc.if_else(pa.array(plain), pa.scalar(replacement, pa.string()), texts)


def _are_hashes(texts: pa.Array) -> bool:
    """Return whether all texts, of which none is null, are hashes: 20 ns a value, a regular expression takes 130 ns."""
    n = len(texts)
    _, offset_bytes, data = texts.buffers()
    offsets = np.frombuffer(offset_bytes, np.int32, n + 1, texts.offset * 4)
    if not (np.diff(offsets) == _HASH_CHARS).all():
        return False
    characters = np.frombuffer(data, np.uint8, n * _HASH_CHARS, int(offsets[0]))
    # Unsigned differences wrap around, so that one comparison checks both limits of a range.
    is_digit = (characters - np.uint8(ord("0")) < 10) | (characters - np.uint8(ord("a")) < 6)
    colons = characters.reshape(n, _HASH_CHARS)[:, KEY_ID_CHARS] == ord(":")
    return bool(colons.all()) and int(np.count_nonzero(is_digit)) == n * (_HASH_CHARS - 1)


class StructNumbers:
    """Reads members of structs of one type, each a number, a flag or None.

    Args:
        members: names of one or more members.
        all_members: whether these are all members of the struct, in their order. Reading all is twice as fast.
    """

    def __init__(self, members: Sequence[str], *, all_members: bool) -> None:
        self._n = len(members)
        self._get: Callable[[Any], Any] = astuple if all_members and self._n > 1 else attrgetter(*members)
        self._pack = struct.Struct(f"{self._n}d").pack

    def read(self, structs: Sequence[Any]) -> NDArray[np.float64]:
        """Read n structs into an array of shape (n, members), NaN for None; the array may be read-only.

        Raises:
            OverflowError: an integer is larger than any float.
        """
        shape = len(structs), self._n
        if self._n == 1:
            return np.fromiter(map(self._get, structs), dtype=np.float64, count=shape[0])[:, None]
        try:
            packed = b"".join(starmap(self._pack, map(self._get, structs)))
        except struct.error:  # a member is None, or an integer that is too large
            flat = chain.from_iterable(map(self._get, structs))
            return np.fromiter(flat, dtype=np.float64, count=shape[0] * shape[1]).reshape(shape)
        return np.frombuffer(packed).reshape(shape)
