"""Crossed slices, sketches of slices, scores of classes, new categories and days, from a training table to the tables.

What is expected is counted from the source data by pyarrow and numpy.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from barograph import Publisher
from barograph.contract import Contract, Slice, Window
from barograph.contract.file import load_contract
from barograph.events import encode_arrow

from barograph_server.profiling.infer import InferOptions, Roles, infer_file
from barograph_server.sketches.baseline.baseline import Baseline, load_baseline
from barograph_server.sketches.sketch.envelope import SketchType
from barograph_server.sketches.sketch.numeric import NumericSketch
from tests.support.pipeline import Pipeline

HOUR_S, DAY_S = 3600, 86_400
START_S = 1_790_000_000 // DAY_S * DAY_S
DAYS, ROWS, PARTITIONS = 3, 6_000, 2
CLASSES = ("cat", "dog", "fish")
PAIR = "origin * carrier"
HUGE = "x" * 900_000
NEW = ("heron", "ibis")


def make_table(rng: np.random.Generator, n: int, *, serving: bool) -> pa.Table:
    """Requests of a model with three classes; the served ones have values that training does not have."""
    scores = rng.dirichlet((2.0, 1.0, 0.5), n)
    kinds = np.array(["robin", "finch", "wren", *(NEW if serving else ())])
    columns = {
        "origin": pa.array(np.array(["JFK", "LGA", "EWR"])[rng.integers(0, 3, n)], mask=rng.random(n) < 0.05),
        "carrier": pa.array(np.minimum(rng.zipf(1.6, n), 9).astype(str)),
        "kind": pa.array(kinds[rng.integers(0, len(kinds), n)]),
        "seats": pa.array(rng.integers(1, 4, n)),
        "ms": pa.array(rng.lognormal(3, 1, n)),
        "truth": pa.array(np.array(CLASSES)[rng.integers(0, 3, n)]),
        "decision": pa.array(np.array(CLASSES)[scores.argmax(axis=1)]),
    }
    none = rng.random(n) < 0.03
    columns |= {f"scores.{name}": pa.array(scores[:, i], mask=none) for i, name in enumerate(CLASSES)}
    if serving:
        at = START_S * 1000 + np.sort(rng.integers(0, DAYS * DAY_S * 1000, n))
        columns["at"] = pa.array(at, pa.timestamp("ms", "UTC"))
        columns["id"] = pa.array([f"p{i}" for i in range(n)])
    return pa.table(columns)


def learn(folder: Path) -> tuple[Contract, Baseline]:
    """Contract and baseline as `infer` writes them, the contract edited by hand."""
    path = folder / "train.parquet"
    pq.write_table(make_table(np.random.default_rng(1), 5_000, serving=False), path)
    roles = Roles(class_="decision", label="truth", latency="ms", slices=("seats", PAIR))
    result = infer_file(
        InferOptions(
            table=path, model="birds", version="1", roles=roles, pane_s=1800, windows=(Window(6 * HOUR_S, HOUR_S),)
        )
    )
    written = result.write_contract(folder)
    contract = load_contract(written.contract)
    assert contract.label is not None
    assert contract.label.classes == CLASSES
    cuts = tuple(msgspec.structs.replace(cut, sketches=("latency_ms", "confidence")) for cut in contract.slices)
    edited = msgspec.structs.replace(contract, slices=cuts, slice_min_n=1, lateness_s=600, out_of_order_s=600)
    return edited, load_baseline(written.baseline.read_bytes(), "baseline")


def as_served(table: pa.Table, contract: Contract) -> pa.Table:
    renamed = {"ms": "latency_ms", "decision": "class"}
    left = table.drop_columns(["truth"])
    features = {field.source.removeprefix("features.") for field in contract.fields}
    names = [renamed.get(n) or (f"features.{n}" if n in features and "." not in n else n) for n in left.column_names]
    return left.rename_columns([name if name != "features.id" else "id" for name in names])


def slices_of(table: pa.Table, baseline: Baseline) -> dict[str, np.ndarray]:
    n = table.num_rows
    masks = {"all": np.ones(n, dtype=bool)}
    seats, pair = baseline.dimensions
    texts = {
        seats: table["seats"].cast(pa.string()),
        pair: pc.binary_join_element_wise(table["origin"], table["carrier"], " * "),
    }
    for dimension, values in texts.items():
        rest = np.ones(n, dtype=bool)
        for value in dimension.values:
            mask = pc.fill_null(pc.equal(values, value), False).to_numpy()
            masks[f"{dimension.name}={value}"] = mask
            rest &= ~mask
        masks[f"{dimension.name}=other"] = rest
    return masks


def largest(table: pa.Table) -> np.ndarray:
    counts: np.ndarray = np.fmax.reduce([table[f"scores.{name}"].to_numpy() for name in CLASSES])
    return counts


def panes_of(table: pa.Table, length_s: int) -> np.ndarray:
    starts: np.ndarray = table["at"].cast(pa.int64()).to_numpy() // 1000 // length_s * length_s
    return starts


def test_slices_scores_categories_and_days_equal_the_source(pipeline: Pipeline, tmp_path: Path) -> None:
    contract, baseline = learn(tmp_path)
    assert baseline.dimensions[1].source == "features.origin * features.carrier"
    pipeline.prepare(contract, [baseline], source_partitions=PARTITIONS)
    table = make_table(np.random.default_rng(2), ROWS, serving=True)
    served = as_served(table, contract)
    # Half goes as Arrow, half as JSON.
    half = ROWS // 2
    with Publisher.from_contract(
        contract, version="1", bootstrap_servers=pipeline.bootstrap, on_full="wait", topic_prefix=pipeline.prefix
    ) as publisher:
        assert publisher.predictions(served.slice(0, half)) == half
    pipeline.produce((i % PARTITIONS, as_json(row), None) for i, row in enumerate(table.slice(half).to_pylist(), half))
    pipeline.end(PARTITIONS)
    for i in range(PARTITIONS):
        pipeline.start("sketcher", f"sketcher-{i}")
    pipeline.start("monitor")
    pipeline.wait_judged(ROWS)
    check_counts(pipeline, table, baseline)
    check_distributions(pipeline, table, baseline)
    check_categories(pipeline, table)
    check_days(pipeline, table)
    check_one_part_more(pipeline, contract, table, baseline)


def as_json(row: dict[str, Any]) -> bytes:
    features = {name: row[name] for name in ("origin", "carrier", "kind", "seats")}
    scores = {name: row[f"scores.{name}"] for name in CLASSES if row[f"scores.{name}"] is not None}
    outputs = {"scores": scores, "class": row["decision"], "latency_ms": row["ms"]}
    return msgspec.json.encode({**known(row["id"], row), "features": features, **outputs})


def known(event_id: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"model": "birds", "version": "1", "id": event_id, "at": round(row["at"].timestamp() * 1000)}


def check_counts(pipeline: Pipeline, table: pa.Table, baseline: Baseline) -> None:
    """Events of every slice and pane, and values of a field in them, one by one."""
    pane = panes_of(table, 1800)
    expected: Counter[tuple[str, int]] = Counter()
    for name, mask in slices_of(table, baseline).items():
        expected.update((name, at) for at in pane[mask].tolist())
    counts = {
        (name, at): n
        for name, at, n in pipeline.rows("SELECT slice, toUnixTimestamp(pane_start), n FROM volume FINAL WHERE n > 0")
    }
    assert counts == dict(expected)
    kinds = pipeline.rows(
        "SELECT slice, toUnixTimestamp(pane_start), n, arraySum(counts) FROM all_panes WHERE field = 'kind' AND n > 0"
    )
    assert {(name, at): n for name, at, n, _ in kinds} == dict(expected)
    assert all(n == total for *_, n, total in kinds)


def check_distributions(pipeline: Pipeline, table: pa.Table, baseline: Baseline) -> None:
    """Latency per slice within REQ's error; scores and confidence to the source, moments exactly."""
    values = {"latency_ms": table["ms"].to_numpy(), "confidence": largest(table)}
    values |= {f"scores.{name}": table[f"scores.{name}"].to_numpy() for name in CLASSES}
    day = panes_of(table, DAY_S)
    rows = pipeline.rows(
        "SELECT slice, field, toUnixTimestamp(pane_start), d.minimum, d.maximum, d.mean, d.n - d.nulls, hex(r.sketch) "
        "FROM days AS d INNER JOIN (SELECT * FROM rollups FINAL WHERE pane_s = 86400) AS r "
        "USING (model, version, baseline_id, slice, field, pane_start) WHERE isFinite(d.minimum)"
    )
    counts = {(name, field, at): rest for name, field, at, *rest in rows}
    slices = slices_of(table, baseline)
    retained = ("latency_ms", "confidence")
    checked = 0
    for name, mask in slices.items():
        for field, source in values.items():
            for at in np.unique(day).tolist():
                ordered = np.sort(source[mask & (day == at) & np.isfinite(source)])
                if not len(ordered) or (name != "all" and field not in retained):
                    assert (name, field, at) not in counts
                    continue
                low, high, mean, n, sketch = counts[name, field, at]
                assert (low, high, n) == (ordered[0], ordered[-1], len(ordered))
                assert mean == pytest.approx(ordered.mean(), rel=1e-9)
                kind = SketchType.REQ_FLOATS if field == "latency_ms" else SketchType.KLL_FLOATS
                opened = NumericSketch.from_bytes(kind, bytes.fromhex(sketch))
                assert opened.n == n
                for rank in (0.5, 0.95, 0.99):
                    [value] = opened.quantiles([rank]).tolist()
                    below = np.searchsorted(ordered, value * (1 - 1e-6), side="left") / n
                    upto = np.searchsorted(ordered, value * (1 + 1e-6), side="right") / n
                    error = opened.rank_error_at(rank) + 1 / n
                    assert below - error <= rank <= upto + error, (name, field, at, rank)
                    checked += 1
    assert checked > 300
    nulls = pipeline.rows("SELECT sum(nulls), sum(invalid) FROM days WHERE field = 'confidence' AND slice = 'all'")
    assert nulls == [(int(np.isnan(values["confidence"]).sum()), 0)]


