"""The baseline whose bins a prediction uses: by version and event time, and for unregistered versions."""

from __future__ import annotations

import math

from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.summarise import MAX_VERSION_CHARS, MAX_VERSIONS, FlushSummaries
from tests.support.monitor_schedule import T0_S, Event, baseline, columns, contract

HOUR_S = 3600


def entry(version: str, shift: float, effective_s: int, accepted_ms: int) -> RegisteredBaseline:
    created = baseline("m", version, shift)
    return RegisteredBaseline(created, created.id, effective_s, accepted_ms)


FIRST = entry("1", 0.0, 0, 10)
LATER = entry("1", 0.1, T0_S + 2 * HOUR_S, 20)
LAST = entry("1", 0.2, T0_S + 4 * HOUR_S, 30)
SECOND = entry("2", 0.3, 0, 25)


def registry(*entries: RegisteredBaseline, previous: Registry | None = None) -> Registry:
    return build_registry([(contract("m", HOUR_S), 5)], entries, previous)


def test_the_first_baseline_holds_before_the_second_and_layouts_are_taken_over() -> None:
    snapshot = registry(LAST, FIRST, LATER)
    resolved = [snapshot.resolve("m", "1", T0_S + h * HOUR_S) for h in (-9999, 0, 1, 2, 3, 4, 99)]
    ids = [one.baseline_id for one in resolved if one is not None]
    assert ids == [e.baseline_id for e in (FIRST, FIRST, FIRST, LATER, LATER, LAST, LAST)]
    assert not any(one.unregistered for one in resolved if one is not None)
    before = registry(FIRST)
    after = registry(FIRST, LATER, previous=before)
    assert after.layouts[FIRST.baseline_id] is before.layouts[FIRST.baseline_id]
    assert set(after.layouts) == {FIRST.baseline_id, LATER.baseline_id}


def test_an_unregistered_version_is_judged_by_the_newest_version() -> None:
    snapshot = registry(FIRST, SECOND, LATER, LAST)
    resolved = snapshot.resolve("m", "unheard-of", T0_S)
    assert resolved is not None
    # Newest is the version whose first baseline was accepted last, not the one with the newest baseline.
    assert (resolved.baseline_id, resolved.unregistered) == (SECOND.baseline_id, True)


def test_a_model_without_baselines_is_not_summarised() -> None:
    snapshot = registry()
    assert snapshot.effective("m", "1") == ((), True)
    assert snapshot.resolve("m", "1", T0_S) is None
    assert snapshot.resolve("nobody's", "1", T0_S) is None
    summaries = FlushSummaries(snapshot)
    summaries.add(columns("m", 0, [(0, event(T0_S)), (1, event(T0_S + 1))]))
    assert (summaries.unwatched, summaries.panes) == (2, {})


def event(at_s: int, version: str = "1") -> Event:
    return Event("m", version, at_s * 1000, at_s * 1000, 0.1, "red", "north", False)


def test_a_flood_of_versions_is_counted_as_one_version() -> None:
    snapshot = registry(FIRST)
    summaries = FlushSummaries(snapshot)
    names = [f"v{i:04d}" for i in range(3 * MAX_VERSIONS)]
    for batch in (names, names[::-1], ["1", "w" * (MAX_VERSION_CHARS + 1), "1"]):
        summaries.add(columns("m", 0, [(i, event(T0_S, name)) for i, name in enumerate(batch)]))
    counted = {key.version: int(pane.counts[0, 0]) for key, pane in summaries.panes.items()}
    # Every distinct one is in both batches, in any order.
    apart = dict.fromkeys(names[:MAX_VERSIONS], 2)
    assert counted == {**apart, "1": 2, "other": 4 * MAX_VERSIONS + 1}
    # Registered versions are never taken together.
    entries = [entry(f"v{i}", i / 1000, 0, i) for i in range(MAX_VERSIONS + 10)]
    summaries = FlushSummaries(registry(*entries))
    events = [event(T0_S, each.baseline.version) for each in entries]
    summaries.add(columns("m", 0, list(enumerate(events))))
    assert {key.version for key in summaries.panes} == {each.baseline.version for each in entries}


def test_a_baseline_holds_from_its_pane_until_the_next_one() -> None:
    first, second, third = entry("1", 0.0, 0, 1), entry("1", 1.0, 100, 2), entry("1", 2.0, 200, 3)
    again = RegisteredBaseline(first.baseline, first.baseline_id, 300, 4)
    registry = build_registry([], [second, again, first, third])
    spans = [registry.spans("m", "1", each.baseline_id) for each in (first, second, third)]
    assert spans == [[(-math.inf, 100), (300, math.inf)], [(100, 200)], [(200, 300)]]
    assert registry.spans("m", "1", "unknown") == []
    assert registry.spans("other", "1", first.baseline_id) == []
    # Of two with one moment the later accepted holds, and the other never.
    both = build_registry([], [first, second, entry("1", 3.0, 100, 9)])
    assert both.spans("m", "1", second.baseline_id) == []
    # A version without a baseline is counted on the newest version's.
    assert registry.spans("m", "2", second.baseline_id) == [(100, 200)]
