"""Fill a database with a generated history: weeks of hourly panes of many models, verdicts and raw events.

SQL generates the rows inside the engine, one day of each table at a time, so that the keys of ClickHouse's parts
overlap as in production. Tests use a small history, the benchmarks of queries the full one.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from barograph.contract import Arms, Contract, Slo, Window
from barograph.contract.file import dump_contract
from numpy.typing import NDArray

from barograph_server.profiling.infer import InferOptions, Roles, infer_file
from barograph_server.sketches.baseline.baseline import ALL, Baseline, dump_baseline
from barograph_server.sketches.sketch.numeric import numeric_sketch
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from benchmarks.history import panes, performance, processor_reports, verdicts
from benchmarks.history.series import DAY_S, HOUR_S, SERIES

SEED = 20_130_915
MODEL = "shop-fraud"
"""The first model: the one in docs/queries.md."""
PER_HOUR = 250
COUNTRIES, DEVICES = ("DE", "FR", "US"), ("phone", "desktop")
WINDOWS = (Window(6 * HOUR_S, HOUR_S), Window(DAY_S, HOUR_S))
SLICES = {
    ALL: 1.0,
    "arm=a": 0.5,
    "arm=b": 0.5,
    "country=DE": 0.5,
    "country=FR": 0.3,
    "country=US": 0.2,
}
"""Slice → share of the traffic."""
SLICED_FEATURES = 10
"""Number of features that have slices; the outputs have them too."""
OUTPUTS = ("score", "latency_ms")
TWO_VERSIONS_EVERY = 5
"""One of this many models has a second version in the second half of the time."""
RAW_SHARE = 0.08
"""Share of raw predictions of every model but the first, which has all of them; keeps the history small."""
CHANGES_EVERY = 20
"""One of this many fields changes."""
CHANGED_DAYS = 20
"""How long before the end the changes begin (days)."""
TRAINING_ROWS = 5_000
TABLE_FILLS = (*panes.TABLE_FILLS, *verdicts.TABLE_FILLS, *performance.TABLE_FILLS, *processor_reports.TABLE_FILLS)


@dataclass(frozen=True, slots=True)
class Size:
    """Dimensions of a history."""

    models: int
    fields: int
    days: int


FULL = Size(models=50, fields=200, days=30)


@dataclass(frozen=True, slots=True)
class History:
    """A generated history."""

    size: Size
    start_s: int
    """Start, a midnight (Unix s)."""
    end_s: int
    models: tuple[str, ...]
    fields: tuple[str, ...]
    contract: Contract
    """The contract of `MODEL`; those of the other models differ only in the name."""


def fill(client: Client, size: Size, *, now_s: float | None = None) -> History:
    """Generate a history that ends with the last whole hour.

    Args:
        client: of a migrated, empty database; with a timeout of minutes.
        size: models, fields and days.
        now_s: the time at which the history ends (Unix s); by default the present.
    """
    now_s = time.time() if now_s is None else now_s
    end_s = int(now_s) // HOUR_S * HOUR_S
    start_s = end_s // DAY_S * DAY_S - (size.days - 1) * DAY_S
    contract, baseline = _infer_baseline(size.fields)
    history = History(
        size=size,
        start_s=start_s,
        end_s=end_s,
        models=(MODEL, *(f"model-{i:02d}" for i in range(1, size.models))),
        fields=tuple(field.name for field in baseline.fields),
        contract=contract,
    )
    versions = _versions(history, baseline)
    _catalogue(client, history, baseline, versions)
    _series(client, history, baseline, versions)
    for first_s in range(start_s, end_s, DAY_S):
        day = {"first_s": first_s, "end_s": min(first_s + DAY_S, end_s)}
        for table_fill in TABLE_FILLS:
            client.insert_selected(table_fill.table, list(table_fill.columns), table_fill.select, day)
    client.command(f"DROP TABLE {SERIES}")
    return history


def _infer_baseline(n_fields: int) -> tuple[Contract, Baseline]:
    """Infer contract and baseline of the first model as `barograph infer` does."""
    rng = np.random.default_rng(SEED)
    n = TRAINING_ROWS
    score = rng.random(n)
    columns: dict[str, NDArray[np.generic] | pa.Array] = {
        "amount": rng.lognormal(3, 0.5, n),
        "age": rng.integers(18, 80, n),
        "country": pa.array(np.array(COUNTRIES)[rng.choice(3, n, p=[0.5, 0.3, 0.2])]),
        "device": pa.array(np.array(DEVICES)[rng.integers(0, 2, n)]),
        "score": score,
        "latency_ms": rng.lognormal(2, 0.5, n),
        "fraud": rng.random(n) < score,
    }
    n_columns = n_fields + 1
    for i in range(len(columns), n_columns):
        if i % 10:
            columns[f"number_{i:03d}"] = rng.normal(100, 15, n)
        else:
            columns[f"text_{i:03d}"] = pa.array([f"value-{value}" for value in rng.integers(0, 8, n)])
    with tempfile.TemporaryDirectory(prefix="barograph-history-") as folder:
        path = Path(folder) / "train.parquet"
        pq.write_table(pa.table(columns), path)
        result = infer_file(
            InferOptions(
                table=path,
                model=MODEL,
                version="1",
                roles=Roles(
                    score="score",
                    latency="latency_ms",
                    label="fraud",
                    slices=("country",),
                    critical=frozenset({"amount"}),
                ),
                pane_s=HOUR_S,
                windows=WINDOWS,
                arms=Arms(shares={"a": 0.5, "b": 0.5}, unit="context.user"),
            )
        )
    contract = msgspec.structs.replace(
        result.contract,
        team="payments",
        owners=("anna",),
        slice_min_n=100,
        slo=Slo(latency_ms=14.0, latency_share=0.9, error_rate=0.01, performance={"auc": 0.7}),
    )
    return contract, result.baseline


@dataclass(frozen=True, slots=True)
class _Version:
    """A version of a model."""

    model: str
    name: str
    since_s: int
    """When its predictions begin (Unix s)."""
    baseline_id: str
    has_two: bool
    """Whether the model has a second version."""


def _versions(history: History, baseline: Baseline) -> list[_Version]:
    """List the versions of all models, sorted as the tables are."""
    result = []
    for i, model in sorted(enumerate(history.models), key=lambda pair: pair[1]):
        has_two = i % TWO_VERSIONS_EVERY == 0
        starts = {"1": history.start_s, "2": history.end_s - history.size.days * DAY_S // 2}
        for name in ("1", "2") if has_two else ("1",):
            of_version = msgspec.structs.replace(baseline, model=model, version=name)
            result.append(_Version(model, name, starts[name], of_version.id, has_two))
    return result


def _catalogue(client: Client, history: History, baseline: Baseline, versions: list[_Version]) -> None:
    """Write the rows that `apply` and processors write once: contracts, baselines, progress, losses."""
    start_ms, end_ms = 1000 * history.start_s, 1000 * history.end_s
    contracts = [msgspec.structs.replace(history.contract, model=model) for model in history.models]
    insert_rows(
        client,
        "contracts",
        [
            {"model": each.model, "contract_id": each.id, "yaml": dump_contract(each), "applied_at": start_ms}
            for each in contracts
        ],
    )
    # Serialized once: formatting and validating the baseline of every version would take a minute.
    body = dump_baseline(baseline).decode()
    for version in versions:
        row = {
            "model": version.model,
            "version": version.name,
            "baseline_id": version.baseline_id,
            "effective_from": 0,
            "body": _renamed(body, baseline, version),
            "reason": "generated history",
            "accepted_at": start_ms,
        }
        insert_rows(client, "baselines", [row])
    common = {"partials_partition": 0, "record_seq": 1 << 48}
    insert_rows(
        client,
        "progress",
        [
            {**common, "model": model, "watermark": end_ms, "sealed_until": end_ms, "updated_at": end_ms}
            for model in history.models
        ],
    )
    insert_rows(
        client,
        "losses",
        [
            {
                **common,
                "source_partition": partition,
                "start_offset": 100,
                "end_offset": 200,
                "from_time": start_ms,
                "to_time": start_ms + 60_000,
                "reason": "generated history",
                "recorded_at": start_ms,
            }
            for partition in range(4)
        ],
    )
    insert_rows(
        client,
        "scorer_models",
        [
            {
                "model": model,
                "state": "scored",
                "reason": "",
                "basis": performance.BASIS,
                "kind": "binary",
                "raw_share": 1.0,
                "newest_at": end_ms,
                "scored_until": end_ms,
                "updated_at": end_ms,
            }
            for model in history.models
        ],
    )


def _renamed(body: str, baseline: Baseline, version: _Version) -> str:
    """A serialized baseline with the id, model and version of another one."""
    head, fields, rest = body.partition('"fields"')
    for before, after in (
        (f'"id": "{baseline.id}"', f'"id": "{version.baseline_id}"'),
        (f'"model": "{baseline.model}"', f'"model": "{version.model}"'),
        (f'"version": "{baseline.version}"', f'"version": "{version.name}"'),
    ):
        assert before in head
        head = head.replace(before, after)
    return head + fields + rest


def _series(client: Client, history: History, baseline: Baseline, versions: list[_Version]) -> None:
    """Create and fill the scratch table from which all other tables are generated."""
    client.command(
        f"CREATE TABLE {SERIES} (model String, version String, baseline_id String, slice String, field String, "
        "kind String, shares Array(Float64), mean Float64, std Float64, hourly Float64, sketch String, seed UInt64, "
        "changes Bool, change_s UInt32, since_s UInt32, two Bool, raw Float64, numbers Array(String)) ENGINE = Memory"
    )
    rng = np.random.default_rng([SEED, 1])
    # In the sort order of the tables, as processors insert rows.
    fields = sorted(baseline.fields, key=lambda field: field.name)
    position = {field.name: i for i, field in enumerate(baseline.fields)}
    sketches = {}
    for field in fields:
        if field.kind == "numeric":
            sketch = numeric_sketch(field.integer, "kll")
            sketch.update(rng.normal(field.mean, field.std, PER_HOUR))
            sketches[field.name] = sketch.to_bytes()
    numbers = [field.name for field in fields if field.kind == "numeric"]
    rows: list[dict[str, object]] = []
    for version in versions:
        for name, share in SLICES.items():
            for field in fields:
                if name != ALL and field.name not in OUTPUTS and position[field.name] >= SLICED_FEATURES:
                    continue
                cells = np.array(field.slices[ALL].cells, dtype=float)
                rows.append(
                    {
                        "model": version.model,
                        "version": version.name,
                        "baseline_id": version.baseline_id,
                        "slice": name,
                        "field": field.name,
                        "kind": field.kind,
                        "shares": (cells / cells.sum()).tolist(),
                        "mean": field.mean,
                        "std": field.std,
                        "hourly": PER_HOUR * share,
                        "sketch": sketches.get(field.name, b"") if name == ALL else b"",
                        "seed": len(rows),
                        "changes": position[field.name] % CHANGES_EVERY == 0,
                        "change_s": history.end_s - CHANGED_DAYS * DAY_S,
                        "since_s": version.since_s,
                        "two": version.has_two,
                        "raw": 1.0 if version.model == MODEL else RAW_SHARE,
                        "numbers": numbers,
                    }
                )
    client.insert(SERIES, pa.Table.from_pylist(rows))