def check_categories(pipeline: Pipeline, table: pa.Table) -> None:
    hour = panes_of(table, HOUR_S)
    kinds = np.array(table["kind"].to_pylist())
    counts = pipeline.rows(
        "SELECT field, category, toUnixTimestamp(first_seen), toUnixTimestamp(last_seen), n, n_high "
        "FROM unseen_categories ORDER BY category"
    )
    own = {name: hour[kinds == name] for name in NEW}
    assert counts == [("kind", name, min(at), max(at), len(at), len(at)) for name, at in own.items()]


def check_days(pipeline: Pipeline, table: pa.Table) -> None:
    """Each day is the sum of its hours and of its panes."""
    sums = (
        "SELECT slice, field, toStartOfDay(pane_start) AS day, sum(n), sum(nulls), sum(unseen), sumForEach(counts), "
        "min(minimum), max(maximum), sumIf(shift_sum, n > nulls) FROM {table} FINAL WHERE {where} "
        "GROUP BY slice, field, day"
    )
    days = as_rows(pipeline, sums.format(table="rollups", where="pane_s = 86400"))
    assert len({day for _, _, day in days}) == DAYS
    for table_name, where in (("rollups", "pane_s = 3600"), ("panes", "1")):
        parts = as_rows(pipeline, sums.format(table=table_name, where=where))
        assert parts.keys() == days.keys()
        for key, (*exact, shift) in days.items():
            *other, more = parts[key]
            np.testing.assert_equal(other, exact)
            assert shift == pytest.approx(more, rel=1e-9, abs=1e-6, nan_ok=True)
    assert pipeline.rows("SELECT sum(n) FROM days WHERE slice = 'all' AND field = 'kind'") == [(table.num_rows,)]


