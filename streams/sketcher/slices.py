"""Assigns whole arrays of events to the slices of a dimension, including crossed dimensions.

The members of a crossed value (`JFK * AA`) are looked up source by source: each source narrows the prefixes that the
sources before it matched. No texts are concatenated, whatever events contain.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import CROSS
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import SliceValues
from barograph_server.streams.events.columns import EventColumns

CodeArray = NDArray[np.int64]


class SliceCoder:
    """A slice dimension of a baseline, prepared for arrays."""

    def __init__(self, dimension: SliceValues) -> None:
        self.n_values = len(dimension.values)
        """Number of values with a slice of their own, which is also the code of `other`."""
        self._steps: list[_Step] = []
        sources = dimension.sources
        crossed = len(sources) > 1
        members = [tuple(value.split(CROSS)) if crossed else (value,) for value in dimension.values]
        whole = {each: code for code, each in enumerate(members) if len(each) == len(sources)}
        before: dict[tuple[str, ...], int] = {(): 0}
        for n, source in enumerate(sources, 1):
            if n == len(sources):
                after, other = whole, self.n_values
            else:
                after = {prefix: code for code, prefix in enumerate(dict.fromkeys(each[:n] for each in whole))}
                other = len(after)
            self._steps.append(_Step(source, before, after, other))
            before = after

    def codes(self, events: EventColumns) -> CodeArray:
        """Return the slice of each event, shape (n,); nulls, invalid values and unlisted values are `other`."""
        state = np.zeros(len(events), dtype=np.int64)
        for step in self._steps:
            state = step.advance(state, events)
        return state


class _Step:
    """A transition table: matched prefix and value of one source → longer matched prefix."""

    def __init__(
        self, source: str, before: dict[tuple[str, ...], int], after: dict[tuple[str, ...], int], other: int
    ) -> None:
        self._source = source
        names = list(dict.fromkeys(prefix[-1] for prefix in after))
        self._names = pa.array(names, pa.string())
        self._numbers = {number: i for i, name in enumerate(names) if (number := number_of(name)) is not None}
        index = {name: i for i, name in enumerate(names)}
        # The last row is for events without a matched prefix, the last column for unlisted values.
        self._next = np.full((len(before) + 1, len(names) + 1), other, dtype=np.int64)
        for prefix, code in after.items():
            self._next[before[prefix[:-1]], index[prefix[-1]]] = code

    def advance(self, state: CodeArray, events: EventColumns) -> CodeArray:
        codes: CodeArray = self._next[state, self._find(events, self._next.shape[1] - 1)]
        return codes

    def _find(self, events: EventColumns, unlisted: int) -> CodeArray:
        texts = events.texts.get(self._source)
        if texts is not None:
            return _text_codes(texts, self._names, unlisted)
        numbers = events.numbers.get(self._source)
        if numbers is None:
            return np.full(len(events), unlisted, dtype=np.int64)
        return _number_codes(numbers, self._numbers, unlisted)


def number_of(name: str) -> float | None:
    """Return the number that a slice value denotes, such as 3.0 for `3`; None if it denotes none.

    A number has one spelling: integers have no decimal point, others are written as by Python's `repr`.
    """
    try:
        number = float(name)
    except ValueError:
        return None
    if not np.isfinite(number):
        return None
    written = str(int(number)) if number.is_integer() else repr(number)
    return number if written == name else None


def _text_codes(texts: pa.Array, names: pa.Array, unlisted: int) -> CodeArray:
    if pa.types.is_dictionary(texts.type):
        texts = texts.cast(pa.string())
    index = pc.fill_null(pc.index_in(texts, value_set=names, skip_nulls=True), unlisted)
    codes: CodeArray = index.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _number_codes(values: NDArray[np.float64], numbers: dict[float, int], unlisted: int) -> CodeArray:
    known = sorted(numbers)
    if not known:
        return np.full(len(values), unlisted, dtype=np.int64)
    ordered = np.array(known)
    index = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    codes = np.array([numbers[number] for number in known], dtype=np.int64)[index]
    return np.where(ordered[index] == values, codes, unlisted)
