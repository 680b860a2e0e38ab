import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract, Reason
from barograph.contract import Field, Slo
from barograph.events import PublisherHeartbeat, encode_arrow

from barograph_server.sketches.baseline.layout import ERRORS, EVENTS, SLOW, TIMED
from barograph_server.streams import tallies
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import Decoded, RejectedEvent
from barograph_server.streams.events.columns import MAX_NAME_CHARS, EncodedNames, ProducerArrivals, encode_names
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.records import DeadCount, ErrorCount, ProducerCount, ProducerHeartbeat, Tally
from barograph_server.streams.registry.registry import Registry, build_registry
from barograph_server.streams.sketcher.pane_summary import PaneKey
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.streams.tallies import ErrorSlices, FlushTallies, count_dead, count_producers
from tests.support.messages import NOW_MS, batch_of
from tests.support.monitor_schedule import SLOW_MS, T0_S, Event, columns, contract, numbered, registered

HOUR_S = NOW_MS // 1000 // 3600 * 3600
SERIES = ("m", "1", "b")
KNOWN = Contract(model="m", fields=(Field(name="x", type="float", source="features.x"),))


def decoded(events: list[dict[str, Any]], *, arrow: bool, contract: Contract = KNOWN) -> Decoded:
    rows = [{"model": "m", "version": "1", "id": "a", "at": NOW_MS, **event} for event in events]
    registry = Registry(contracts={"m": contract})
    if not arrow:
        return JsonDecoder(registry).decode(batch_of(*[json.dumps(event).encode() for event in rows]))
    names = sorted({name for event in rows for name in event})
    table = pa.table({name: [event.get(name) for event in rows] for name in names})
    return ArrowDecoder(registry).decode(batch_of(encode_arrow(table)))


def arrived(result: Decoded) -> Counter[Any]:
    return Counter(
        (each.model, each.producer.values[code], seq, at)
        for each in result.arrivals
        for code, seq, at in zip(each.producer.code.tolist(), each.seq.tolist(), each.at_ms.tolist(), strict=True)
    )


@pytest.mark.parametrize("arrow", [False, True], ids=["json", "arrow"])
def test_kinds_of_errors_are_read_and_cut(arrow: bool) -> None:
    long = "E" * 300
    errors = [None, "TimeoutError", "", long, "TimeoutError"]
    [events] = decoded([{"error": error} for error in errors], arrow=arrow).events
    assert events.errors.tolist() == [False, True, False, True, True]
    assert events.error_kinds is not None
    kinds = [events.error_kinds.values[code] if code >= 0 else None for code in events.error_kinds.code.tolist()]
    assert kinds == [None, "TimeoutError", None, "E" * MAX_NAME_CHARS, "TimeoutError"]
    [quiet] = decoded([{}, {}], arrow=arrow).events
    assert quiet.error_kinds is None
    assert not quiet.errors.any()
    [unnamed] = decoded([{"error": 7}, {"error": None}], arrow=arrow).events
    assert (unnamed.errors.tolist(), unnamed.error_kinds and unnamed.error_kinds.values) == ([True, False], ("error",))


@pytest.mark.parametrize("arrow", [False, True], ids=["json", "arrow"])
def test_numbers_of_producers_are_read_where_an_event_has_both(arrow: bool) -> None:
    events: list[dict[str, Any]] = [
        {"producer": "p", "seq": 0},
        {"producer": "q", "seq": 2**63 - 1},
        {"producer": "p", "seq": None},
        {"producer": None, "seq": 4},
        {"producer": "", "seq": 5},
        {"producer": "p", "seq": -1},
        {},
    ]
    result = decoded(events, arrow=arrow)
    assert len(result.events[0]) == 7
    assert arrived(result) == {("m", "p", 0, NOW_MS): 1, ("m", "q", 2**63 - 1, NOW_MS): 1}


def test_invalid_numbers_count_as_missing_in_json() -> None:
    seqs: list[Any] = ["3", 2.5, True, 2**63, [1], 7]
    result = decoded([{"producer": "p", "seq": seq} for seq in seqs] + [{"producer": 7, "seq": 1}], arrow=False)
    assert len(result.events[0]) == 7
    assert result.rejected == []
    assert arrived(result) == {("m", "p", 7, NOW_MS): 1}
    # A message that is no event is of no model.
    result = JsonDecoder(Registry(contracts={"m": KNOWN})).decode(batch_of(b"nope", None, b'{"model": "m"}'))
    assert [(dead.reason, dead.model, dead.received_ms) for dead in result.rejected] == [
        (Reason.NOT_JSON, "", NOW_MS),
        (Reason.EMPTY, "", NOW_MS),
        (Reason.MISSING_VERSION, "m", NOW_MS),
    ]


