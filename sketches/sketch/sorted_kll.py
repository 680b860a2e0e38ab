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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST = 400
"""Below so many values datasketches' own update is as quick."""

_HEADER = struct.Struct("<BBBBHBBQHBB")
_PREAMBLE_INTS, _SERIAL_VERSION, _FAMILY, _LEVEL_ZERO_SORTED, _M = 5, 1, 15, 0x02, 8
_MOST_LEVELS = 60
_random = np.random.PCG64()


class _Cut(NamedTuple):
    """How n sorted values are cut into groups of neighbours, of each of which one value is kept."""

    head: bytes
    """The sketch's bytes up to its values."""
    starts: NDArray[np.int64]
    """Shape (kept + 2,): where the groups begin; the least and the largest value go before them."""
    masks: NDArray[np.int64]
    """Of the same shape: the length of each group less one. It is a power of two: random bits under the mask are one of
    its places."""


def sorted_kll(ordered: NDArray[np.floating[Any]], k: int, dtype: type[np.floating[Any]]) -> bytes:
    """Serialise a KLL sketch of values.

    Args:
        ordered: shape (n,), n > k, ascending, finite, within the range of `dtype`.
        k: the sketch's size parameter.
        dtype: the width that the sketch keeps, float32 or float64. Only what is kept is converted, some hundred values.
    """
    if len(ordered) <= k:
        raise ValueError(f"{len(ordered)} values are no more than k = {k}: a sketch keeps them all")
    cut = _cut(len(ordered), k)
    random: NDArray[np.uint64] = _random.random_raw(len(cut.starts))
    places = (random.view(np.int64) & cut.masks) + cut.starts
    kept: NDArray[np.floating[Any]] = ordered[places].astype(dtype)
    return cut.head + kept.tobytes()


@lru_cache(maxsize=256)
def _cut(n: int, k: int) -> _Cut:
    """The cut of n values; the fields of a pane have as many values each, if none is null."""
    capacities = _capacities(k)
    height = next(h for h in range(_MOST_LEVELS) if (n >> h) + h <= capacities[h])
    whole, left = n >> height, n & ((1 << height) - 1)
    # What is left over is one group for each bit of its number, behind the whole ones; levels begin with the lowest.
    over = np.array([1 << h for h in range(height) if left >> h & 1], dtype=np.int64)
    starts = np.concatenate(([0, n - 1], n - left + np.cumsum(over) - over, np.arange(whole) << height))
    masks = np.concatenate(([0, 0], over - 1, np.full(whole, (1 << height) - 1)))
    bounds = np.full(height + 1, capacities[height] - whole - len(over), dtype="<u4")
    bounds[1:] += np.cumsum([left >> h & 1 for h in range(height)], dtype="<u4")
    head = _HEADER.pack(_PREAMBLE_INTS, _SERIAL_VERSION, _FAMILY, _LEVEL_ZERO_SORTED, k, _M, 0, n, k, height + 1, 0)
    return _Cut(head + bounds.tobytes(), starts, masks)


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
