"""Reads numbers out of many decoded structs at once: C functions build tuples of them and pack the tuples."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import chain, starmap
from operator import attrgetter
from typing import Any

import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray


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