def as_rows(pipeline: Pipeline, sql: str) -> dict[tuple[str, str, str], list[Any]]:
    return {(name, field, str(day)): rest for name, field, day, *rest in pipeline.rows(sql)}


def check_one_part_more(pipeline: Pipeline, contract: Contract, table: pa.Table, baseline: Baseline) -> None:
    """Late events with a huge value, also under a contract with other sketches: rollups of days are updated."""
    cuts = tuple(Slice(name=cut.name, source=cut.source, top=cut.top) for cut in contract.slices)
    pipeline.register(msgspec.structs.replace(contract, slices=cuts), [])
    pipeline.wait_rows("SELECT uniqExact(contract_id) = 2 FROM contracts", "the second contract")
    late = table.slice(0, 2).to_pylist()
    late[0]["carrier"] = HUGE
    late[0]["kind"] = "auk"
    features = [{f"features.{name}": row[name] for name in ("carrier", "kind")} for row in late]
    arrow = pa.Table.from_pylist(
        [
            {**known(f"late{i}", row), **features[i], "features.origin": "JFK", "latency_ms": 5.0}
            for i, row in enumerate(late)
        ]
    )
    before = pipeline.rows("SELECT sum(n) FROM days WHERE slice = 'all' AND field = 'kind'")[0][0]
    other = pipeline.rows(f"SELECT sum(n) FROM all_volume WHERE slice = '{PAIR}=other'")[0][0]
    pipeline.produce([(0, encode_arrow(arrow), [("content-type", b"application/vnd.apache.arrow.stream")])])
    pipeline.wait_rows(
        f"SELECT sum(n) = {before + 2} FROM days WHERE slice = 'all' AND field = 'kind'", "the day written again"
    )
    pipeline.wait_rows("SELECT count() = 1 FROM unseen_categories WHERE category = 'auk'", "the late new category")
    pair = f"JFK * {late[1]['carrier']}"
    to_other = 1 + (pair not in baseline.dimensions[1].values)
    assert pipeline.rows(f"SELECT sum(n) FROM all_volume WHERE slice = '{PAIR}=other'") == [(other + to_other,)]
    assert pipeline.read_all(pipeline.topics.predictions_dead) == []
    assert pipeline.read_all(pipeline.topics.partials_dead) == []
