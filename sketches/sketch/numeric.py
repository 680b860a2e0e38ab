"""Quantile sketches of numeric fields.

Guarantees, each with 99 % confidence, for any order of the values and any tree of merges:

- KLL, k = 200: the error of a rank is at most 1.33 % of n, that of an interval's share at most 1.65 %; 2–5 KB. Many
  values at once are sampled from their sorted order (`sketches.sketch.numeric`), with a smaller error.
  Source: Karnin, Lang, Liberty, "Optimal Quantile Approximation in Streams", FOCS 2016 (arXiv 1603.05346).
- REQ, k = 12, accurate at high ranks: the error shrinks towards the top, 2.1 % at the bottom, 1.6 % at the median,
  0.03 % at rank 0.99, 0.003 % at 0.999; 6 KB. For fields that are read at p99 and beyond.
  Source: Cormode, Karnin, Liberty, Thaler, Veselý, "Relative Error Streaming Quantiles", PODS 2021
  (arXiv 2004.01668).

A rank is the share of values ≤ x throughout. Minimum, maximum and n are exact. Both algorithms use random bits that
cannot be seeded: two sketches of the same values agree within their error, not in their bytes.

Values are rounded to 32-bit floats (relative rounding 6·10⁻⁸, values beyond ±3.4·10³⁸ become ±3.4·10³⁸) except in
KLL_DOUBLES, which is for fields of whole or large numbers: 32-bit floats merge neighboring integers from 2²⁴ on. REQ
exists in 32 bits only; a few digits suffice for tails.
"""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import datasketches as ds
import numpy as np
from barograph.contract import SketchKind
from numpy.typing import ArrayLike, NDArray

from barograph_server.sketches.sketch.envelope import EnvelopeError, MixedSketches, SketchType, seal, unseal_as

FloatArray = NDArray[np.float64]

KLL_K = 200
REQ_K = 12
REQ_STANDARD_DEVIATIONS = 3
"""REQ states its error per whole standard deviation; three (99.7 %) is the smallest number that covers 99 %."""

_OBJECT_BYTES = 500
"""Approximate size of a sketch without its retained values, in bytes."""

_PREAMBLE = struct.Struct("<BBBBH")
"""Preamble length, serial version, family, flags, k: the first bytes of both families."""
_KLL_LONG_PREAMBLE = 5
_KLL_MIN_K = struct.Struct("<H")
_KLL_MIN_K_AT = 16
_REQ_HIGH_RANKS = 0x08


class _Engine(NamedTuple):
    create: Callable[[], Any]
    open: Callable[[bytes], Any]
    dtype: type[np.floating[Any]]
    family: int
    k: int
    largest: float


_FLOAT32, _FLOAT64 = float(np.finfo(np.float32).max), float(np.finfo(np.float64).max)

_ENGINES = {
    SketchType.KLL_FLOATS: _Engine(
        lambda: ds.kll_floats_sketch(KLL_K), ds.kll_floats_sketch.deserialize, np.float32, 15, KLL_K, _FLOAT32
    ),
    SketchType.KLL_DOUBLES: _Engine(
        lambda: ds.kll_doubles_sketch(KLL_K), ds.kll_doubles_sketch.deserialize, np.float64, 15, KLL_K, _FLOAT64
    ),
    SketchType.REQ_FLOATS: _Engine(
        lambda: ds.req_floats_sketch(REQ_K, True), ds.req_floats_sketch.deserialize, np.float32, 17, REQ_K, _FLOAT32
    ),
}


def numeric_sketch_type(integer: bool, kind: SketchKind) -> SketchType:
    """Return the sketch type of a numeric field.

    Args:
        integer: the baseline's `integer`: values are whole numbers or large.
    """
    if kind == "req":
        return SketchType.REQ_FLOATS
    return SketchType.KLL_DOUBLES if integer else SketchType.KLL_FLOATS


def numeric_sketch(integer: bool, kind: SketchKind, data: bytes = b"") -> NumericSketch:
    """Create the sketch of a numeric field, empty or from its bytes.

    Args:
        integer: the baseline's `integer`: values are whole numbers or large.
        data: bytes of `NumericSketch.to_bytes`; `b""` is the empty sketch.

    Raises:
        EnvelopeError: the bytes are corrupt.
        MixedSketches: the bytes contain a sketch of another type or size parameter.
    """
    return NumericSketch.from_bytes(numeric_sketch_type(integer, kind), data)


