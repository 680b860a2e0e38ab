"""Workloads: models and their events as JSON, as Arrow batches and as columns.

Everything derives from one seed. Numbers have four decimals and feature names about ten characters, as in production.
The base, of which benchmarks change one factor at a time, is one model of 20 numeric features and a score without
slices; its JSON events have about 700 bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from barograph.contract import Contract, Slice, Window
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, encode_arrow
from numpy.typing import NDArray

from barograph_server.profiling.infer.infer import InferOptions, infer_file
from barograph_server.profiling.infer.profile import Roles
from barograph_server.sketches.baseline.baseline import Baseline, SliceValues
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry

SEED = 20_130_915
MODEL, VERSION = "benchmark", "1"
TRAINING_ROWS = 20_000
ARROW_ROWS = 1_000
"""Events per Arrow message, as in the publisher."""
FRESH_VALUES = 10_000_000
"""Number of values drawn for a topic of Arrow batches; larger topics repeat them."""
ARROW_HEADERS = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]

_TEXTS = {
    "country": ("DE", "FR", "GB", "US", "IN", "BR", "JP", "CA"),
    "device": ("desktop", "mobile", "tablet", "tv"),
    "plan": ("free", "basic", "premium"),
}
CONTEXT = {
    "region": ("eu", "us", "in", "br", "jp", "ca"),
    "channel": ("web", "ios", "android", "api"),
    "tier": ("free", "gold", "silver"),
    "app": ("4.2", "4.1", "4.0", "3.9", "3.8"),
}
"""Member → values of the request context of JSON events; the contract slices by the first of these members."""
_ALPHABET = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789 ", dtype=np.uint8)
_NOTES = 64
"""Number of different sets of padding texts, so that they do not compress to nothing."""
_NUMBERS = ("amount", "age_days", "basket_size", "session_s", "distance_km", "clicks_1h", "clicks_24h", "price_ratio")


@dataclass(frozen=True)
class Workload:
    """One or several equal models: contract, baseline and the shape of the events."""

    contract: Contract
    baseline: Baseline
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    dimensions: tuple[str, ...] = ()
    """Members of the request context by which the contract slices."""
    models: tuple[str, ...] = (MODEL,)
    """Names of models that share contract and baseline; events belong to them in turn."""
    event_bytes: int = 0
    """Size to which JSON events are padded with unwatched texts; 0 for no padding."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: CONTEXT)
    """Member of the context → values."""

    def columns(self, n: int, stream: int) -> dict[str, NDArray[Any]]:
        """Draw the features and the score of n events; another `stream` gives other events."""
        return _draw(self.numbers, self.texts, n, np.random.default_rng([SEED, stream]))

    def context(self, names: Iterable[str], n: int, stream: int) -> dict[str, NDArray[Any]]:
        """Draw members of the request context of n events; earlier values are more frequent."""
        rng = np.random.default_rng([SEED, stream, 1])
        return {name: _choose(self.choices[name], n, rng) for name in names}

    def each(self) -> Iterator[tuple[Contract, Baseline]]:
        """Contract and baseline of every model."""
        for model in self.models:
            yield (
                msgspec.structs.replace(self.contract, model=model),
                msgspec.structs.replace(self.baseline, model=model),
            )

    def registry(self) -> Registry:
        """The registry that processors would read from ClickHouse."""
        pairs = list(self.each())
        return build_registry(
            [(contract, 0) for contract, _ in pairs],
            [RegisteredBaseline(baseline, baseline.id, 0, 0) for _, baseline in pairs],
        )


