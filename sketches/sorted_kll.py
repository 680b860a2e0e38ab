"""A KLL sketch of sorted values in one go, in the bytes that datasketches reads.

A KLL sketch keeps some of the values, each for 2^h of them. datasketches gets there value by value, halving a level
whenever it is full. Of values that are sorted already the same can be had by cutting: groups of 2^h neighbours, one
value of each at random, and what is left over as one group for each bit of its number. No rank is then off by more than
one group, which at k = 200 and from 400 values on is at most 1/166 of the values, and mostly half of that;
datasketches' own way is within 1.33 % with 99 % confidence. The error is as often up as down, so merges treat such a
sketch as they treat any other. Cutting costs the same for 400 values as for a million.

Source of the format: Apache DataSketches, KLL sketch serial version 1 (all integers little-endian); of the level
capacities: k·(2/3)^depth, at least 8, as datasketches rounds them (both are checked against the library by tests).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 400
"""Below so many values datasketches' own update is as quick."""

_HEADER = struct.Struct("<BBBBHBBQHBB")
_PREAMBLE_INTS, _SERIAL_VERSION, _FAMILY, _LEVEL_ZERO_SORTED, _M = 5, 1, 15, 0x02, 8
_MOST_LEVELS = 60
_random = np.random.default_rng()


def sorted_kll(ordered: NDArray[np.floating[Any]], k: int) -> bytes:
    """Serialise a KLL sketch of values.

    Args:
        ordered: shape (n,), n > k, ascending and finite, in the width that the sketch keeps (float32 or float64).
        k: the sketch's size parameter.
    """
    n = len(ordered)
    if n <= k:
        raise ValueError(f"{n} values are no more than k = {k}: a sketch keeps them all")
    height = next(h for h in range(_MOST_LEVELS) if (n >> h) + h <= _capacities(k)[h])
    width, whole = 1 << height, n >> height
    left = n - (whole << height)
    picks = [h for h in range(height) if left >> h & 1]
    offsets = _random.integers(0, width, whole + len(picks))
    top = ordered[np.arange(0, whole << height, width) + offsets[:whole]]
    kept: list[Any] = []
    at = whole << height
    for h, offset in zip(picks, offsets[whole:].tolist(), strict=True):
        # The low bits of a number from [0, 2^height) are one from [0, 2^h).
        kept.append(ordered[at + (offset & ((1 << h) - 1))])
        at += 1 << h
    first = _capacities(k)[height] - whole - len(picks)
    bounds = np.full(height + 1, first, dtype="<u4")
    bounds[1:] += np.cumsum([left >> h & 1 for h in range(height)], dtype="<u4")
    header = _HEADER.pack(_PREAMBLE_INTS, _SERIAL_VERSION, _FAMILY, _LEVEL_ZERO_SORTED, k, _M, 0, n, k, height + 1, 0)
    items = np.concatenate((ordered[[0, -1]], np.array(kept, dtype=ordered.dtype), top))
    return header + bounds.tobytes() + items.tobytes()


@lru_cache(maxsize=8)
def _capacities(k: int) -> tuple[int, ...]:
    """How many values a sketch of h + 1 levels has room for, by h."""
    levels = [max(_M, _level_capacity(k, depth)) for depth in range(_MOST_LEVELS)]
    return tuple(np.cumsum(levels).tolist())


def _level_capacity(k: int, depth: int) -> int:
    """The room of the level that lies `depth` below the top: k·(2/3)^depth, rounded as datasketches does."""
    if depth > 30:
        half = depth // 2
        return _level_capacity(_level_capacity(k, half), depth - half)
    doubled: int = (k << 1 << depth) // 3**depth
    return (doubled + 1) >> 1
