"""Models for drills: one with a field of each type and three days of its events, one with a stable history through the
real path, and one with windows of seconds for live drills."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from barograph.contract import Contract, Fallback, Field, Window
from barograph.contract.alerts import AlertRule, Alerts
from barograph.contract.file import dump_contract
from barograph.contract.model import LabelSpec, Slo

from barograph_server.drills.faults import EventTables, FaultPeriod
from barograph_server.profiling.infer.infer import InferOptions, infer_file
from barograph_server.profiling.infer.profile import Roles
from barograph_server.sketches.baseline.baseline import QUANTILE_RANKS, Baseline, SliceCounts
from tests.support import baselines
from tests.support.warehouse import row

DAY_MS, HOUR_MS, HOUR_S = 86_400_000, 3_600_000, 3600
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


DAYS, PER_DAY = 8, 1000


@dataclass(frozen=True)
class DrilledModel:
    contract: Contract
    baseline: Baseline
    events: EventTables
    contract_file: Path
    predictions_file: Path
    labels_file: Path


def make_model(folder: Path, now_ms: int) -> DrilledModel:
    training = make_events(20_000, 20, seed=1).predictions
    names = {name: name.removeprefix("features.") for name in training.column_names}
    table = training.drop_columns(["id", "version", "features.updated"])
    table = table.rename_columns([names[name] for name in table.column_names])
    pq.write_table(table, folder / "train.parquet")
    roles = Roles(time="at", score="score", class_=None, label=None, latency="latency_ms", critical=frozenset({"x"}))
    named: dict[str, Any] = {"table": folder / "train.parquet", "model": "shop", "version": "1"}
    result = infer_file(InferOptions(**named, roles=roles, pane_s=HOUR_S, windows=CONTRACT.windows, season="none"))
    own = {"slo": CONTRACT.slo, "lateness_s": 600, "out_of_order_s": 600}
    contract = msgspec.structs.replace(result.contract, fallback=Fallback(recover_s=1800), **own)
    events = make_events(DAYS * PER_DAY, DAYS, seed=2)
    shift_ms = (now_ms - HOUR_S * 1000 - START_MS - DAYS * DAY_MS) // (HOUR_S * 1000) * HOUR_S * 1000
    predictions = _shifted(events.predictions, shift_ms).drop_columns(["features.updated"])
    events = EventTables(predictions, _shifted(events.labels, shift_ms).slice(0, 0))
    path = folder / "shop.yaml"
    path.write_text(dump_contract(contract), encoding="utf-8")
    pq.write_table(events.predictions, folder / "predictions.parquet")
    files = path, folder / "predictions.parquet", folder / "labels.parquet"
    return DrilledModel(contract, result.baseline, events, *files)


def _shifted(table: pa.Table, shift_ms: int) -> pa.Table:
    at = table["at"].cast(pa.int64()).to_numpy() + np.int64(shift_ms)
    return table.set_column(table.column_names.index("at"), "at", pa.array(at).cast(pa.timestamp("ms", "UTC")))


SHOP_ROUTES = """
[alerts.contact_points.on-call.webhook]
url_variable = "ON_CALL"
[alerts.contact_points.tickets.webhook]
url_variable = "TICKETS"
[alerts.routes.shop]
page = "on-call"
ticket = "tickets"
"""
"""The section `alerts` of settings, for the owner of the model."""

PER_S = 12
_WITHOUT = (
    *("psi-minor", "null-rate", "invalid-rate", "unseen-rate", "range-rate", "latency", "completeness"),
    "pipeline-lag",
)
"""Rules that are off: each rule of each model is a query every ten seconds."""
LIVE_CONTRACT: Contract = msgspec.structs.replace(
    CONTRACT,
    pane_s=10,
    lateness_s=4,
    out_of_order_s=2,
    windows=(Window(20, 10),),
    fields=tuple(field for field in CONTRACT.fields if field.name in ("x", "y", "colour")),
    label=None,
    alerts=Alerts(
        every_s=10, for_s=0, keep_firing_for_s=0, rules={name: AlertRule(severity="none") for name in _WITHOUT}
    ),
    fallback=Fallback(recover_s=10),
)
"""Rules can be evaluated every ten seconds at most."""


def live_events(start_ms: int, length_s: int, seed: int = 3) -> EventTables:
    """Events at a constant pace; features have the distributions of `baseline`."""
    rng = np.random.default_rng(seed)
    n = PER_S * length_s
    at = start_ms + np.arange(n, dtype=np.int64) * 1000 // PER_S
    times = pa.array(at).cast(pa.timestamp("ms", "UTC"))
    columns = {
        "id": [f"r{seed}-{i}" for i in range(n)],
        "at": times,
        "version": ["1"] * n,
        "features.x": rng.normal(size=n),
        "features.y": rng.normal(size=n),
        "features.colour": rng.choice(COLOURS, n, p=[0.5, 0.3, 0.2]),
        "latency_ms": rng.gamma(4.0, 5.0, n),
    }
    labels = pa.table({"id": pa.array([], pa.string()), "label": pa.array([], pa.string()), "at": times[:0]})
    return EventTables(pa.table(columns), labels)
