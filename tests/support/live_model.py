"""A model with windows of seconds, and a minute or more of its events, for drills on the wall clock."""

import msgspec
import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Fallback, Window
from barograph.contract.alerts import AlertRule, Alerts

from barograph_server.drills.faults import EventTables
from tests.support.drill_events import COLOURS, CONTRACT

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