@pytest.mark.parametrize("kind", [pa.uint64(), pa.int32(), pa.float64(), pa.string()])
def test_numbers_in_arrow_are_whole_ones_of_any_width(kind: pa.DataType) -> None:
    rows = {"model": ["m"], "version": ["1"], "id": ["a"], "at": [NOW_MS], "producer": ["p"]}
    whole = pa.types.is_integer(kind)
    table = pa.table({**rows, "seq": pa.array([5] if not pa.types.is_string(kind) else ["5"], kind)})
    result = ArrowDecoder(Registry(contracts={"m": KNOWN})).decode(batch_of(encode_arrow(table)))
    assert arrived(result) == ({("m", "p", 5, NOW_MS): 1} if whole else {})
    assert len(result.events[0]) == 1


@pytest.mark.parametrize("arrow", [False, True], ids=["json", "arrow"])
def test_dead_letters_arrived_too_when_kafka_received_them(arrow: bool) -> None:
    events: list[dict[str, Any]] = [
        {"producer": "p", "seq": 0},
        {"producer": "p", "seq": 1, "at": NOW_MS + 10**9},
        {"producer": "p", "seq": 2, "at": 0},
        {"producer": "p", "seq": 3, "id": ""},
        {"producer": "p", "seq": 4, "model": "other"},
    ]
    result = decoded(events, arrow=arrow)
    of_model = [(reason, "m") for reason in (Reason.FUTURE_TIME, Reason.MISSING_ID, Reason.TOO_OLD)]
    assert sorted((dead.reason, dead.model) for dead in result.rejected) == [*of_model, (Reason.UNKNOWN_MODEL, "")]
    assert {dead.received_ms for dead in result.rejected} == {NOW_MS}
    assert arrived(result) == {("m", "p", seq, NOW_MS): 1 for seq in range(4)}


@pytest.mark.parametrize("arrow", [False, True], ids=["json", "arrow"])
def test_latency_is_read_where_the_contract_promises_some_and_has_no_such_field(arrow: bool) -> None:
    promised = Contract(model="m", fields=KNOWN.fields, slo=Slo(latency_ms=5.0))
    [events] = decoded([{"latency_ms": 7.5}, {"latency_ms": None}], arrow=arrow, contract=promised).events
    np.testing.assert_array_equal(events.numbers["latency_ms"], [7.5, np.nan])
    [events] = decoded([{"latency_ms": 7.5}], arrow=arrow).events
    assert "latency_ms" not in events.numbers
    if not arrow:
        [events] = decoded([{"latency_ms": "7.5"}, {"latency_ms": 1}], arrow=False, contract=promised).events
        assert np.isfinite(events.numbers["latency_ms"]).tolist() == [False, True], "text is counted and not timed"


def event(at_s: int = T0_S, **changes: Any) -> Event:
    known: dict[str, Any] = {"x": 0.1, "colour": "red", "region": "north", "failed": False}
    return Event("m", "1", at_s * 1000, at_s * 1000, **{**known, **changes})


def summarise(events: list[Event], *, slow_ms: float | None = SLOW_MS) -> FlushSummaries:
    known = contract("m", 3600)
    if slow_ms is None:
        known = Contract(model="m", pane_s=3600, fields=known.fields, slices=known.slices)
    summaries = FlushSummaries(build_registry([(known, 0)], [registered("m")]))
    summaries.add(columns("m", 0, list(enumerate(events))))
    for each in numbered("m", events):
        summaries.add_arrivals(each)
    return summaries


def header(summaries: FlushSummaries) -> dict[str, list[int]]:
    """Events, errors, timed and slow of the one pane, by slice."""
    [pane] = summaries.panes.values()
    order = [EVENTS, ERRORS, TIMED, SLOW]
    return {name: pane.counts[i, order].tolist() for i, name in enumerate(pane.layout.slices)}


