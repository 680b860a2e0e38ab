"""A model with a field of each type, its baseline, and three days of its events."""

import math
import time
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Field, Window
from barograph.contract.model import LabelSpec, Slo

from barograph_server.drills.faults import EventTables, FaultPeriod
from barograph_server.sketches.baseline.baseline import QUANTILE_RANKS, Baseline, SliceCounts
from tests.support import baselines
from tests.support.warehouse import row

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
START_MS = 1_700_006_400_000
"""A midnight (UTC)."""
PERIOD = FaultPeriod(START_MS + DAY_MS, START_MS + 2 * DAY_MS)
COLOURS = ("red", "green", "blue")

CONTRACT = Contract(
    model="shop",
    pane_s=3600,
    lateness_s=600,
    out_of_order_s=600,
    windows=(Window(3 * 3600, 3600), Window(86_400, 3 * 3600)),
    fields=(
        Field(name="x", type="float", source="features.x", critical=True),
        Field(name="y", type="float", source="features.y"),
        Field(name="k", type="int", source="features.k"),
        Field(name="flag", type="bool", source="features.flag"),
        Field(name="colour", type="category", source="features.colour"),
        Field(name="updated", type="timestamp", source="features.updated"),
        Field(name="score", type="float", source="score", critical=True),
    ),
    label=LabelSpec(type="category", positive="yes"),
    slo=Slo(latency_ms=100.0, latency_share=0.99),
)


def baseline(contract: Contract = CONTRACT) -> Baseline:
    normal = np.random.default_rng(1).normal(size=10_000)
    edges = np.quantile(normal, np.arange(1, 10) / 10).tolist()
    known: dict[str, Any] = {"low": -10.0, "high": 10.0, "std": 1.0, "counts": SliceCounts(cells=(*[1000] * 10, 0))}
    known["quantiles"] = tuple(np.quantile(normal, np.linspace(0, 1, QUANTILE_RANKS)).tolist())
    fields = []
    for field in contract.fields:
        if field.type == "category":
            counts = SliceCounts(cells=(5000, 3000, 2000, 0, 0))
            fields.append(baselines.category(field.name, *COLOURS, counts=counts))
        else:
            fields.append(baselines.numeric(field.name, *edges, integer=field.type == "int", **known))
    return msgspec.structs.replace(baselines.baseline(*fields), model=contract.model)


def make_events(n: int = 900, days: int = 3, seed: int = 7) -> EventTables:
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(START_MS, START_MS + days * DAY_MS, n))
    mask = rng.random((5, n)) < 0.05
    columns: dict[str, Any] = {
        "id": [f"r{i}" for i in range(n)],
        "at": pa.array(at).cast(pa.timestamp("ms", "UTC")),
        "version": ["1"] * n,
        "features.x": pa.array(rng.normal(size=n), mask=mask[0]),
        "features.y": pa.array(rng.normal(size=n), mask=mask[1]),
        "features.k": pa.array(rng.integers(0, 9, n), mask=mask[2]),
        "features.flag": pa.array(rng.random(n) < 0.5, mask=mask[3]),
        "features.colour": pa.array(rng.choice(COLOURS, n, p=[0.5, 0.3, 0.2]), mask=mask[4]),
        "features.updated": pa.array(at - 60_000),
        "score": rng.random(n),
        "latency_ms": rng.gamma(4.0, 5.0, n),
    }
    labels = {
        "id": columns["id"],
        "label": rng.choice(["no", "yes"], n),
        "at": pa.array(at + HOUR_MS // 4).cast(pa.timestamp("ms", "UTC")),
    }
    return EventTables(pa.table(columns), pa.table(labels))


def without(contract: Contract, **changes: Any) -> Contract:
    return msgspec.structs.replace(contract, **changes)


def raw_rows(predictions: pa.Table) -> list[dict[str, Any]]:
    rows = []
    for i, event in enumerate(predictions.to_pylist()):
        features = {name.removeprefix("features."): v for name, v in event.items() if name.startswith("features.")}
        values: dict[str, Any] = {
            "numbers": {name: float(v) for name, v in features.items() if v is not None and not isinstance(v, str)},
            "strings": {name: v for name, v in features.items() if isinstance(v, str)},
            "nulls": [name for name, v in features.items() if v is None],
        }
        values |= {"id": event["id"], "score": event.get("score", math.nan), "latency_ms": event["latency_ms"]}
        times = {"at": int(event["at"].timestamp() * 1000 + 0.5), "received_at": int(time.time() * 1000)}
        rows.append(row("predictions", offset=i, model="shop", version="1", **values, **times))
    return rows
