"""Volume, errors, lateness, losses before Kafka and duplicates through real processors: as injected, in every view."""

import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from barograph import Publisher
from barograph.contract import Contract, Field, Slice, Slo, Window

from barograph_server.sketches.baseline.baseline import Baseline, SliceCounts, SliceValues
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for

PARTITIONS = 3
PANE_S = 60
START_S = int(time.time()) // 3600 * 3600 - 7200
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
    simple = simple_baseline()
    arms = ("arm=a", "arm=b", "arm=other")
    fields = tuple(
        msgspec.structs.replace(
            field,
            low=-10.0 if field.name == "x" else field.low,
            high=10.0 if field.name == "x" else field.high,
            slices={**field.slices, **{arm: SliceCounts(cells=(0,) * field.n_cells) for arm in arms}},
        )
        for field in simple.fields
    )
    return msgspec.structs.replace(
        simple,
        fields=fields,
        slice_rows={**simple.slice_rows, **dict.fromkeys(arms, 0)},
        dimensions=(*simple.dimensions, SliceValues(name="arm", source="arm", values=("a", "b"), trained=False)),
    )


class Injected:
    def __init__(self) -> None:
        self.volume: Counter[str] = Counter()
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.violations: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
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
            event = self._event(i) | {"at": (START_S + (0 if late else i)) * 1000}
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


@contextmanager
def publishing(pipeline: Pipeline) -> Iterator[Publisher]:
    created = Publisher.from_contract(
        signal_contract(), version="1", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.prefix
    )
    try:
        yield created
    finally:
        created.close()


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
    pipeline.prepare(signal_contract(), [signal_baseline()], source_partitions=PARTITIONS)
    injected = Injected()
    pipeline.start_all("sketcher", "monitor", "recorder")
    with publishing(pipeline) as first, publishing(pipeline) as second:
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
            return bool(until_s >= START_S + PANE_S)

        wait_for(first_sealed, "the first sealed pane")
        injected.publish(first, 40, late=True)
        first.flush()
        first.prediction(id="")  # no later event reveals the loss, but the farewell does
        injected.lost[first._outbox.producer_id] += 1
        wait_counted(pipeline, injected)
        assert first.stats.published + second.stats.published == sum(injected.received.values())
        assert first.stats.dropped["invalid"] + second.stats.dropped["invalid"] == sum(injected.lost.values())
    pipeline.end(PARTITIONS)
    retained = [n for each, n in injected.ids.items() if zlib.crc32(each.encode()) < RAW_SHARE * 2**32]
    pipeline.wait_rows(f"SELECT sum(recorded) = {sum(retained)} FROM duplicates", "raw events")
    pipeline.wait_settled()
    check(pipeline, injected)
    repeats = sum(retained) - len(retained)
    assert repeats > 0
    assert pipeline.rows(
        "SELECT sum(counted), sum(recorded), sum(ids), sum(repeats), any(raw_share) FROM duplicates"
    ) == [(injected.volume["n"], sum(retained), len(retained), repeats, RAW_SHARE)]
    assert pipeline.rows("SELECT reason, n FROM dead_letters WHERE model = 'toy'") == [("future-time", 4)]
