"""Events of one model as columns: what the decoders make and the summaries are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

INVALID_TEXT = "\x00invalid"
"""Stands for a value of a category field that has the wrong type; no event can be meant by it."""


@dataclass(slots=True)
class EventColumns:
    """Events of one model, n of them, in the order in which they were read.

    Numeric columns are float64 with NaN for null and an infinity for *invalid* (wrong type, NaN or infinite in the
    event). Text columns are Arrow strings with null for null and `INVALID_TEXT` for invalid.
    """

    model: str
    at_ms: NDArray[np.int64]
    received_ms: NDArray[np.int64]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    index: NDArray[np.int32]
    """The position within an Arrow batch; 0 for JSON."""
    versions: tuple[str, ...]
    version_code: NDArray[np.int32]
    errors: NDArray[np.bool_]
    numbers: dict[str, NDArray[np.float64]]
    """By source, such as `features.temp` or `score`."""
    texts: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(self.at_ms)

    def take(self, chosen: NDArray[np.bool_]) -> EventColumns:
        """Keep the events that a mask of shape (n,) marks."""
        mask = pa.array(chosen)
        return EventColumns(
            self.model,
            self.at_ms[chosen],
            self.received_ms[chosen],
            self.partition[chosen],
            self.offset[chosen],
            self.index[chosen],
            self.versions,
            self.version_code[chosen],
            self.errors[chosen],
            {source: values[chosen] for source, values in self.numbers.items()},
            {source: values.filter(mask) for source, values in self.texts.items()},
        )


def encode_versions(values: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Number the distinct values in sorted order; one pass in C."""
    distinct = tuple(sorted(set(values)))
    if len(distinct) == 1:
        return distinct, np.zeros(len(values), dtype=np.int32)
    codes = {value: code for code, value in enumerate(distinct)}
    return distinct, np.fromiter(map(codes.__getitem__, values), dtype=np.int32, count=len(values))
