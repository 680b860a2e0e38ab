"""A model whose outputs are compared: versions with different bins, two arms, and events as plain rows."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from barograph.contract import Arms, Contract, Field, Slice, Slo
from numpy.typing import NDArray

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, Phi, SliceCounts, SliceValues
from tests.support import baselines
from tests.support.pipeline import simple_contract

CLASSES = ("no", "perhaps", "yes")


def output_contract(**changes: Any) -> Contract:
    fields = (
        Field(name="x", type="float", source="features.x"),
        Field(name="score", type="float", source="score"),
        Field(name="class", type="category", source="class"),
        Field(name="latency_ms", type="float", source="latency_ms", sketch="req"),
        Field(name="tokens", type="int", source="metrics.tokens"),
    )
    slices = (Slice(name="arm", source="arm", values=("a", "b"), sketches=("score", "latency_ms")),)
    arms, slo = Arms(shares={"a": 0.5, "b": 0.5}, unit="context.user"), Slo(latency_ms=100.0)
    return simple_contract(**{"fields": fields, "slices": slices, "arms": arms, "slo": slo, **changes})


def output_baseline(version: str, seed: int, rows: int = 5_000, phi: float = 1.0) -> Baseline:
    rng = np.random.default_rng(seed)
    values = {
        "x": rng.normal(size=rows),
        "score": rng.beta(2.0, 3.0, rows),
        "latency_ms": rng.gamma(4.0, 12.0, rows),
        "tokens": rng.poisson(4.0, rows).astype(float),
    }
    phis = {name: Phi(value=phi, windows=30, flag="ok") for name in ("3h", "1d")}
    integer: dict[str, Any] = {"tokens": {"edges": np.arange(1.5, 8.5), "integer": True}}
    fields = [numeric_field(name, each, phi=phis, **integer.get(name, {})) for name, each in values.items()]
    fields.append(class_field("class", CLASSES, rng.choice(3, rows, p=[0.5, 0.3, 0.2]), phi=phis))
    arm = SliceValues(name="arm", source="arm", values=("a", "b"), trained=False)
    return msgspec.structs.replace(baselines.baseline(*fields, dimensions=(arm,)), model="toy", version=version)


def numeric_field(
    name: str, values: NDArray[np.float64], edges: NDArray[np.float64] | None = None, **changes: Any
) -> FieldBaseline:
    if edges is None:
        edges = np.quantile(values, np.arange(1, 10) / 10)
    cells = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 2)
    counts = SliceCounts(cells=tuple(cells.tolist()), phi=changes.pop("phi", {}))
    moments = {"mean": float(values.mean()), "std": float(values.std())}
    return baselines.numeric(name, *edges.tolist(), counts=counts, **moments, **changes)


def class_field(name: str, categories: Sequence[str], codes: NDArray[np.int64], **counts: Any) -> FieldBaseline:
    cells = (*np.bincount(codes, minlength=len(categories)).tolist(), 0, 0)
    return baselines.category(name, *categories, counts=SliceCounts(cells=cells, **counts))


def output_events(n: int, start_ms: int, hours: int, seed: int = 1) -> list[dict[str, Any]]:
    """Predictions for 1,000 users over some hours; arm b and version 2 return other values, more errors, and slower."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 1_000, n)
    events = []
    for i in range(n):
        arm = "ab"[int(users[i]) % 2]
        version = "2" if rng.random() < 0.4 else "1"
        better = (arm == "b") + 0.5 * (version == "2")
        failed = rng.random() < 0.01 + 0.08 * (arm == "b") + 0.03 * (version == "2")
        score = None if failed else float(np.float32(rng.beta(2.0 + 0.5 * better, 3.0)))
        event = {
            "model": "toy",
            "version": version,
            "id": f"e{i}",
            "at": start_ms + i * hours * 3_600_000 // n,
            "features": {"x": float(rng.normal())},
            "context": {"user": f"u{users[i]}"},
            "arm": arm,
            "latency_ms": float(np.float32(rng.gamma(4.0, 12.0 + 3.0 * better))),
            "metrics": {"tokens": int(rng.poisson(4.0 + better))},
        }
        if failed:
            event["error"] = "timeout"
        else:
            event |= {"score": score, "class": CLASSES[int(rng.random() * 3 * (1 + 0.2 * better)) % 3]}
        events.append(event)
    return events
