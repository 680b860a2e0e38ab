"""Models of any size and their events, for the growth measurements.

A fifth of the fields is categorical (20 values each), one is the score, the others are numbers. Slice dimensions use
the first categorical features, so that the number of slices can change without the fields. Events are created from
templates in which only time, id and sequence number change, because millions of them are needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from barograph.contract import Contract, Window
from barograph.events import encode_arrow
from numpy.typing import NDArray

from barograph_server.profiling.infer.infer import InferOptions, infer_file
from barograph_server.profiling.infer.profile import Roles
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from benchmarks.workload import draw_numbers

SEED = 20_261_126
MODEL, VERSION = "synthetic", "1"
FIELDS = 20
"""Number of fields where another factor varies."""
CATEGORICAL = 5
"""One of this many fields is categorical."""
VALUES = 20
"""Values of a categorical feature; a slice dimension has one more slice, for other values."""
TRAINING_ROWS = 10_000
DEFAULT_WINDOWS = Contract(model=MODEL).windows


@dataclass(frozen=True)
class SyntheticModel:
    """A model with its field names."""

    contract: Contract
    baseline: Baseline
    numbers: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def slices(self) -> int:
        """Number of slices, including `all`."""
        return 1 + sum(len(dimension.values) + 1 for dimension in self.baseline.dimensions)

    def named(self, model: str) -> SyntheticModel:
        """The model under another name."""
        contract = msgspec.structs.replace(self.contract, model=model)
        return SyntheticModel(contract, msgspec.structs.replace(self.baseline, model=model), self.numbers, self.texts)

    def each(self) -> Iterator[tuple[Contract, Baseline]]:
        """Contract and baseline, in the form in which `Testbed.register` reads a workload."""
        yield self.contract, self.baseline

    def draw(self, n: int, stream: int) -> dict[str, NDArray[Any]]:
        """Draw features and score of n events; another `stream` gives other events."""
        return _draw(self.numbers, self.texts, n, np.random.default_rng([SEED, stream]))


def make_model(
    *,
    fields: int = FIELDS,
    dimensions: int = 0,
    windows: Sequence[Window] = DEFAULT_WINDOWS,
    lateness_s: int = 120,
    out_of_order_s: int = 60,
) -> SyntheticModel:
    """Infer contract and baseline as `barograph infer` does.

    Args:
        fields: number of fields including the score; at least 5.
        dimensions: number of categorical features that are slice dimensions.
        windows: the contract's windows.
        lateness_s: the contract's lateness.
        out_of_order_s: the contract's out-of-order time.

    Raises:
        ValueError: there are more dimensions than categorical features.
    """
    n_texts = fields // CATEGORICAL
    if dimensions > n_texts:
        raise ValueError(f"{fields} fields have {n_texts} categorical ones, not {dimensions}")
    texts = tuple(f"text_{i:03d}" for i in range(n_texts))
    numbers = tuple(f"number_{i:03d}" for i in range(fields - n_texts - 1))
    with tempfile.TemporaryDirectory(prefix="barograph-synthetic-") as folder:
        path = Path(folder) / "train.parquet"
        pq.write_table(pa.table(_draw(numbers, texts, TRAINING_ROWS, np.random.default_rng([SEED, 0]))), path)
        roles = Roles(score="score", slices=texts[:dimensions])
        result = infer_file(
            InferOptions(table=path, model=MODEL, version=VERSION, roles=roles, pane_s=60, windows=tuple(windows))
        )
    contract = msgspec.structs.replace(result.contract, lateness_s=lateness_s, out_of_order_s=out_of_order_s)
    return SyntheticModel(contract, result.baseline, numbers, texts)


def registry_of(models: Sequence[SyntheticModel]) -> Registry:
    """The registry that processors would read from ClickHouse."""
    return build_registry(
        [(each.contract, 0) for each in models],
        [RegisteredBaseline(each.baseline, each.baseline.id, 0, 0) for each in models],
    )


class Templates:
    """Templates of a model's JSON events in the publisher's format, to be completed with time, id and number."""

    def __init__(self, model: SyntheticModel, n: int, stream: int = 1) -> None:
        """Create n different templates; another `stream` gives other events."""
        encode = msgspec.json.Encoder().encode
        columns = {name: values.tolist() for name, values in model.draw(n, stream).items()}
        scores = columns.pop("score")
        names = tuple(columns)
        self._templates = []
        for i, values in enumerate(zip(*columns.values(), strict=True)):
            event = {
                "model": model.contract.model,
                "version": VERSION,
                "id": "ID",
                "at": -1,
                "context": {"tenant": "acme-0042", "release": "2024-06-11.3"},
                "features": dict(zip(names, values, strict=True)),
                "score": scores[i],
                "latency_ms": 12.375,
                "producer": "serving-7d9f8b6c5-x2x7q-1-5f2c9a7e",
                "seq": -2,
            }
            text = encode(event).replace(b"%", b"%%").replace(b'"at":-1', b'"at":%d', 1)
            text = text.replace(b'"ID"', b'"7f3a9c20-5b1e-4d87-0001-%012x"', 1).replace(b'"seq":-2', b'"seq":%d', 1)
            self._templates.append(text)

    def events(self, times_ms: Sequence[int], first: int = 0) -> Iterator[bytes]:
        """One event per time; `first` is the number of the first event."""
        templates, n = self._templates, len(self._templates)
        for seq, at in enumerate(times_ms, first):
            yield templates[seq % n] % (seq, at, seq)


def spread_times(n: int, first_ms: int, last_ms: int) -> list[int]:
    """`n` times spread evenly over [first_ms, last_ms] (Unix ms)."""
    return [int(at) for at in np.linspace(first_ms, last_ms, n).astype(np.int64)]


def arrow_events(
    model: SyntheticModel, n: int, first_ms: int, last_ms: int, *, rows: int = 1_000, stream: int = 1
) -> list[bytes]:
    """`n` events as Arrow batches of `rows` rows in the publisher's format."""
    columns = model.draw(n, stream)
    times = np.linspace(first_ms, last_ms, n).astype("datetime64[ms]")
    constants = {
        name: pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, dtype=np.int32)), [value])
        for name, value in (("model", model.contract.model), ("version", VERSION))
    }
    table = pa.table(
        {
            "id": [f"7f3a9c20-5b1e-4d87-{stream:04x}-{i:012x}" for i in range(n)],
            "at": pa.array(times, pa.timestamp("ms", "UTC")),
            **{name if name == "score" else f"features.{name}": values for name, values in columns.items()},
            **constants,
        }
    )
    return [encode_arrow(batch) for batch in table.to_batches(max_chunksize=rows)]