def make_workload(
    folder: Path,
    *,
    numbers: int = 20,
    texts: int = 0,
    dimensions: int = 0,
    models: int = 1,
    event_bytes: int = 0,
    pane_s: int = 60,
    windows: tuple[Window, ...] = Contract(model=MODEL).windows,
    training_rows: int = TRAINING_ROWS,
    **keys: Any,
) -> Workload:
    """Infer contract and baseline from a random table as `barograph infer` does.

    `texts` is the number of categorical features, which are also slice dimensions; `dimensions` that of members of the
    request context that are slice dimensions too (at most 4), without a change of the events. JSON events are padded to
    `event_bytes`. `keys` are further members of the contract.
    """
    number_names = tuple(f"{_NUMBERS[i % len(_NUMBERS)]}_{i:02d}" for i in range(numbers))
    text_names = tuple(_TEXTS)[:texts]
    path = folder / f"train-{numbers}-{texts}.parquet"
    pq.write_table(pa.table(_draw(number_names, text_names, training_rows, np.random.default_rng([SEED, 0]))), path)
    roles = Roles(score="score", slices=text_names)
    result = infer_file(
        InferOptions(table=path, model=MODEL, version=VERSION, roles=roles, pane_s=pane_s, windows=windows)
    )
    sliced = tuple(CONTEXT)[:dimensions]
    contract = msgspec.structs.replace(
        result.contract,
        **keys,
        slices=(*result.contract.slices, *(Slice(name=n, source=f"context.{n}", values=CONTEXT[n]) for n in sliced)),
    )
    # Training tables have no request context: its slices are compared with all training rows, as arms are.
    values = (SliceValues(name=n, source=f"context.{n}", values=CONTEXT[n], trained=False) for n in sliced)
    baseline = msgspec.structs.replace(result.baseline, dimensions=(*result.baseline.dimensions, *values))
    names = (MODEL,) if models == 1 else tuple(f"{MODEL}-{i:02}" for i in range(models))
    return Workload(contract, baseline, number_names, text_names, sliced, names, event_bytes)


def json_events(workload: Workload, n: int, first_ms: int, last_ms: int, *, stream: int = 1) -> Iterator[bytes]:
    """`n` JSON events in the publisher's format, with times spread evenly over [first_ms, last_ms] (Unix ms)."""
    encode = msgspec.json.Encoder().encode
    models, n_models = workload.models, len(workload.models)
    notes = _notes(workload)
    block = 50_000
    step = (last_ms - first_ms) / max(1, n - 1)
    for start in range(0, n, block):
        size = min(block, n - start)
        columns = {name: values.tolist() for name, values in workload.columns(size, stream + start).items()}
        scores = columns.pop("score")
        names = tuple(columns)
        context_columns = workload.context(CONTEXT, size, stream + start)
        members = tuple(context_columns)
        requests = zip(*(values.tolist() for values in context_columns.values()), strict=True)
        for i, (values, context) in enumerate(zip(zip(*columns.values(), strict=True), requests, strict=True)):
            seq = start + i
            yield encode(
                {
                    "model": models[seq % n_models],
                    "version": VERSION,
                    "id": f"7f3a9c20-5b1e-4d87-{stream:04x}-{seq:012x}",
                    "at": first_ms + int(seq * step),
                    "arm": "treatment",
                    "context": {**dict(zip(members, context, strict=True)), **notes[seq % len(notes)]},
                    "features": dict(zip(names, values, strict=True)),
                    "score": scores[i],
                    "latency_ms": 12.375,
                    "producer": "serving-7d9f8b6c5-x2x7q-1-5f2c9a7e",
                    "seq": seq,
                }
            )


def _notes(workload: Workload) -> list[dict[str, str]]:
    """`_NOTES` different sets of context members that pad an event to `event_bytes`."""
    if not workload.event_bytes:
        return [{}]
    missing = workload.event_bytes - len(next(json_events(replace(workload, event_bytes=0), 1, 0, 0)))
    # `"note_00":"…",` is 13 characters around each text.
    length = 100
    names, rng = [f"note_{k:02}" for k in range(max(0, round(missing / length)))], np.random.default_rng([SEED, 2])
    return [
        {name: rng.choice(_ALPHABET, length - 13).tobytes().decode("ascii") for name in names} for _ in range(_NOTES)
    ]


def arrow_table(
    workload: Workload, n: int, first_ms: int, last_ms: int, *, stream: int = 1, first: int = 0
) -> pa.Table:
    """`n` events as a table for the publisher, with ids numbered from `first` on.

    Contains those members of the request context by which the contract slices.
    """
    columns = workload.columns(n, stream)
    context = workload.context(workload.dimensions, n, stream)
    return pa.table(
        {
            "id": _ids(n, stream, first),
            "at": _times(n, first_ms, last_ms),
            **{name if name == "score" else f"features.{name}": values for name, values in columns.items()},
            **{f"context.{name}": values for name, values in context.items()},
        }
    )


