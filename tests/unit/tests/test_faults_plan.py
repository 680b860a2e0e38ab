"""The fault harness itself: the contents of its plan, and the counts and comparisons of its oracle."""

from __future__ import annotations

from collections import Counter

import pytest

from streams.topics import Topics
from tests.faults.expected import compute_expected
from tests.faults.faults import BrokerUnreachable, JoinAndLeave, Kill, Warehouse
from tests.faults.kill_points import KILL_POINTS, PAIRING_POINTS
from tests.faults.oracle import Verdict
from tests.faults.plan import LONG, SHORT, STORMS, make_plan
from tests.faults.report import Result
from tests.faults.sabotage import SABOTAGES
from tests.faults.serving import Request
from tests.faults.shadow import LONG_KILLS, SHORT_KILLS, check_submitted, has_killed_all, shadow_plan
from tests.faults.source import Event, Label, Sent
from tests.reference.shadow_pairs import differences, joined
from tests.support.pipeline import simple_baseline, simple_contract


def test_the_long_form_has_a_hundred_kills_and_every_fault_three_times() -> None:
    plan = [fault for i in range(STORMS) for _, fault in make_plan(7 + i, LONG)]
    counts = Counter(fault.name for fault in plan)
    within = sum(isinstance(fault, Warehouse | BrokerUnreachable | JoinAndLeave) for fault in plan)
    assert counts["kill -9"] + within >= 100
    assert min(counts.values()) >= 3
    points = {(fault.kind, fault.point) for fault in plan if isinstance(fault, Kill) and fault.point}
    assert points == {(kind, point) for kind, names in KILL_POINTS.items() for point in names}


def test_a_seed_draws_the_same_plan() -> None:
    assert make_plan(7, SHORT) == make_plan(7, SHORT)
    assert make_plan(7, SHORT) != make_plan(8, SHORT)


def test_the_kill_point_of_each_sabotage_exists() -> None:
    for sabotage in SABOTAGES.values():
        kind, point = sabotage.killed
        assert point in KILL_POINTS[kind]


def test_the_run_with_a_shadow_kills_each_process_twenty_times() -> None:
    plan = [fault for _, fault in shadow_plan(7, LONG_KILLS)]
    kills = Counter(fault.kind for fault in plan if isinstance(fault, Kill))
    assert kills == {"serving": 20, "recorder": 20, "scorer": 20}
    points = {(fault.kind, fault.point) for fault in plan if isinstance(fault, Kill) and fault.point}
    assert points == {(kind, point) for kind, names in PAIRING_POINTS.items() for point in names}
    assert shadow_plan(7, SHORT_KILLS) == shadow_plan(7, SHORT_KILLS)


def test_a_run_without_time_still_kills_each_kind_of_process() -> None:
    plan = shadow_plan(7, SHORT_KILLS)
    last = next(i for i in range(len(plan) + 1) if has_killed_all(plan[:i]))
    kinds = [fault.kind for _, fault in plan[:last] if isinstance(fault, Kill)]
    assert set(kinds) == {"serving", "recorder", "scorer"}
    assert kinds.count(kinds[-1]) == 1, "the last fault is the first of its kind"


def test_a_request_depends_on_the_seed_and_its_number_only() -> None:
    assert Request(7, 1).share("score") == Request(7, 1).share("score") != Request(8, 1).share("score")
    labels = [label for number in range(1000) for label in Request(7, number).labels]
    assert 750 < len(labels) < 950
    assert {True, False} == {value for _, value, _ in labels}


@pytest.mark.parametrize(
    ("lost", "counted", "difference"),
    [
        ("r0", {"answered": 1}, "predictions of serving processes"),
        ("r1", {"answered": 1}, None),
        (None, {"answered": 2}, "outcomes of a shadow of (0, 'answered')"),
        (None, {"answered": 1, "error": 1}, "outcomes of a shadow of (0, 'error')"),
    ],
    ids=["lost by a process that ended", "lost by a killed one", "counted twice", "counted and not published"],
)
def test_a_serving_process_that_was_not_killed_loses_nothing(
    lost: str | None, counted: dict[str, int], difference: str | None
) -> None:
    journal = [(0, 0), (1, 1)]
    events = [{"id": id, "error": ""} for id in ("r0", "r1")]
    rows = {"predictions": [each for each in events if each["id"] != lost], "shadow_predictions": events}
    verdict = Verdict()
    check_submitted(verdict, rows, journal, {0: counted}, lambda _: None)
    assert verdict.holds == (difference is None)
    assert difference is None or any(difference in each for each in verdict.wrong)


