"""Counts of known events in every view: slices, scores, categories and days; volume, errors, losses and duplicates."""

import time
import zlib
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
from barograph.contract import Contract, Field, Slice, Slo, Window
from barograph.contract.file import load_contract
from barograph.events import encode_arrow

from barograph_server.profiling.infer import InferOptions, Roles, infer_file
from barograph_server.sketches.baseline.baseline import Baseline, SliceValues, load_baseline
from barograph_server.sketches.sketch.envelope import SketchType
from barograph_server.sketches.sketch.numeric import NumericSketch
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for, with_dimension

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
    with publishing(pipeline, contract, on_full="wait") as publisher:
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
    counts = pipeline.rows("SELECT (slice, toUnixTimestamp(pane_start)), n FROM volume FINAL WHERE n > 0")
    assert dict(counts) == dict(expected)
    columns = "(slice, toUnixTimestamp(pane_start)), (n, arraySum(counts))"
    kinds = pipeline.rows(f"SELECT {columns} FROM all_panes WHERE field = 'kind' AND n > 0")
    assert dict(kinds) == {key: (n, n) for key, n in expected.items()}


def check_distributions(pipeline: Pipeline, table: pa.Table, baseline: Baseline) -> None:
    """Latency per slice within REQ's error; scores and confidence to the source, moments exactly."""
    values = {f"scores.{name}": table[f"scores.{name}"].to_numpy() for name in CLASSES}
    values |= {"confidence": np.fmax.reduce([*values.values()]), "latency_ms": table["ms"].to_numpy()}
    day = panes_of(table, DAY_S)
    rows = pipeline.rows(
        "SELECT slice, field, toUnixTimestamp(pane_start), d.minimum, d.maximum, d.mean, d.n - d.nulls, hex(r.sketch) "
        "FROM days AS d INNER JOIN (SELECT * FROM rollups FINAL WHERE pane_s = 86400) AS r "
        "USING (model, version, baseline_id, slice, field, pane_start) WHERE isFinite(d.minimum)"
    )
    counts = {(name, field, at): rest for name, field, at, *rest in rows}
    slices = slices_of(table, baseline)
    checked = 0
    for name, mask in slices.items():
        for field, source in values.items():
            for at in np.unique(day).tolist():
                ordered = np.sort(source[mask & (day == at) & np.isfinite(source)])
                if not len(ordered) or (name != "all" and field.startswith("scores.")):
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
    arrow = pa.Table.from_pylist(
        [
            {**known(f"late{i}", row), "features.carrier": row["carrier"], "features.kind": row["kind"]}
            | {"features.origin": "JFK", "latency_ms": 5.0}
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


SOURCE_PARTITIONS = 3
PANE_S = 60
VOLUME_START_S = int(time.time()) // 3600 * 3600 - 7200
SLOW_MS = 100.0
RAW_SHARE = 0.5
KINDS = ("TimeoutError", "ValueError", "ConnectionError")


def signal_contract() -> Contract:
    simple = simple_contract()
    watched = Field(name="x", type="float", source="features.x", low=-10.0, high=10.0, nulls="refuse", policy="reject")
    return simple_contract(
        pane_s=PANE_S,
        lateness_s=PANE_S,
        out_of_order_s=PANE_S,
        windows=(Window(10 * PANE_S, 5 * PANE_S),),
        raw_share=RAW_SHARE,
        fields=(watched, *simple.fields[1:]),
        slices=(*simple.slices, Slice(name="arm", source="arm", values=("a", "b"))),
        slo=Slo(latency_ms=SLOW_MS),
    )


def signal_baseline() -> Baseline:
    arms = SliceValues(name="arm", source="arm", values=("a", "b"), trained=False)
    x, *others = (baseline := with_dimension(simple_baseline(), arms)).fields
    return msgspec.structs.replace(baseline, fields=(msgspec.structs.replace(x, low=-10.0, high=10.0), *others))


class Injected:
    def __init__(self) -> None:
        self.volume, self.violations, self.lost, self.received, self.ids = (Counter[str]() for _ in range(5))
        self.kinds = Counter[tuple[str, str]]()
        self.n = 0

    def publish(self, publisher: Publisher, count: int, *, late: bool = False) -> None:
        producer = publisher._outbox.producer_id
        for _ in range(count):
            self.n += 1
            i = self.n
            if i % 20 == 7:
                # Nothing without an id can be sent: the event is dropped, and its number with it.
                publisher.prediction(id="", features={"x": 1.0})
                self.lost[producer] += 1
                continue
            event = self._event(i) | {"at": (VOLUME_START_S + (0 if late else i)) * 1000}
            for _ in range(2 if i % 20 == 11 else 1):
                publisher.prediction(**event)
                self._count(producer, event, late=late)

    def refuse(self, publisher: Publisher, count: int) -> None:
        for i in range(count):
            publisher.prediction(id=f"tomorrow {i}", features={"x": 1.0}, at=int(time.time() * 1000) + 86_400_000)
            self.received[publisher._outbox.producer_id] += 1

    def _event(self, i: int) -> dict[str, Any]:
        x = {3: None, 4: 11.0, 5: -11.0, 6: float("nan")}.get(i % 40, 1.0)
        return {
            "id": f"request {i}",
            "features": {"x": x, "k": 1, "flag": True, "colour": "red"},
            "context": {"region": "north"},
            "arm": ("a", "b", None)[i % 3],
            "latency_ms": (None, 1.0, SLOW_MS, SLOW_MS + 0.5, 1e6)[i % 5],
            "error": KINDS[i % 3] if i % 5 == 0 else None,
        }

    def _count(self, producer: str, event: dict[str, Any], *, late: bool) -> None:
        latency, kind, x = event["latency_ms"], event["error"], event["features"]["x"]
        self.received[producer] += 1
        self.ids[event["id"]] += 1
        self.volume["n"] += 1
        self.volume["late"] += late
        self.volume["errors"] += kind is not None
        self.volume["timed"] += latency is not None
        self.volume["slow"] += latency is not None and latency > SLOW_MS
        if kind is not None:
            for cut in ("all", f"arm={event['arm'] or 'other'}"):
                self.kinds[cut, kind] += 1
        if x is None or x != x or abs(x) > 10:
            self.violations["null" if x is None else "invalid" if x != x else "above" if x > 0 else "below"] += 1


def publishing(pipeline: Pipeline, contract: Contract, **options: Any) -> Publisher:
    options |= {"bootstrap_servers": pipeline.bootstrap, "topic_prefix": pipeline.prefix}
    return Publisher.from_contract(contract, version="1", **options)


def wait_counted(pipeline: Pipeline, injected: Injected) -> None:
    n = injected.volume["n"]
    pipeline.wait_rows(f"SELECT sum(n) = {n} FROM volume FINAL WHERE slice = 'all'", f"{n} events in panes")


def check(pipeline: Pipeline, injected: Injected) -> None:
    names = ("n", "errors", "timed", "slow", "late")
    [counts] = pipeline.rows(f"SELECT {', '.join(f'sum({n})' for n in names)} FROM all_volume WHERE slice = 'all'")
    assert dict(zip(names, counts, strict=True)) == {name: injected.volume[name] for name in names}
    hourly = pipeline.rows(
        "SELECT sum(requests), sum(errors), sum(timed), sum(slow), sum(late) FROM volume_by_hour WHERE slice = 'all'"
    )
    assert hourly == [counts]
    kinds = pipeline.rows("SELECT slice, kind, sum(n) FROM errors_by_kind GROUP BY slice, kind")
    assert {(cut, kind): n for cut, kind, n in kinds} == injected.kinds
    broken = pipeline.rows("SELECT kind, sum(n), any(policy), any(field) FROM all_violations GROUP BY kind")
    assert {kind: n for kind, n, *_ in broken} == injected.violations
    assert {tuple(rest) for _, _, *rest in broken} == {("reject", "x")}
    gaps = pipeline.rows("SELECT producer, received, lost, models, unattributed, state FROM producer_gaps")
    assert {producer: (received, lost) for producer, received, lost, *_ in gaps} == {
        producer: (n, injected.lost[producer]) for producer, n in injected.received.items()
    }
    assert {tuple(rest) for _, _, _, *rest in gaps} == {(1, 0, "ended")}
    panes = pipeline.rows("SELECT producer, sum(missing), sum(received) FROM producer_panes GROUP BY producer")
    assert {producer: (received, lost) for producer, lost, received in panes} == {
        producer: (received, lost) for producer, received, lost, *_ in gaps
    }


@pytest.mark.smoke
def test_figures_of_every_view_equal_the_injected_numbers(pipeline: Pipeline) -> None:
    pipeline.prepare(signal_contract(), [signal_baseline()], source_partitions=SOURCE_PARTITIONS)
    injected = Injected()
    pipeline.start_all("sketcher", "monitor", "recorder")
    with publishing(pipeline, signal_contract()) as first, publishing(pipeline, signal_contract()) as second:
        injected.publish(first, 300)
        # The events of the second are later: they must not overtake those of the first.
        first.flush()
        injected.publish(second, 300)
        injected.refuse(second, 4)
        second.flush()
        wait_counted(pipeline, injected)
        assert pipeline.rows("SELECT sum(late) FROM volume FINAL") == [(0,)]

        def first_sealed() -> bool:
            # The client picks the partitions; pane 0 is sealed when each of them has an event that is late enough.
            pipeline.alive()
            injected.publish(second, 20)
            second.flush()
            [(until_s,)] = pipeline.rows("SELECT toUnixTimestamp(max(sealed_until)) FROM progress FINAL")
            return bool(until_s >= VOLUME_START_S + PANE_S)

        wait_for(first_sealed, "the first sealed pane")
        injected.publish(first, 40, late=True)
        first.flush()
        first.prediction(id="")  # no later event reveals the loss, but the farewell does
        injected.lost[first._outbox.producer_id] += 1
        wait_counted(pipeline, injected)
        assert first.stats.published + second.stats.published == sum(injected.received.values())
        assert first.stats.dropped["invalid"] + second.stats.dropped["invalid"] == sum(injected.lost.values())
    pipeline.end(SOURCE_PARTITIONS)
    retained = [n for each, n in injected.ids.items() if zlib.crc32(each.encode()) < RAW_SHARE * 2**32]
    pipeline.wait_rows(f"SELECT sum(recorded) = {sum(retained)} FROM duplicates", "raw events")
    pipeline.wait_settled()
    lost = sum(injected.lost.values())
    pipeline.wait_rows(f"SELECT sum(lost) = {lost} FROM producer_gaps", "losses, the last of them by a farewell")
    check(pipeline, injected)
    repeats = sum(retained) - len(retained)
    assert repeats > 0
    assert pipeline.rows(
        "SELECT sum(counted), sum(recorded), sum(ids), sum(repeats), any(raw_share) FROM duplicates"
    ) == [(injected.volume["n"], sum(retained), len(retained), repeats, RAW_SHARE)]
    assert pipeline.rows("SELECT reason, n FROM dead_letters WHERE model = 'toy'") == [("future-time", 4)]