def test_slow_requests_exceed_the_objective_per_slice() -> None:
    latencies = [None, float("inf"), 1.0, SLOW_MS, np.nextafter(SLOW_MS, 1e9), 1e6]
    events = [event(latency_ms=latency, arm="b" if i % 2 else None) for i, latency in enumerate(latencies)]
    assert header(summarise(events)) == {
        "all": [6, 0, 4, 2],
        "region=north": [6, 0, 4, 2],
        "region=other": [0, 0, 0, 0],
        "arm=b": [3, 0, 2, 1],
        "arm=other": [3, 0, 2, 1],
    }
    assert header(summarise([event(latency_ms=1e9)], slow_ms=None))["all"] == [1, 0, 1, 0], "without an objective"


def test_errors_are_counted_by_kind_for_all_and_per_arm_and_pane() -> None:
    kinds = ["TimeoutError", "ValueError", "TimeoutError"]
    events = [event(failed=True, kind=kind, arm=arm) for kind in kinds for arm in ("b", "c")]
    events += [event(), event(T0_S + 3600, failed=True, kind="ValueError")]
    summaries = summarise(events)
    [(key, _), _] = summaries.panes.items()
    assert isinstance(key, PaneKey)
    [tally] = summaries.tallies.tallies("predictions", "t", [], [])
    assert (tally.model, tally.topic, tally.source_topic_id, tally.pane_s) == ("m", "predictions", "t", 3600)
    result = {(e.slice, e.kind, e.pane_start_s): e.n for e in tally.errors}
    assert {(e.version, e.baseline_id) for e in tally.errors} == {("1", key.baseline_id)}
    per_arm = {("TimeoutError", T0_S): 2, ("ValueError", T0_S): 1}
    assert result == {
        **{("all", *key): 2 * n for key, n in per_arm.items()},
        **{(arm, *key): n for arm in ("arm=b", "arm=other") for key, n in per_arm.items()},
        **{(name, "ValueError", T0_S + 3600): 1 for name in ("all", "arm=other")},
    }
    assert len(tally.errors) == len(result), "each once"
    assert list(summarise([event()]).tallies.tallies("predictions", "t", [], [])) == []


def add_kinds(into: FlushTallies, counts: dict[str, int], at_s: int = 0) -> None:
    names: Any = encode_names([kind for kind, n in counts.items() for _ in range(n)])
    n = len(names.code)
    arms = ErrorSlices(("arm=a", "arm=other"), np.arange(n) % 2)
    into.add_errors(SERIES, 60, np.full(n, at_s * 1000), names, [arms])


def test_the_fifty_most_frequent_kinds_are_counted_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MAX_KINDS", 2)
    result = FlushTallies()
    add_kinds(result, {"often": 5, "b": 2, "a": 2, "once": 1, "other": 1})
    add_kinds(result, {"alone": 1}, at_s=60)
    [tally] = result.tallies("predictions", "t", [], [])
    whole = {(e.kind, e.pane_start_s): e.n for e in tally.errors if e.slice == "all"}
    # Of equally frequent ones the first by name; every pane by itself.
    assert whole == {("often", 0): 5, ("a", 0): 2, ("other", 0): 4, ("alone", 60): 1}
    assert len({(e.slice, e.kind, e.pane_start_s) for e in tally.errors}) == len(tally.errors)
    of_arms = Counter[str]()
    for each in tally.errors:
        if each.slice != "all" and each.pane_start_s == 0:
            of_arms[each.kind] += each.n
    assert of_arms == {kind: n for (kind, start_s), n in whole.items() if start_s == 0}


def test_batches_with_kinds_of_their_own_keep_to_the_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MAX_KINDS", 3)
    result = FlushTallies()
    for i in range(4):
        add_kinds(result, {f"kind {i}{j}": 1 + j for j in range(5)})
    [tally] = result.tallies("predictions", "t", [], [])
    whole = {e.kind: e.n for e in tally.errors if e.slice == "all"}
    assert set(whole) == {"kind 04", "kind 14", "kind 24", "other"}
    assert sum(whole.values()) == 4 * 15
    monkeypatch.undo()
    result = FlushTallies()
    add_kinds(result, {f"kind {i}": 1 for i in range(1000)})
    [tally] = result.tallies("predictions", "t", [], [])
    whole = {e.kind: e.n for e in tally.errors if e.slice == "all"}
    assert (len(whole), whole["other"]) == (tallies.MAX_KINDS + 1, 1000 - tallies.MAX_KINDS)


