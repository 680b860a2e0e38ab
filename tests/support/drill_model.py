"""Models for drills: one with a stable history through the real path, and one with windows of seconds for live ones."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from barograph.contract import Contract, Fallback, Window
from barograph.contract.alerts import AlertRule, Alerts
from barograph.contract.file import dump_contract
from barograph.contract.model import Slo

from barograph_server.drills.faults import EventTables
from barograph_server.profiling.infer.infer import InferOptions, infer_file
from barograph_server.profiling.infer.profile import Roles
from barograph_server.sketches.baseline.baseline import Baseline
from tests.support.drill_events import COLOURS, CONTRACT, DAY_MS, START_MS, make_events

HOUR_S = 3600
WINDOWS = (Window(3 * HOUR_S, HOUR_S), Window(24 * HOUR_S, 3 * HOUR_S))
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
    result = infer_file(
        InferOptions(
            table=folder / "train.parquet",
            model="shop",
            version="1",
            roles=roles,
            pane_s=HOUR_S,
            windows=WINDOWS,
            season="none",
        )
    )
    contract = msgspec.structs.replace(
        result.contract,
        slo=Slo(latency_ms=100.0, latency_share=0.99),
        fallback=Fallback(recover_s=1800),
        lateness_s=600,
        out_of_order_s=600,
    )
    events = make_events(DAYS * PER_DAY, DAYS, seed=2)
    shift_ms = (now_ms - HOUR_S * 1000 - START_MS - DAYS * DAY_MS) // (HOUR_S * 1000) * HOUR_S * 1000
    predictions = _shifted(events.predictions, shift_ms).drop_columns(["features.updated"])
    events = EventTables(predictions, _shifted(events.labels, shift_ms).slice(0, 0))
    path = folder / "shop.yaml"
    path.write_text(dump_contract(contract), encoding="utf-8")
    pq.write_table(events.predictions, folder / "predictions.parquet")
    return DrilledModel(
        contract, result.baseline, events, path, folder / "predictions.parquet", folder / "labels.parquet"
    )


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
    """Events at a constant pace; features have the distributions of `drill_events.baseline`."""
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
