"""Sampling of a model's events for recording, and the columns that all raw rows share.

The recorder records the predictions that the sketcher counts: both use the same decoders. Of these it keeps the
contract's `raw` share, sampled by a hash of the id. So all versions and shadows of a request are kept or dropped
together, and a reread makes the same choice. Labels are always kept.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.hashed_values import hashed_sources
from barograph_server.streams.events.projection import slice_sources
from barograph_server.streams.recorder.values import MAX_UNKNOWN
from barograph_server.streams.registry.registry import Registry
from barograph_server.warehouse.tables import MILLIS, SCHEMAS

FEATURES = "features."


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """The parts of a model's contract and baselines that recording its predictions depends on."""

    model: str
    share: float
    numbers: tuple[str, ...]
    """Features that the contract watches as numbers or flags."""
    texts: tuple[str, ...]
    """Features that the contract watches as categories."""
    others: tuple[str, ...]
    """Features that the contract watches as times, or only slices by."""
    ignored: tuple[str, ...]
    """Features that the contract ignores for a stated reason."""
    known: frozenset[str]
    """All of the features above. Every other feature is recorded too, and counted as unknown."""
    order: tuple[str, ...]
    """The known features in the contract's order, ignored ones last.

    Events usually have the same order, and a decoder finds a member fastest where it expects it.
    """
    numeric: frozenset[str]
    """Features whose values are numbers, flags or times: the text `NaN` is a number there, and a text elsewhere."""
    hashed: frozenset[str]
    """Sources (`features.email`) that the publisher hashes. Values that are no hash are never recorded."""

    def hashed_names(self, map_name: str) -> frozenset[str]:
        """Return the hashed members of one of an event's maps."""
        prefix = f"{map_name}."
        return frozenset(source.removeprefix(prefix) for source in self.hashed if source.startswith(prefix))

    @property
    def hash_limit(self) -> float:
        """A prediction is kept if the hash of its id is below this."""
        return self.share * 2**32

    def sample(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return a mask of shape (n,) of the predictions to keep, by their ids."""
        if self.share >= 1:
            return np.ones(len(ids), dtype=bool)
        return hash_ids(ids) < self.hash_limit


def hash_ids(ids: Sequence[str]) -> NDArray[np.uint32]:
    """Hash n ids for sampling, shape (n,)."""
    return np.fromiter(map(zlib.crc32, map(str.encode, ids)), dtype=np.uint32, count=len(ids))


def recorded_models(registry: Registry) -> dict[str, RecordedModel]:
    """Build a `RecordedModel` for every model that has a contract."""
    models = {}
    for model, contract in registry.contracts.items():
        types = {feature_of(field.source): field.type for field in contract.fields if feature_of(field.source)}
        watched = types.keys() | set(filter(None, map(feature_of, slice_sources(registry, contract))))
        numbers = {name for name, kind in types.items() if kind in ("float", "int", "bool")}
        texts = {name for name, kind in types.items() if kind == "category"}
        ignored = set(contract.ignored) - watched
        models[model] = RecordedModel(
            model,
            contract.raw_share,
            tuple(sorted(numbers)),
            tuple(sorted(texts)),
            tuple(sorted(watched - numbers - texts)),
            tuple(sorted(ignored)),
            frozenset(watched | ignored),
            (*types, *sorted(watched - types.keys()), *sorted(ignored)),
            frozenset(types.keys() - texts),
            hashed_sources(contract),
        )
    return models


def feature_of(source: str) -> str:
    """Return the feature that a source names, or an empty string."""
    return source.removeprefix(FEATURES) if source.startswith(FEATURES) else ""


def position_columns(
    batch: MessageBatch, messages: NDArray[np.int64], index: NDArray[np.int32] | None = None
) -> dict[str, Any]:
    """Build the columns of events' positions and receive times.

    Args:
        messages: each event's message, as an index into the batch.
        index: each event's row in its message; 0 by default.
    """
    return {
        "partition": pa.array(batch.partition[messages].astype(np.uint16)),
        "offset": pa.array(batch.offset[messages].astype(np.uint64)),
        "message_index": pa.array(np.zeros(len(messages), np.uint32) if index is None else index.astype(np.uint32)),
        "received_at": time_column(batch.received_ms[messages]),
    }


def time_column(unix_ms: NDArray[np.int64]) -> pa.Array:
    return pa.array(unix_ms).cast(MILLIS)


def shadow_column(shadow: NDArray[np.bool_] | None, n: int) -> pa.Array:
    """Build the column that tells the shadows among n events; None if no event is a shadow."""
    return pa.repeat(pa.scalar(value=False), n) if shadow is None else pa.array(shadow)


def by_role(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Split rows of predictions into those of the tables `predictions` and `shadow_predictions`."""
    shadow, rows = rows.column("shadow"), rows.drop_columns("shadow")
    if not pc.any(shadow).as_py():
        yield "predictions", rows
        return
    for table, mask in (("predictions", pc.invert(shadow)), ("shadow_predictions", shadow)):
        own = rows.filter(mask)
        if len(own):
            yield table, own


def unknown_column(n: int, counts: Iterable[NDArray[np.int64]]) -> pa.Array:
    """Sum the counts, each of shape (n,), of members that were not recorded as the contract expects."""
    total = np.zeros(n, dtype=np.int64)
    for count in counts:
        total += count
    return pa.array(np.minimum(total, MAX_UNKNOWN).astype(np.uint16))


def build_table(table: str, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Build rows of a raw table, without the epoch, which is added on insert; `by_role` splits predictions."""
    schema = RAW_SCHEMAS[table]
    return pa.table([_encode(columns[field.name], field.type) for field in schema], schema)


def _encode(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column.dictionary_encode() if kind == DICTIONARY and column.type != DICTIONARY else column


def _without_epoch(schema: pa.Schema, encoded: Collection[str] = ()) -> pa.Schema:
    fields = [
        field.with_type(_encoded_type(field.type)) if field.name in encoded else field
        for field in schema
        if field.name != "epoch"
    ]
    return pa.schema(fields)


def _encoded_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_map(kind):
        return pa.map_(DICTIONARY, kind.item_type)
    return pa.list_(DICTIONARY) if pa.types.is_list(kind) else DICTIONARY


DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())
"""Type of repetitive text columns, such as map keys: each distinct text is stored and sent once."""
_REPETITIVE = ("model", "version", "arm", "class", "status", "error", "producer")
_MAPS = ("context", "numbers", "strings", "nulls", "scores", "metrics")
RAW_SCHEMAS = {
    "predictions": _without_epoch(SCHEMAS["predictions"], (*_REPETITIVE, *_MAPS)).append(
        pa.field("shadow", pa.bool_())
    ),
    "labels": _without_epoch(SCHEMAS["labels"]),
}
