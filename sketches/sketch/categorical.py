"""Sketch of the most frequent categories that the baseline does not keep.

Guarantee: each count always lies within its lower and upper bound; the bounds are at most 1.4 % of all unseen
occurrences apart (ε = 3.5 / 256), for any number of distinct values and any merges. So a value with a larger share is
always reported. Up to 192 distinct values, counts are exact.

Source: Anderson, Bevin, Lang, Liberty, Rhodes, Thaler, "A High-Performance Algorithm for Identifying Frequent Items in
Data Streams", IMC 2017 (arXiv 1705.07001). Categories of the baseline are counted exactly elsewhere: this sketch only
explains the `unseen` count.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import datasketches as ds
import pyarrow as pa
import pyarrow.compute as pc

from barograph_server.sketches.sketch.envelope import EnvelopeError, MixedSketches, SketchType, seal, unseal_as

LG_MAX_K = 8
"""Base-2 logarithm of the sketch's table size: it retains at most ¾·2⁸ = 192 values."""
MAX_CHARS = 256
"""Longer values are truncated: values with the same first 256 characters count as one."""

_PREAMBLE = struct.Struct("<BBBB")
"""Preamble length, serial version, family, lg of the largest table."""
_FAMILY = 10


class FrequentValue(NamedTuple):
    """A value that occurred at least `lower` and at most `upper` times."""

    value: str
    lower: int
    estimate: int
    upper: int


class UnseenCategories:
    """A mergeable summary of strings that reports the most frequent ones."""

    __slots__ = ("_sketch",)

    def __init__(self) -> None:
        self._sketch = ds.frequent_strings_sketch(LG_MAX_K)

    @property
    def n(self) -> int:
        """Exact number of occurrences added."""
        return int(self._sketch.total_weight)

    @property
    def is_empty(self) -> bool:
        return bool(self._sketch.is_empty())

    def update(self, values: Iterable[str], counts: Sequence[int] | None = None) -> None:
        """Add strings.

        Args:
            values: any strings; a lone surrogate, which UTF-8 cannot encode, becomes `?`.
            counts: number of occurrences of each, ≥ 0, as many as values; None counts each once.

        Raises:
            ValueError: the number of counts differs from that of values, or a count is negative; nothing was added.
        """
        values = list(values)
        if counts is None:
            counts = [1] * len(values)
        if len(values) != len(counts):
            raise ValueError(f"{len(values)} values have {len(counts)} counts: pass one count for each")
        if any(count < 0 for count in counts):
            raise ValueError("a count is negative")
        for value, count in zip(values, counts, strict=True):
            if count:
                self._sketch.update(value[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8"), int(count))

    def update_array(self, values: pa.Array | pa.ChunkedArray) -> None:
        """Add the strings of an Arrow array (string or dictionary of strings); nulls are ignored.

        Bytes that are not UTF-8 become U+FFFD.
        """
        tally = pc.value_counts(values)
        distinct = tally.field(0)
        if pa.types.is_dictionary(distinct.type):
            distinct = distinct.dictionary_decode()
        # As bytes: Arrow does not check strings for UTF-8 if the array is created from buffers.
        binary = pa.large_binary() if pa.types.is_large_string(distinct.type) else pa.binary()
        for value, count in zip(distinct.cast(binary).to_pylist(), tally.field(1).to_pylist(), strict=True):
            if value is not None:
                self._sketch.update(value.decode("utf-8", "replace")[:MAX_CHARS], count)

    def merge(self, other: UnseenCategories) -> None:
        """Add all occurrences of another sketch, which is not changed."""
        self._sketch.merge(copy.copy(other._sketch) if other is self else other._sketch)

    def copy(self) -> UnseenCategories:
        """Return an independent sketch of the same values."""
        twin = UnseenCategories()
        twin._sketch = copy.copy(self._sketch)
        return twin

    def top(self, n: int) -> list[FrequentValue]:
        """Return the `n` values with the largest estimates, the largest first, ties by value."""
        return sorted(self._frequent(), key=lambda item: (-item.estimate, item.value))[:n]

    def surest(self, n: int) -> list[FrequentValue]:
        """Return the `n` values with the largest lower bounds, the largest first, ties by value."""
        return sorted(self._frequent(), key=lambda item: (-item.lower, item.value))[:n]

    def _frequent(self) -> list[FrequentValue]:
        items = self._sketch.get_frequent_items(ds.frequent_items_error_type.NO_FALSE_NEGATIVES)
        return [FrequentValue(value, lower, estimate, upper) for value, estimate, lower, upper in items]

    def to_bytes(self) -> bytes:
        """Serialize in an envelope; the empty sketch gives `b""`."""
        return b"" if self.is_empty else seal(SketchType.FREQUENT_STRINGS, self._sketch.serialize())

    @classmethod
    def from_bytes(cls, data: bytes) -> UnseenCategories:
        """Open the bytes of `to_bytes`; `b""` is the empty sketch.

        Raises:
            EnvelopeError: the bytes are corrupt.
            MixedSketches: the bytes contain a sketch of another type or size.
        """
        sketch = cls()
        if data:
            payload = unseal_as(SketchType.FREQUENT_STRINGS, data)
            if len(payload) < _PREAMBLE.size:
                raise EnvelopeError(f"a payload of {len(payload)} bytes is too short to be a frequent-strings sketch")
            _, _, family, lg_max_k = _PREAMBLE.unpack_from(payload)
            if family != _FAMILY or lg_max_k != LG_MAX_K:
                raise MixedSketches(
                    f"the payload has sketch family {family} and size 2^{lg_max_k}, expected are family "
                    f"{_FAMILY} and size 2^{LG_MAX_K}"
                )
            sketch._sketch = ds.frequent_strings_sketch.deserialize(payload)
        return sketch
