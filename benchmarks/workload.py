"""The model that is measured and its events: as JSON, as Arrow batches, and as columns.

All of it follows from one seed. Numbers have four decimals and features names of some ten letters, as served models'
have; one event is about 700 bytes of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from barograph.contract import Contract, Window
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, encode_predictions
from numpy.typing import NDArray

from cli.infer.learn import InferOptions, infer
from cli.infer.profile import Roles
from sketches.baseline import Baseline
from streams.columns import EventColumns
from streams.registry import RegisteredBaseline, Registry, build_registry

SEED = 20_130_915
MODEL, VERSION = "benchmark", "1"
TRAINING_ROWS = 20_000
ARROW_ROWS = 1_000
"""Events of one Arrow message, as the publisher makes them."""
ARROW_HEADERS = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]

_TEXTS = {
    "country": ("DE", "FR", "GB", "US", "IN", "BR", "JP", "CA"),
    "device": ("desktop", "mobile", "tablet", "tv"),
    "plan": ("free", "basic", "premium"),
}
_NUMBERS = ("amount", "age_days", "basket_size", "session_s", "distance_km", "clicks_1h", "clicks_24h", "price_ratio")


@dataclass(frozen=True)
class Workload:
    """One model: its contract, its baseline, and the shape of its events."""

    contract: Contract
    baseline: Baseline
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    seed: int

    def columns(self, n: int, stream: int) -> dict[str, NDArray[Any]]:
        """Draw the features and the score of n events; another `stream` gives other events."""
        return _draw(self.numbers, self.texts, n, np.random.default_rng([self.seed, stream]))

    def registry(self) -> Registry:
        """What processors would read from ClickHouse."""
        return build_registry([(self.contract, 0)], [RegisteredBaseline(self.baseline, self.baseline.id, 0, 0)])


def make_workload(
    folder: Path,
    *,
    numbers: int,
    texts: int = 2,
    pane_s: int = 60,
    windows: tuple[Window, ...] = Contract(model=MODEL).windows,
    lateness_s: int = 120,
    out_of_order_s: int = 60,
    seed: int = SEED,
) -> Workload:
    """Learn contract and baseline, as `barograph infer` does, from a table drawn here.

    Args:
        folder: where the table is written.
        numbers: how many numeric features.
        texts: how many categorical features; each is a slice dimension too.
        pane_s: the contract's pane.
        windows: the contract's windows.
        lateness_s: the contract's.
        out_of_order_s: the contract's.
        seed: of all that is drawn.
    """
    number_names = tuple(f"{_NUMBERS[i % len(_NUMBERS)]}_{i:02d}" for i in range(numbers))
    text_names = tuple(_TEXTS)[:texts]
    path = folder / f"train-{numbers}-{texts}.parquet"
    pq.write_table(pa.table(_draw(number_names, text_names, TRAINING_ROWS, np.random.default_rng([seed, 0]))), path)
    roles = Roles(score="score", slices=text_names)
    found = infer(InferOptions(table=path, model=MODEL, version=VERSION, roles=roles, pane_s=pane_s, windows=windows))
    contract = msgspec.structs.replace(found.contract, lateness_s=lateness_s, out_of_order_s=out_of_order_s)
    return Workload(contract, found.baseline, number_names, text_names, seed)


def json_events(workload: Workload, n: int, first_ms: int, last_ms: int, *, stream: int = 1) -> Iterator[bytes]:
    """Write n events as the publisher writes them, their times spread evenly over [first_ms, last_ms]."""
    encode = msgspec.json.Encoder().encode
    times = np.linspace(first_ms, last_ms, n).astype(np.int64).tolist()
    block = 50_000
    for start in range(0, n, block):
        size = min(block, n - start)
        drawn = {name: values.tolist() for name, values in workload.columns(size, stream + start).items()}
        scores = drawn.pop("score")
        names = tuple(drawn)
        for i, values in enumerate(zip(*drawn.values(), strict=True)):
            seq = start + i
            yield encode(
                {
                    "model": MODEL,
                    "version": VERSION,
                    "id": f"7f3a9c20-5b1e-4d87-{stream:04x}-{seq:012x}",
                    "at": times[seq],
                    "arm": "treatment",
                    "context": {"tenant": "acme-0042", "release": "2024-06-11.3"},
                    "features": dict(zip(names, values, strict=True)),
                    "score": scores[i],
                    "latency_ms": 12.375,
                    "producer": "serving-7d9f8b6c5-x2x7q-1-5f2c9a7e",
                    "seq": seq,
                }
            )


def arrow_table(workload: Workload, n: int, first_ms: int, last_ms: int, *, stream: int = 1) -> pa.Table:
    """Make n events as a table in the form that the publisher is given."""
    drawn = workload.columns(n, stream)
    times = np.linspace(first_ms, last_ms, n).astype("datetime64[ms]")
    return pa.table(
        {
            "id": [f"7f3a9c20-5b1e-4d87-{stream:04x}-{i:012x}" for i in range(n)],
            "at": pa.array(times, pa.timestamp("ms", "UTC")),
            **{name if name == "score" else f"features.{name}": values for name, values in drawn.items()},
        }
    )


def arrow_messages(workload: Workload, n: int, first_ms: int, last_ms: int) -> Iterator[bytes]:
    """Write n events as Arrow batches of `ARROW_ROWS` rows."""
    block = 100 * ARROW_ROWS
    for start in range(0, n, block):
        size = min(block, n - start)
        span = last_ms - first_ms
        table = arrow_table(
            workload, size, first_ms + span * start // n, first_ms + span * (start + size) // n, stream=start + 1
        )
        constants = {
            name: pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, dtype=np.int32)), [value])
            for name, value in (("model", MODEL), ("version", VERSION))
        }
        for name, values in constants.items():
            table = table.append_column(name, values)
        for batch in table.to_batches(max_chunksize=ARROW_ROWS):
            yield encode_predictions(batch)


def event_columns(workload: Workload, n: int, first_ms: int, last_ms: int, *, stream: int = 1) -> EventColumns:
    """Make n events as the decoders hand them on."""
    drawn = workload.columns(n, stream)
    at_ms = np.linspace(first_ms, last_ms, n).astype(np.int64)
    source = {name: name if name == "score" else f"features.{name}" for name in drawn}
    return EventColumns(
        MODEL,
        at_ms,
        at_ms,
        np.zeros(n, dtype=np.int32),
        np.arange(n, dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        (VERSION,),
        np.zeros(n, dtype=np.int32),
        np.zeros(n, dtype=bool),
        {source[name]: values.astype(np.float64) for name, values in drawn.items() if values.dtype.kind != "O"},
        {source[name]: pa.array(values, pa.string()) for name, values in drawn.items() if values.dtype.kind == "O"},
    )


def _draw(
    numbers: tuple[str, ...], texts: tuple[str, ...], n: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """A third each of normal, heavy-tailed and whole-numbered features; texts with a few frequent values."""
    drawn: dict[str, NDArray[Any]] = {}
    for i, name in enumerate(numbers):
        if i % 3 == 0:
            drawn[name] = np.round(rng.normal(100.0, 15.0, n), 4)
        elif i % 3 == 1:
            drawn[name] = np.round(rng.lognormal(3.0, 1.0, n), 4)
        else:
            drawn[name] = rng.poisson(40, n)
    for name in texts:
        values = np.array(_TEXTS[name], dtype=object)
        weights = 1 / np.arange(1, len(values) + 1)
        drawn[name] = rng.choice(values, n, p=weights / weights.sum())
    drawn["score"] = np.round(rng.beta(2.0, 5.0, n), 6)
    return drawn