def test_every_difference_of_pairs_is_reported() -> None:
    event = {"id": "a", "at": 0, "epoch": 0, "partition": 0, "offset": 0, "message_index": 0, "received_at": 0}
    event |= {
        "error": "",
        "class": "",
        "score": 0.5,
        "latency_ms": 8.0,
        "scores": {},
        "metrics": {},
        "context": {"country": "de"},
    }
    rows = {
        "predictions": [{**event, "version": "3"}, {**event, "id": "b", "version": "3"}],
        "shadow_predictions": [{**event, "version": "4", "score": 0.25}],
        "labels": [],
    }
    target = joined(rows)
    assert differences(target, target) == []
    assert (target["all", 0]["requests"], target["all", 0]["pairs"], target["all", 0]["missing"]) == (
        2,
        1,
        {"no-event": 1},
    )
    for name, value in (("pairs", 2), ("missing", {"timeout": 1}), ("score_difference", 0.25), ("requests", 3)):
        changed = {**target, ("all", 0): {**target["all", 0], name: value}}
        assert any(name in each for each in differences(changed, target)), name
    assert "is missing" in differences({}, target)[0]


def test_expected_counts_equal_those_computed_by_hand() -> None:
    topics = Topics("t-")
    events = [
        Event("toy", "1", "a", 3_600_000, 0.1, 3, True, "red", "north", 0.5),
        Event("toy", "1", "b", 3_600_001, None, None, False, "mauve", "elsewhere", 0.5, invalid=("k",)),
        Event("toy", "2", "c", 7_199_999, 0.1, 3, True, None, "north", 0.5),
    ]
    sent = {
        (topics.predictions, 1): [
            Sent(b"", None, events=((0, events[0]), (2, events[1])), dead=((1, "missing-id"),)),
            Sent(b"", None, events=((0, events[2]),)),
        ],
        (topics.labels, 0): [Sent(b"", None, labels=((0, Label("a", True, 1)),))],
    }
    baseline = simple_baseline()
    result = compute_expected(sent, topics, simple_contract(), [(0, baseline)])
    assert dict(result.volume) == {
        ("toy", "1", "all", 3600): 2,
        ("toy", "1", "region=north", 3600): 1,
        ("toy", "1", "region=other", 3600): 1,
        ("toy", "2", "all", 3600): 1,
        ("toy", "2", "region=north", 3600): 1,
    }
    k = result.panes["toy", "1", "all", "k", 3600]
    assert (k.n, k.nulls, k.invalid) == (1, 0, 1)
    colour = result.cells["toy", "1", "all", "colour", 3600, baseline.id]
    assert dict(colour) == {0: 1, 3: 1}, "red, and an unseen one"
    assert not [key for key in result.cells if key[1] == "2"], "another version has no cells of this baseline"
    assert sorted(result.predictions) == [(1, 0, 0), (1, 0, 2), (1, 1, 0)]
    assert result.dead[topics.predictions] == {(1, 0, 1, "missing-id"): 1}
    assert result.labelled["1", "all", 3600] == (2, 1)
    left = compute_expected(sent, topics, simple_contract(), [(0, baseline)], {1: [0]})
    assert left.volume["toy", "1", "all", 3600] == 0
    assert len(left.predictions) == 3
    assert not left.dead[topics.predictions]


def test_missing_rows_and_duplicates_are_counted_separately() -> None:
    verdict = Verdict()
    verdict.rows("rows", Counter({"a": 1, "b": 1}), ["a", "b"])
    verdict.number("counts", "a", 2, 2)
    assert verdict.holds
    verdict.rows("rows", Counter({"a": 2}), {"a": 1, "b": 1})
    verdict.number("counts", "a", 3, 1)
    assert (verdict.lost, verdict.doubled) == ({"rows": 1}, {"rows": 1, "counts": 2})
    assert not verdict.holds
    assert len(verdict.summary_lines()) == 3


def test_a_sabotage_is_not_noticed_by_a_run_that_broke_off() -> None:
    verdict = Verdict()
    result = Result("sabotage", 1, 1.0, verdict, must_fail=True)
    assert not result.passed
    verdict.say("a row is missing")
    assert result.passed
    verdict.fail("the scenario failed")
    assert not result.passed