def event_columns(model: SyntheticModel, n: int, first_ms: int, last_ms: int, *, stream: int = 1) -> EventColumns:
    """`n` events as the decoders return them."""
    columns = model.draw(n, stream)
    at_ms = np.linspace(first_ms, last_ms, n).astype(np.int64)
    sources = {name: name if name == "score" else f"features.{name}" for name in columns}
    return EventColumns(
        model.contract.model,
        at_ms,
        at_ms,
        np.zeros(n, dtype=np.int32),
        np.arange(n, dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        (VERSION,),
        np.zeros(n, dtype=np.int32),
        np.zeros(n, dtype=bool),
        {sources[name]: values.astype(np.float64) for name, values in columns.items() if values.dtype.kind != "O"},
        {sources[name]: pa.array(values, pa.string()) for name, values in columns.items() if values.dtype.kind == "O"},
    )


def _draw(numbers: Sequence[str], texts: Sequence[str], n: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Draw columns of numbers, texts with decreasing frequencies, and the score."""
    columns = draw_numbers(numbers, n, rng)
    values = np.array([f"value-{i:02d}" for i in range(VALUES)], dtype=object)
    weights = 1 / np.arange(1, VALUES + 1)
    for name in texts:
        columns[name] = rng.choice(values, n, p=weights / weights.sum())
    columns["score"] = np.round(rng.beta(2.0, 5.0, n), 6)
    return columns
