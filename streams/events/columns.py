"""Events of one model as columns: the output of the decoders and the input of the summaries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

INVALID_TEXT = "\x00invalid"
"""Marks a value of a category field that has the wrong type. No real event holds this text."""


MAX_NAME_CHARS = 200
"""Error kinds and producer names are cut to this many characters."""


@dataclass(slots=True)
class EncodedNames:
    """Dictionary-encoded names of n events."""

    values: tuple[str, ...]
    """Distinct names, none longer than `MAX_NAME_CHARS`."""
    code: NDArray[np.int32]
    """Shape (n,): an index into `values`, or −1 for no name."""

    def take(self, rows: NDArray[Any]) -> EncodedNames:
        """Return the events selected by a mask or by indices."""
        return EncodedNames(self.values, self.code[rows])


@dataclass(slots=True)
class ProducerArrivals:
    """The sequence numbers that producers gave to n events of one model, rejected events included."""

    model: str
    at_ms: NDArray[np.int64]
    """Event time; for a rejected event the time when Kafka received it."""
    producer: EncodedNames
    seq: NDArray[np.int64]
    """Shape (n,), never negative."""


@dataclass(slots=True)
class EventColumns:
    """n events of one model, in the order in which they were read.

    Numeric columns are float64 with NaN for null and an infinity for *invalid* (wrong type, NaN or infinite in the
    event). Text columns are Arrow strings with null for null and `INVALID_TEXT` for invalid.
    """

    model: str
    at_ms: NDArray[np.int64]
    received_ms: NDArray[np.int64]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    index: NDArray[np.int32]
    """Row within an Arrow batch; 0 for JSON."""
    versions: tuple[str, ...]
    version_code: NDArray[np.int32]
    errors: NDArray[np.bool_]
    numbers: dict[str, NDArray[np.float64]]
    """By source, such as `features.temp` or `score`."""
    texts: dict[str, pa.Array]
    error_kinds: EncodedNames | None = None
    """None if no event failed."""
    shadow: NDArray[np.bool_] | None = None
    """Shape (n,): whether the event's role is `shadow`; None if no event's is."""

    def __len__(self) -> int:
        return len(self.at_ms)

    def take(self, rows: NDArray[Any]) -> EventColumns:
        """Return the events selected by a mask or by indices."""
        arrow_rows, is_mask = pa.array(rows), rows.dtype == np.bool_
        return EventColumns(
            self.model,
            self.at_ms[rows],
            self.received_ms[rows],
            self.partition[rows],
            self.offset[rows],
            self.index[rows],
            self.versions,
            self.version_code[rows],
            self.errors[rows],
            {source: values[rows] for source, values in self.numbers.items()},
            {
                source: values.filter(arrow_rows) if is_mask else values.take(arrow_rows)
                for source, values in self.texts.items()
            },
            None if self.error_kinds is None else self.error_kinds.take(rows),
            None if self.shadow is None else self.shadow[rows],
        )

    def without_shadows(self) -> EventColumns:
        """Return the events whose role is `primary`."""
        return self if self.shadow is None else self.take(~self.shadow)


def concat_columns(pieces: Sequence[EventColumns]) -> EventColumns:
    """Concatenate one or more sets of columns of one model with the same sources."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    versions, version_code = _concat_codes([each.versions for each in pieces], [each.version_code for each in pieces])
    return EventColumns(
        first.model,
        np.concatenate([each.at_ms for each in pieces]),
        np.concatenate([each.received_ms for each in pieces]),
        np.concatenate([each.partition for each in pieces]),
        np.concatenate([each.offset for each in pieces]),
        np.concatenate([each.index for each in pieces]),
        versions,
        version_code,
        np.concatenate([each.errors for each in pieces]),
        {source: np.concatenate([each.numbers[source] for each in pieces]) for source in first.numbers},
        {source: pa.concat_arrays([each.texts[source] for each in pieces]) for source in first.texts},
        _concat_names([each.error_kinds for each in pieces], [len(each) for each in pieces]),
        _concat_shadows(pieces),
    )


def _concat_shadows(pieces: Sequence[EventColumns]) -> NDArray[np.bool_] | None:
    if all(each.shadow is None for each in pieces):
        return None
    return np.concatenate([np.zeros(len(each), dtype=bool) if each.shadow is None else each.shadow for each in pieces])


def _concat_codes(
    names: Sequence[tuple[str, ...]], codes: Sequence[NDArray[np.int32]]
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Encode several columns with one dictionary of all their names; −1 stays −1."""
    dictionary = tuple(sorted(set().union(*names)))
    index = {name: i for i, name in enumerate(dictionary)}
    recoded = []
    for values, code in zip(names, codes, strict=True):
        # −1 selects the last entry.
        recoded.append(np.array([*(index[name] for name in values), -1], dtype=np.int32)[code])
    return dictionary, np.concatenate(recoded)


def _concat_names(pieces: Sequence[EncodedNames | None], lengths: Sequence[int]) -> EncodedNames | None:
    if all(each is None for each in pieces):
        return None
    encoded = [
        EncodedNames((), np.full(n, -1, dtype=np.int32)) if each is None else each
        for each, n in zip(pieces, lengths, strict=True)
    ]
    return EncodedNames(*_concat_codes([each.values for each in encoded], [each.code for each in encoded]))


def encode_versions(values: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Dictionary-encode texts, the dictionary in sorted order. It is one pass in C."""
    distinct = tuple(sorted(set(values)))
    if len(distinct) == 1:
        return distinct, np.zeros(len(values), dtype=np.int32)
    codes = {value: code for code, value in enumerate(distinct)}
    return distinct, np.fromiter(map(codes.__getitem__, values), dtype=np.int32, count=len(values))


def encode_names(values: Sequence[str | None]) -> EncodedNames | None:
    """Dictionary-encode names cut to `MAX_NAME_CHARS`; null and empty have none. Returns None if there is no name."""
    distinct = set(values)
    if distinct <= {None, ""}:
        return None
    cut = {value: value[:MAX_NAME_CHARS] for value in distinct if value}
    names = tuple(sorted(set(cut.values())))
    index = {name: i for i, name in enumerate(names)}
    codes: dict[str | None, int] = {value: index[name] for value, name in cut.items()}
    codes[None] = codes[""] = -1
    return EncodedNames(names, np.fromiter(map(codes.__getitem__, values), dtype=np.int32, count=len(values)))


def encode_arrow_names(texts: pa.Array, *, invalid: str | None = None) -> EncodedNames | None:
    """Encode an Arrow string column as `encode_names` does, with `INVALID_TEXT` replaced by `invalid`."""
    if texts.null_count == len(texts):
        return None
    column = texts.dictionary_encode()
    encoded = encode_names([invalid if value == INVALID_TEXT else value for value in column.dictionary.to_pylist()])
    if encoded is None:
        return None
    codes = np.append(encoded.code, np.int32(-1))
    return EncodedNames(
        encoded.values, codes[pc.fill_null(column.indices, len(codes) - 1).to_numpy(zero_copy_only=False)]
    )


def producer_arrivals(
    model: str, at_ms: NDArray[np.int64], producer: EncodedNames | None, seq: NDArray[np.int64]
) -> Iterator[ProducerArrivals]:
    """Yield the events that have both a producer and a sequence number; nothing if no event has."""
    if producer is None:
        return
    numbered = (producer.code >= 0) & (seq >= 0)
    if numbered.all():
        yield ProducerArrivals(model, at_ms, producer, seq)
    elif numbered.any():
        yield ProducerArrivals(model, at_ms[numbered], producer.take(numbered), seq[numbered])
