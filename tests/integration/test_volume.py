"""The golden signal volume through real processors: the views equal the injected numbers."""

from __future__ import annotations

import json
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

from sketches.baseline.baseline import Baseline, SliceCounts, SliceValues
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract

PARTITIONS = 3
PANE_S = 2
SLOW_MS = 100.0
RAW_SHARE = 0.5
KINDS = ("TimeoutError", "ValueError", "ConnectionError")


def signal_contract(room_s: int = 20) -> Contract:
    """Panes of two seconds, and room for events out of order: twice 20 s, so that no slow machine makes any late."""
    simple = simple_contract()
    watched = Field(name="x", type="float", source="features.x", low=-10.0, high=10.0, nulls="refuse", policy="reject")
    return simple_contract(
        pane_s=PANE_S,
        lateness_s=room_s,
        out_of_order_s=room_s,
        windows=(Window(20, 10),),
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
    """Publishes events and counts them independently."""

    def __init__(self) -> None:
        self.volume: Counter[str] = Counter()
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.violations: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.n = 0

    def publish(self, publisher: Publisher, count: int, *, at_ms: int | None = None) -> None:
        """Publish events; of 20 of them one is dropped, one is sent twice and four fail."""
        producer = publisher._outbox.producer_id
        for _ in range(count):
            self.n += 1
            i = self.n
            if i % 20 == 7:
                # Nothing without an id can be sent: the event is dropped, and its number with it.
                publisher.prediction(id="", features={"x": 1.0})
                self.lost[producer] += 1
                continue
            event = self._event(i) | {"at": at_ms}
            for _ in range(2 if i % 20 == 11 else 1):
                publisher.prediction(**event)
                self._count(producer, event, late=at_ms is not None)

    def refuse(self, publisher: Publisher, count: int) -> None:
        """Publish events of tomorrow, which are dead-lettered and not lost."""
        for i in range(count):
            tomorrow_ms = int(time.time() * 1000) + 86_400_000
            publisher.prediction(id=f"tomorrow {i}", features={"x": 1.0}, at=tomorrow_ms)
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


@pytest.fixture
def live(pipeline: Pipeline) -> Pipeline:
    pipeline.clock = "live"
    pipeline.create(PARTITIONS)
    return pipeline


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
    """Compare every figure of the views with the injected number."""
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
    gaps = pipeline.rows("SELECT producer, received, lost, models, unattributed FROM producer_gaps")
    assert {producer: (received, lost) for producer, received, lost, *_ in gaps} == {
        producer: (n, injected.lost[producer]) for producer, n in injected.received.items()
    }
    assert {tuple(rest) for _, _, _, *rest in gaps} == {(1, 0)}
    panes = pipeline.rows("SELECT producer, sum(missing), sum(received) FROM producer_panes GROUP BY producer")
    assert {producer: (received, lost) for producer, lost, received in panes} == {
        producer: (received, lost) for producer, received, lost, *_ in gaps
    }


def check_silence(pipeline: Pipeline) -> None:
    """Every pane since the last event has an empty row, and the age of the traffic grows."""
    [(last_end_s, sealed_s)] = pipeline.rows(
        "SELECT (SELECT max(toUnixTimestamp(pane_end)) FROM all_volume WHERE n > 0), "
        "(SELECT max(toUnixTimestamp(pane_end)) FROM all_volume WHERE sealed)"
    )
    silent = pipeline.rows(
        "SELECT toUnixTimestamp(pane_start) FROM all_volume WHERE slice = 'all' AND n = 0 AND sealed "
        f"AND pane_start >= fromUnixTimestamp({last_end_s}) AND pane_end <= fromUnixTimestamp({sealed_s}) ORDER BY 1"
    )
    assert [start_s for (start_s,) in silent] == list(range(last_end_s, sealed_s, PANE_S))
    for view, column in (("silence", "silent_s"), ("model_freshness", "traffic_age_s")):
        [(age_s, now_s)] = pipeline.rows(f"SELECT {column}, toUnixTimestamp(now()) FROM {view}")
        assert abs(age_s - (now_s - last_end_s)) <= PANE_S + 1, view


@pytest.mark.long
def test_figures_equal_the_injected_numbers_despite_kills(live: Pipeline) -> None:
    live.register(signal_contract(), [signal_baseline()])
    injected = Injected()
    for kind, name in (("sketcher", "sketcher-0"), ("sketcher", "sketcher-1"), ("monitor", "monitor-0")):
        live.start(kind, name)
    live.start("recorder")
    with publishing(live) as first, publishing(live) as second:
        injected.publish(first, 200)
        first.flush()
        live.wait_rows("SELECT count() > 0 FROM volume WHERE n > 0", "work in progress before the kill")
        injected.publish(second, 200)
        second.flush()
        live.kill("sketcher-0")
        injected.publish(first, 150)
        first.flush()
        live.start("sketcher", "sketcher-0")
        live.kill("monitor-0")
        injected.refuse(second, 4)
        injected.publish(second, 150)
        second.flush()
        live.start("monitor", "monitor-0")
        wait_counted(live, injected)
        assert live.rows("SELECT sum(late) FROM volume FINAL") == [(0,)]
        # All events so far were on time, so the next ones need not wait for others.
        live.register(signal_contract(room_s=1), [])
        old_ms = int(time.time() * 1000) - 3_600_000
        live.wait_rows("SELECT max(sealed_until) > now() - INTERVAL 30 MINUTE FROM progress FINAL", "sealing")
        injected.publish(first, 40, at_ms=old_ms)
        first.flush()
        wait_counted(live, injected)
        published = sum(injected.received.values())
        assert first.stats.published + second.stats.published == published
        assert first.stats.dropped["invalid"] + second.stats.dropped["invalid"] == sum(injected.lost.values())
    # Silence afterwards: panes without events are sealed one by one.
    live.wait_rows(
        "SELECT count() >= 3 FROM all_volume WHERE slice = 'all' AND n = 0 AND sealed AND pane_start > "
        "(SELECT max(pane_start) FROM all_volume WHERE n > 0)",
        "silence",
    )
    live.wait_settled()
    check(live, injected)
    check_silence(live)
    retained = [n for each, n in injected.ids.items() if zlib.crc32(each.encode()) < RAW_SHARE * 2**32]
    live.wait_rows(f"SELECT sum(recorded) = {sum(retained)} FROM duplicates", "raw events")
    # An hour may end while the test publishes: a pair is sent at one moment, of which each has its own time.
    [(counted, found_kept, ids, repeats, share)] = live.rows(
        "SELECT sum(counted), sum(recorded), sum(ids), sum(repeats), any(raw_share) FROM duplicates"
    )
    assert (counted, found_kept, share) == (injected.volume["n"], sum(retained), RAW_SHARE)
    assert found_kept - ids == repeats
    assert repeats in (sum(retained) - len(retained), sum(retained) - len(retained) - 1)
    assert repeats > 0
    assert live.rows("SELECT reason, n FROM dead_letters WHERE model = 'toy'") == [("future-time", 4)]


@pytest.mark.long
def test_dead_letters_of_both_topics_are_counted_once_with_their_processors_killed(live: Pipeline) -> None:
    live.register(signal_contract(room_s=1), [signal_baseline()])
    now_ms = int(time.time() * 1000)

    def event(**changes: Any) -> bytes:
        known = {"model": "toy", "version": "1", "id": "a", "at": now_ms, "features": {"x": 0.0}}
        return json.dumps({**known, **changes}).encode()

    def label(**changes: Any) -> bytes:
        return json.dumps({"model": "toy", "id": "a", "label": True, "at": now_ms, **changes}).encode()

    def inject() -> None:
        live.produce(
            (i % PARTITIONS, value, None)
            for i, value in enumerate(
                [b"nope"] * 7 + [event(model="nobody")] * 5 + [event(id="")] * 3 + [event(at=0)] * 2 + [event()] * 4
            )
        )
        live.produce(
            ((i % PARTITIONS, value, None) for i, value in enumerate([b"nope"] * 6 + [label(id="")] * 3 + [label()])),
            live.topics.labels,
        )

    for kind in ("sketcher", "recorder", "monitor"):
        live.start(kind)
    inject()
    live.wait_rows("SELECT sum(n) >= 26 FROM dead_letters", "the first dead letters")
    for kind in ("sketcher", "recorder", "monitor"):
        live.kill(f"{kind}-0")
    inject()
    for kind in ("sketcher", "recorder", "monitor"):
        live.start(kind)
    live.wait_rows("SELECT sum(n) >= 52 FROM dead_letters", "all dead letters")
    live.wait_settled()
    counts = live.rows("SELECT topic, model, reason, sum(n) FROM dead_letters GROUP BY 1, 2, 3 ORDER BY 1, 2, 3")
    assert counts == [
        ("labels", "", "not-json", 12),
        ("labels", "toy", "missing-id", 6),
        ("predictions", "", "not-json", 14),
        ("predictions", "", "unknown-model", 10),
        ("predictions", "toy", "missing-id", 6),
        ("predictions", "toy", "too-old", 4),
    ]
    assert len(live.read_all(live.topics.predictions_dead)) == 34
    assert len(live.read_all(live.topics.labels_dead)) == 18
    hours = live.rows("SELECT min(hour) >= toStartOfHour(now()) - 3600, max(hour) <= now() FROM dead_letters")
    assert hours == [(True, True)]
    assert live.rows("SELECT count() FROM producer_gaps") == [(0,)], "events without producer and seq are not in it"