class NumericSketch:
    """A mergeable summary of finite numbers for quantiles and ranks."""

    __slots__ = ("_engine", "_sketch", "sketch_type")

    def __init__(self, sketch_type: SketchType) -> None:
        if sketch_type not in _ENGINES:
            raise ValueError(f"{sketch_type.name} is no numeric sketch type: use KLL or REQ")
        self.sketch_type = sketch_type
        self._engine = _ENGINES[sketch_type]
        self._sketch = self._engine.create()

    @property
    def n(self) -> int:
        """Exact number of values added."""
        return int(self._sketch.n)

    @property
    def is_empty(self) -> bool:
        return bool(self._sketch.is_empty())

    @property
    def n_bytes(self) -> int:
        """Approximate size in memory."""
        return _OBJECT_BYTES + int(self._sketch.num_retained) * np.dtype(self._engine.dtype).itemsize

    def update(self, values: NDArray[np.floating[Any]]) -> None:
        """Add values, shape (n,), in any order; the argument is not changed.

        Raises:
            ValueError: a value is NaN or infinite; nothing was added. Such values are counted as `invalid`
                before a sketch sees them.
        """
        if values.size:
            self.update_sorted(np.sort(values))

    def update_sorted(self, ordered: NDArray[np.floating[Any]]) -> None:
        """Add sorted values, shape (n,), n > 0; faster than value by value.

        Raises:
            ValueError: a value is NaN or infinite; nothing was added.
        """
        least, largest = float(ordered[0]), float(ordered[-1])
        # NaN sorts last, so checking both ends suffices.
        if not (math.isfinite(least) and math.isfinite(largest)):
            raise ValueError("a sketch accepts finite values only: count NaN and infinities as invalid first")
        if self.sketch_type is SketchType.REQ_FLOATS or ordered.size < MIN_VALUES:
            self._sketch.update(self._narrow(ordered))
            return
        if max(-least, largest) > self._engine.largest:
            ordered = self._narrow(ordered)
        addition = self._engine.open(sorted_kll(ordered, KLL_K, self._engine.dtype))
        if self._sketch.is_empty():
            self._sketch = addition
        else:
            self._sketch.merge(addition)

    def merge(self, other: NumericSketch) -> None:
        """Add all values of another sketch, which is not changed.

        Raises:
            MixedSketches: the other sketch has another type; nothing was merged.
        """
        if other.sketch_type is not self.sketch_type:
            raise MixedSketches(f"{other.sketch_type.name} cannot be merged into {self.sketch_type.name}")
        self._sketch.merge(copy.copy(other._sketch) if other is self else other._sketch)

    def copy(self) -> NumericSketch:
        """Return an independent sketch of the same values."""
        twin = NumericSketch(self.sketch_type)
        twin._sketch = copy.copy(self._sketch)
        return twin

    def quantiles(self, ranks: ArrayLike) -> FloatArray:
        """Return the smallest added value of each rank.

        Args:
            ranks: shape (r,), each in [0, 1]; 0 returns the exact minimum, 1 the exact maximum.

        Returns:
            Shape (r,); all NaN if the sketch is empty. The true rank of a value is within `rank_error_at` of the
            requested rank.

        Raises:
            ValueError: a rank is not in [0, 1].
        """
        requested = np.atleast_1d(np.asarray(ranks, dtype=np.float64))
        if not ((requested >= 0) & (requested <= 1)).all():
            raise ValueError(f"ranks must be in [0, 1], not {requested.tolist()}")
        if self.is_empty:
            return np.full(requested.shape, np.nan)
        quantiles = np.array(self._sketch.get_quantiles(requested, True), dtype=np.float64)
        # A sketch stores its extremes separately; its lowest and highest quantile are values that survived compaction.
        quantiles[requested == 0] = self._sketch.get_min_value()
        quantiles[requested == 1] = self._sketch.get_max_value()
        return quantiles

    def cdf(self, points: ArrayLike, *, below: bool = False) -> FloatArray:
        """Return the share of values ≤ each point.

        Args:
            points: shape (p,), in any order, with repeats and infinities allowed.
            below: return the share of values < each point instead.

        Returns:
            Shape (p,), in [0, 1]; all NaN if the sketch is empty.

        Raises:
            ValueError: a point is NaN.
        """
        requested = np.atleast_1d(np.asarray(points, dtype=np.float64))
        if np.isnan(requested).any():
            raise ValueError("NaN has no rank: pass numbers")
        if self.is_empty or requested.size == 0:
            return np.full(requested.shape, np.nan)
        # Points are rounded like values, so a point equal to a value counts it; rounding can make two points equal.
        distinct, where = np.unique(self._narrow(requested), return_inverse=True)
        return np.array(self._sketch.get_cdf(distinct, not below), dtype=np.float64)[where]

    @property
    def rank_error(self) -> float:
        """Largest error of any rank, as a share, with 99 % confidence; 0 while all values are retained."""
        return self.rank_error_at(0.0)

    def rank_error_at(self, rank: float) -> float:
        """Return the error near one rank, as a share, with 99 % confidence.

        Constant for KLL, falling towards rank 1 for REQ; 0 while all values are retained.
        """
        if not self._sketch.is_estimation_mode():
            return 0.0
        if self.sketch_type is SketchType.REQ_FLOATS:
            return float(self._sketch.get_rank_upper_bound(rank, REQ_STANDARD_DEVIATIONS) - rank)
        return float(self._sketch.normalized_rank_error(False))

    def to_bytes(self) -> bytes:
        """Serialize in an envelope; the empty sketch gives `b""`.

        Queries sort a sketch internally, so equal sketches may differ in the order of their bytes.
        """
        return b"" if self.is_empty else seal(self.sketch_type, self._sketch.serialize())

    @classmethod
    def from_bytes(cls, sketch_type: SketchType, data: bytes) -> NumericSketch:
        """Open the bytes of `to_bytes`; `b""` is the empty sketch.

        Raises:
            EnvelopeError: the bytes are corrupt.
            MixedSketches: the bytes contain a sketch of another type or size parameter.
        """
        sketch = cls(sketch_type)
        if data:
            payload = unseal_as(sketch_type, data)
            _check_preamble(sketch._engine, sketch_type, payload)
            sketch._sketch = sketch._engine.open(payload)
        return sketch

    def _narrow(self, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        return _narrowed(self._engine, values)


def as_sketched(sketch_type: SketchType, values: ArrayLike) -> FloatArray:
    """Round values as a numeric sketch rounds its input, any shape; order is preserved."""
    return _narrowed(_ENGINES[sketch_type], np.asarray(values, dtype=np.float64)).astype(np.float64)


def _narrowed(engine: _Engine, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Cast to the sketch's width; values beyond its range become its largest number, never infinite."""
    if values.size and (values.max() > engine.largest or values.min() < -engine.largest):
        values = np.clip(values, -engine.largest, engine.largest)
    return values.astype(engine.dtype, copy=False)


def _check_preamble(engine: _Engine, sketch_type: SketchType, payload: bytes) -> None:
    """Reject a payload whose preamble has another family or k than ours, before datasketches reads it.

    datasketches would accept another k: after a merge the sketch still claims k = 200 although its error has doubled.
    KLL stores the smallest k ever merged (min_k) at byte 16 of a long preamble.
    """
    if len(payload) < _PREAMBLE.size:
        raise EnvelopeError(f"a {sketch_type.name} payload of {len(payload)} bytes is too short to be a sketch")
    words, _, family, flags, k = _PREAMBLE.unpack_from(payload)
    if family != engine.family:
        raise MixedSketches(f"the payload has sketch family {family}, {sketch_type.name} has {engine.family}")
    min_k = k
    if sketch_type is not SketchType.REQ_FLOATS and words == _KLL_LONG_PREAMBLE:
        if len(payload) < _KLL_MIN_K_AT + _KLL_MIN_K.size:
            raise EnvelopeError(f"a {sketch_type.name} payload of {len(payload)} bytes ends within its preamble")
        (min_k,) = _KLL_MIN_K.unpack_from(payload, _KLL_MIN_K_AT)
    if k != engine.k or min_k != engine.k:
        raise MixedSketches(
            f"the sketch has k = {min(k, min_k)}, all {sketch_type.name} sketches here have k = {engine.k}"
        )
    if sketch_type is SketchType.REQ_FLOATS and not flags & _REQ_HIGH_RANKS:
        raise MixedSketches("the REQ sketch is accurate at low ranks, all REQ sketches here are at high ranks")


# A KLL sketch retains some of the values, each of which represents 2^h values. datasketches adds value by value and
# halves a level whenever it is full. For sorted values, sampling gives the same: one random value of each group of 2^h
# neighbors; the remainder forms one group for each bit of its size. The error of a rank is then at most one group,
# which at k = 200 and from 400 values on is at most 1/166 of the values, and usually half of that; datasketches' own
# method is within 1.33 % with 99 % confidence. The error is unbiased, so such a sketch merges like any other. Sampling
# costs the same for 400 values as for a million.  Source of the format: Apache DataSketches, KLL sketch serial version
# 1 (all integers little-endian); of the level capacities: k·(2/3)^depth, at least 8, as datasketches rounds them (both
# are checked against the library by tests).
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