def _ids(n: int, stream: int, first: int) -> pa.Array:
    numbers = pc.utf8_lpad(pa.array(np.arange(first, first + n)).cast(pa.string()), 12, "0")
    return pc.binary_join_element_wise(f"7f3a9c20-5b1e-4d87-{stream:04x}", numbers, "-")


def _times(n: int, first_ms: int, last_ms: int) -> pa.Array:
    return pa.array(np.linspace(first_ms, last_ms, n).astype("datetime64[ms]"), pa.timestamp("ms", "UTC"))


def arrow_rows(workload: Workload) -> int:
    """Events per Arrow message: `ARROW_ROWS`, or fewer to stay below 1 MiB."""
    row_bytes = 60 + 8 * (len(workload.numbers) + 1) + 16 * (len(workload.texts) + len(workload.dimensions))
    return min(ARROW_ROWS, (900_000 // row_bytes) // 100 * 100)


def arrow_messages(workload: Workload, n: int, first_ms: int, last_ms: int) -> Iterator[bytes]:
    """`n` events as Arrow batches, each of one model, the models in turn.

    After `FRESH_VALUES` values, events repeat with other ids and times, because drawing takes longer than the
    measurement.
    """
    rows = arrow_rows(workload)
    block = 100 * rows
    columns: list[pa.Table] = []
    span = last_ms - first_ms
    sent = 0
    for i, start in enumerate(range(0, n, block)):
        size = min(block, n - start)
        times = first_ms + span * start // n, first_ms + span * (start + size) // n
        if len(columns) * block * len(workload.numbers) < FRESH_VALUES:
            columns.append(arrow_table(workload, block, *times, stream=start + 1))
        table = columns[i % len(columns)].slice(0, size)
        table = table.set_column(0, "id", _ids(size, 1, start)).set_column(1, "at", _times(size, *times))
        for batch in table.to_batches(max_chunksize=rows):
            model = workload.models[sent % len(workload.models)]
            sent += 1
            constants = {
                name: pa.DictionaryArray.from_arrays(pa.array(np.zeros(batch.num_rows, dtype=np.int32)), [value])
                for name, value in (("model", model), ("version", VERSION))
            }
            for name, values in constants.items():
                batch = batch.append_column(name, values)
            yield encode_arrow(batch)


def event_columns(workload: Workload, n: int, first_ms: int, last_ms: int, *, stream: int = 1) -> EventColumns:
    """`n` events as the decoders return them."""
    columns = workload.columns(n, stream)
    texts = {f"features.{name}": columns[name] for name in workload.texts}
    texts |= {f"context.{name}": values for name, values in workload.context(workload.dimensions, n, stream).items()}
    at_ms = np.linspace(first_ms, last_ms, n).astype(np.int64)
    source = {name: name if name == "score" else f"features.{name}" for name in columns}
    return EventColumns(
        workload.models[0],
        at_ms,
        at_ms,
        np.zeros(n, dtype=np.int32),
        np.arange(n, dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        (VERSION,),
        np.zeros(n, dtype=np.int32),
        np.zeros(n, dtype=bool),
        {source[name]: values.astype(np.float64) for name, values in columns.items() if values.dtype.kind != "O"},
        {name: pa.array(values, pa.string()) for name, values in texts.items()},
    )


def draw_numbers(names: Sequence[str], n: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Draw columns of numbers: a third each of normal, heavy-tailed and whole numbers."""
    columns: dict[str, NDArray[Any]] = {}
    for i, name in enumerate(names):
        if i % 3 == 0:
            columns[name] = np.round(rng.normal(100.0, 15.0, n), 4)
        elif i % 3 == 1:
            columns[name] = np.round(rng.lognormal(3.0, 1.0, n), 4)
        else:
            columns[name] = rng.poisson(40, n)
    return columns


def _draw(
    numbers: tuple[str, ...], texts: tuple[str, ...], n: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Draw columns of numbers, texts with a few frequent values, and the score."""
    columns = draw_numbers(numbers, n, rng)
    for name in texts:
        columns[name] = _choose(_TEXTS[name], n, rng)
    columns["score"] = np.round(rng.beta(2.0, 5.0, n), 6)
    return columns


def _choose(values: tuple[str, ...], n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Choose n texts, with decreasing frequencies."""
    weights = 1 / np.arange(1, len(values) + 1)
    return np.array(values, dtype=object)[rng.choice(len(values), n, p=weights / weights.sum())]
