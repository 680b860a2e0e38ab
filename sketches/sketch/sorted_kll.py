"""Builds a KLL sketch of sorted values in one step, in the bytes that datasketches reads.

A KLL sketch retains some of the values, each of which represents 2^h values. datasketches adds value by value and
halves a level whenever it is full. For sorted values, sampling gives the same: one random value of each group of 2^h
neighbors; the remainder forms one group for each bit of its size. The error of a rank is then at most one group, which
at k = 200 and from 400 values on is at most 1/166 of the values, and usually half of that; datasketches' own method is
within 1.33 % with 99 % confidence. The error is unbiased, so such a sketch merges like any other. Sampling costs the
same for 400 values as for a million.

Source of the format: Apache DataSketches, KLL sketch serial version 1 (all integers little-endian); of the level
capacities: k·(2/3)^depth, at least 8, as datasketches rounds them (both are checked against the library by tests).
"""

import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_VALUES = 400
"""Fewest values for sampling; with fewer, datasketches' own update is as fast."""

_HEADER = struct.Struct("<BBBBHBBQHBB")
_PREAMBLE_INTS, _SERIAL_VERSION, _FAMILY, _LEVEL_ZERO_SORTED, _M = 5, 1, 15, 0x02, 8
_MAX_LEVELS = 60
_random = np.random.PCG64()


class _Groups(NamedTuple):
    """Groups of neighbors among n sorted values; the sketch retains one value of each."""

    head: bytes
    """Bytes of the sketch before its values."""
    starts: NDArray[np.int64]
    """Start of each group, shape (retained + 2,), after the indices of the smallest and the largest value."""
    masks: NDArray[np.int64]
    """Length of each group less one, same shape. Lengths are powers of two: random bits under the mask are an index in
    the group."""


def sorted_kll(ordered: NDArray[np.floating[Any]], k: int, dtype: type[np.floating[Any]]) -> bytes:
    """Serialize a KLL sketch of values.

    Args:
        ordered: shape (n,), n > k, ascending, finite, within the range of `dtype`.
        k: the sketch's size parameter.
        dtype: type of the sketch's values, float32 or float64. Only retained values are converted, some hundred.
    """
    if len(ordered) <= k:
        raise ValueError(f"{len(ordered)} values are no more than k = {k}: a sketch retains all of them")
    groups = _groups(len(ordered), k)
    random: NDArray[np.uint64] = _random.random_raw(len(groups.starts))
    indices = (random.view(np.int64) & groups.masks) + groups.starts
    retained: NDArray[np.floating[Any]] = ordered[indices].astype(dtype)
    return groups.head + retained.tobytes()


@lru_cache(maxsize=256)
def _groups(n: int, k: int) -> _Groups:
    """Return the groups of n values; cached because the fields of a pane have equally many values if none is null."""
    capacities = _capacities(k)
    height = next(h for h in range(_MAX_LEVELS) if (n >> h) + h <= capacities[h])
    whole, left = n >> height, n & ((1 << height) - 1)
    # The remainder forms one group for each bit of its size, after the whole groups; levels begin with the lowest.
    over = np.array([1 << h for h in range(height) if left >> h & 1], dtype=np.int64)
    starts = np.concatenate(([0, n - 1], n - left + np.cumsum(over) - over, np.arange(whole) << height))
    masks = np.concatenate(([0, 0], over - 1, np.full(whole, (1 << height) - 1)))
    bounds = np.full(height + 1, capacities[height] - whole - len(over), dtype="<u4")
    bounds[1:] += np.cumsum([left >> h & 1 for h in range(height)], dtype="<u4")
    head = _HEADER.pack(_PREAMBLE_INTS, _SERIAL_VERSION, _FAMILY, _LEVEL_ZERO_SORTED, k, _M, 0, n, k, height + 1, 0)
    return _Groups(head + bounds.tobytes(), starts, masks)


@lru_cache(maxsize=8)
def _capacities(k: int) -> tuple[int, ...]:
    """Return the capacity of a sketch of h + 1 levels, by h."""
    levels = [max(_M, _level_capacity(k, depth)) for depth in range(_MAX_LEVELS)]
    return tuple(np.cumsum(levels).tolist())


def _level_capacity(k: int, depth: int) -> int:
    """Return the capacity of the level `depth` below the top: k·(2/3)^depth, rounded as datasketches does."""
    if depth > 30:
        half = depth // 2
        return _level_capacity(_level_capacity(k, half), depth - half)
    doubled: int = (k << 1 << depth) // 3**depth
    return (doubled + 1) >> 1