def arrivals(*rows: tuple[int, str, int], model: str = "m") -> ProducerArrivals:
    """Of (event time in seconds, producer, seq)."""
    names: Any = encode_names([row[1] for row in rows])
    at_ms = np.array([row[0] * 1000 for row in rows], dtype=np.int64)
    return ProducerArrivals(model, at_ms, names, np.array([row[2] for row in rows], dtype=np.int64))


def test_names_are_numbered_in_their_order_and_none_is_minus_one() -> None:
    names: Any = encode_names(["b", None, "a", "", "b"])
    assert (names.values, names.code.tolist()) == (("a", "b"), [1, -1, 0, -1, 1])
    assert encode_names([None, ""]) is None
    retained = names.take(np.array([True, False, True, False, False]))
    assert isinstance(retained, EncodedNames)
    assert retained.code.tolist() == [1, 0]


@pytest.mark.parametrize("wide", [False, True])
def test_numbers_are_counted_once_per_flush_and_pane_as_sets_are(wide: bool) -> None:
    rng = np.random.default_rng(7)
    n, names = 5000, ("p", "q", "r")
    far = 2**63 - 900 if wide else 0
    rows = [
        (int(at), names[who], int(seq) + far * int(who == 2))
        for at, who, seq in zip(rng.integers(0, 300, n), rng.integers(0, 3, n), rng.integers(0, 900, n), strict=True)
    ]
    result = count_producers([arrivals(*rows[i : i + 700]) for i in range(0, n, 700)], 60)
    sets: dict[tuple[int, str], set[int]] = {}
    for at, name, seq in rows:
        sets.setdefault((at // 60 * 60, name), set()).add(seq)
    assert result == [
        ProducerCount(name, at, len(seqs), min(seqs), max(seqs)) for (at, name), seqs in sorted(sets.items())
    ]


def test_producers_beyond_the_limit_are_taken_together_without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MAX_PRODUCERS", 2)
    rows = [(0, name, seq) for name in ("d", "c", "b", "a", "other") for seq in range(3)]
    assert count_producers([arrivals(*rows, (60, "d", 0))], 60) == [
        ProducerCount("a", 0, 3, 0, 2),
        ProducerCount("b", 0, 3, 0, 2),
        ProducerCount("other", 0, 9, -1, -1),
        ProducerCount("d", 60, 1, 0, 0),
    ]


def test_dead_letters_are_counted_by_model_reason_and_hour_of_receipt() -> None:
    def dead(reason: Reason, model: str, after_s: int) -> RejectedEvent:
        return RejectedEvent(reason, 0, 0, 0, b"", "", model, (HOUR_S + after_s) * 1000)

    dead_letters = [dead(Reason.NOT_JSON, "", after_s) for after_s in (0, 3599, 3600)]
    result = count_dead([*dead_letters, dead(Reason.BAD_TIME, "m", 0)])
    assert result == {
        "": [DeadCount("not-json", HOUR_S, 2), DeadCount("not-json", HOUR_S + 3600, 1)],
        "m": [DeadCount("bad-time", HOUR_S, 1)],
    }


def test_a_tally_per_model_holds_all_that_was_counted_of_it() -> None:
    result = FlushTallies()
    add_kinds(result, {"TimeoutError": 1})
    result.add_arrivals(arrivals((0, "p", 0), model="b"), 300)
    for seq in (7, 8):
        result.add_heartbeat(PublisherHeartbeat(model="b", producer="p", since=9_999, seq=seq), HOUR_S * 1000)
    dead = [RejectedEvent(Reason.NOT_JSON, 0, 0, 0, b"", "", model, HOUR_S * 1000) for model in ("", "b", "m")]
    tallies = {tally.model: tally for tally in result.tallies("predictions", "t", [], dead)}
    assert list(tallies) == ["", "b", "m"]
    assert [len(tallies[model].dead) for model in tallies] == [1, 1, 1]
    assert tallies["b"].producers == [ProducerCount("p", 0, 1, 0, 0)]
    assert tallies["b"].heartbeats == [ProducerHeartbeat("p", HOUR_S, 9, 8, 0, False, {})]
    assert tallies["b"].pane_s == 300
    assert ErrorCount("1", "b", "all", "TimeoutError", 0, 1) in tallies["m"].errors
    assert tallies[""] == Tally(
        model="", topic="predictions", source_topic_id="t", dead=[DeadCount("not-json", HOUR_S, 1)]
    )
