"""Events of one model as columns: what the decoders make and the summaries are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

INVALID_TEXT = "\x00invalid"
"""Stands for a value of a category field that has the wrong type; no event can be meant by it."""


MAX_NAME_CHARS = 200
"""To so many characters kinds of errors and names of producers are cut."""


@dataclass(slots=True)
class EncodedNames:
    """Texts of n events as numbers of distinct ones."""

    values: tuple[str, ...]
    """Distinct, none of them longer than `MAX_NAME_CHARS`."""
    code: NDArray[np.int32]
    """Shape (n,): a position in `values`, or −1 for none."""

    def take(self, chosen: NDArray[Any]) -> EncodedNames:
        """Keep the events of a mask or of positions."""
        return EncodedNames(self.values, self.code[chosen])


@dataclass(slots=True)
class ProducerArrivals:
    """The numbers that producers gave to events of one model, n of them, dead letters included."""

    model: str
    at_ms: NDArray[np.int64]
    """Event time; of an event that was put aside, when Kafka received it."""
    producer: EncodedNames
    """None is −1."""
    seq: NDArray[np.int64]
    """Shape (n,), never negative."""


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
    kinds: EncodedNames | None = None
    """The kinds of the errors; None where no event failed."""

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
            None if self.kinds is None else self.kinds.take(chosen),
        )


def join(parts: Sequence[EventColumns]) -> EventColumns:
    """Put columns of one model with the same sources one behind another, at least one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    versions, version_code = _join_codes([part.versions for part in parts], [part.version_code for part in parts])
    return EventColumns(
        first.model,
        np.concatenate([part.at_ms for part in parts]),
        np.concatenate([part.received_ms for part in parts]),
        np.concatenate([part.partition for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.index for part in parts]),
        versions,
        version_code,
        np.concatenate([part.errors for part in parts]),
        {source: np.concatenate([part.numbers[source] for part in parts]) for source in first.numbers},
        {source: pa.concat_arrays([part.texts[source] for part in parts]) for source in first.texts},
        _join_coded([part.kinds for part in parts], [len(part) for part in parts]),
    )


def _join_codes(
    names: Sequence[tuple[str, ...]], codes: Sequence[NDArray[np.int32]]
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Number the distinct names of several parts anew; −1 stays −1."""
    together = tuple(sorted(set().union(*names)))
    place = {name: i for i, name in enumerate(together)}
    found = []
    for own, code in zip(names, codes, strict=True):
        # The last entry is what −1 points at.
        found.append(np.array([*(place[name] for name in own), -1], dtype=np.int32)[code])
    return together, np.concatenate(found)


def _join_coded(parts: Sequence[EncodedNames | None], lengths: Sequence[int]) -> EncodedNames | None:
    if all(part is None for part in parts):
        return None
    known = [
        EncodedNames((), np.full(n, -1, dtype=np.int32)) if part is None else part
        for part, n in zip(parts, lengths, strict=True)
    ]
    return EncodedNames(*_join_codes([part.values for part in known], [part.code for part in known]))


def encode_versions(values: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Number the distinct values in sorted order; one pass in C."""
    distinct = tuple(sorted(set(values)))
    if len(distinct) == 1:
        return distinct, np.zeros(len(values), dtype=np.int32)
    codes = {value: code for code, value in enumerate(distinct)}
    return distinct, np.fromiter(map(codes.__getitem__, values), dtype=np.int32, count=len(values))


def encode_names(values: Sequence[str | None]) -> EncodedNames | None:
    """Number texts, cut to `MAX_NAME_CHARS`; null and empty are none. None where there is no text at all."""
    distinct = set(values)
    if distinct <= {None, ""}:
        return None
    cut = {value: value[:MAX_NAME_CHARS] for value in distinct if value}
    names = tuple(sorted(set(cut.values())))
    place = {name: i for i, name in enumerate(names)}
    codes: dict[str | None, int] = {value: place[name] for value, name in cut.items()}
    codes[None] = codes[""] = -1
    return EncodedNames(names, np.fromiter(map(codes.__getitem__, values), dtype=np.int32, count=len(values)))


def code_names(texts: pa.Array, *, invalid: str | None = None) -> EncodedNames | None:
    """The same of an Arrow column of strings; `INVALID_TEXT` becomes `invalid`."""
    if texts.null_count == len(texts):
        return None
    encoded = texts.dictionary_encode()
    found = encode_names([invalid if value == INVALID_TEXT else value for value in encoded.dictionary.to_pylist()])
    if found is None:
        return None
    codes = np.append(found.code, np.int32(-1))
    return EncodedNames(
        found.values, codes[pc.fill_null(encoded.indices, len(codes) - 1).to_numpy(zero_copy_only=False)]
    )


def producer_arrivals(
    model: str, at_ms: NDArray[np.int64], producer: EncodedNames | None, seq: NDArray[np.int64]
) -> Iterator[ProducerArrivals]:
    """The events, of n, that have both a producer and a number; nothing where none has."""
    if producer is None:
        return
    numbered = (producer.code >= 0) & (seq >= 0)
    if numbered.all():
        yield ProducerArrivals(model, at_ms, producer, seq)
    elif numbered.any():
        yield ProducerArrivals(model, at_ms[numbered], producer.take(numbered), seq[numbered])
