"""What the runs of a judge on its anchors say."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from barograph_server.warehouse.evaluation.anchor_runs import (
    BANK,
    RUN,
    AnchorRun,
    AnchorSeries,
    DriftOutcome,
    judge_drift,
)

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
ANCHORS = [f"a{i}" for i in range(20)]


def run(number: int, kind: str, wrong: Iterable[int], missing: int = 0) -> AnchorRun:
    bad = {ANCHORS[i] for i in wrong}
    verdicts = {anchor: "faulty" if anchor in bad else "sound" for anchor in ANCHORS[missing:]}
    return AnchorRun(
        f"r{number}", BEGIN + timedelta(hours=number), kind, 20, verdicts, frozenset(bad & verdicts.keys())
    )


def varying_bank(n: int) -> list[AnchorRun]:
    return [run(i, BANK, [i % 20]) for i in range(n)]


def test_a_judge_that_loses_anchors_drifts_and_says_since_when() -> None:
    later = [run(100 + i, RUN, [i % 20, (i + 3) % 20, (i + 7) % 20]) for i in range(10)]
    drift = judge_drift([*varying_bank(30), *later])
    assert drift.outcome is DriftOutcome.DRIFTED
    assert (drift.bank, len(drift.runs), drift.runs_left) == (30, 10, 20)
    # Each pair has two lost anchors and no gained one, since the wrong anchor of the bank is wrong later, too.
    expected = [sum((2 * share) ** (2 * (i + 1)) for share in (0.56, 0.62, 0.8)) / 3 for i in range(10)]
    assert drift.log_e == pytest.approx([math.log(each) for each in expected])
    first = next(i for i, each in enumerate(expected) if each >= 50)
    assert drift.drifted_at == later[first].at


def test_each_run_of_the_bank_is_used_once() -> None:
    later = [run(100 + i, RUN, [i % 20]) for i in range(14)]
    drift = judge_drift([*varying_bank(10), *later])
    assert drift.outcome is DriftOutcome.USED_UP
    assert (len(drift.runs), drift.runs_left, drift.unpaired) == (10, 0, 4)
    further = judge_drift([*varying_bank(10), *later, *(run(200 + i, BANK, [i]) for i in range(5))])
    assert (len(further.runs), further.runs_left, further.unpaired) == (14, 1, 0)


def test_runs_without_a_verdict_are_left_out_and_use_no_run_of_the_bank() -> None:
    bad = [run(100 + i, RUN, range(20), missing=1) for i in range(5)]
    drift = judge_drift([*varying_bank(10), *bad, run(50, BANK, [1], missing=20)])
    assert drift.outcome is DriftOutcome.NO_RUN
    assert (drift.bank, drift.runs_left, drift.incomplete) == (10, 10, 6)


def test_a_bank_of_fewer_than_five_runs_is_none() -> None:
    for n in (0, 4):
        drift = judge_drift([*varying_bank(n), run(100, RUN, range(20))])
        assert drift.outcome is DriftOutcome.NO_BANK
        assert (drift.bank, drift.runs, drift.unpaired) == (n, (), 1)


def test_a_changed_verdict_of_a_deterministic_judge_is_drift() -> None:
    bank = [run(i, BANK, [3]) for i in range(5)]
    same = judge_drift([*bank, *(run(100 + i, RUN, [3]) for i in range(50))])
    assert same.outcome is DriftOutcome.NO_DRIFT
    assert same.is_deterministic
    assert same.runs_left == 5, "it uses none"
    changed = judge_drift([*bank, run(100, RUN, [3]), run(101, RUN, [3, 8]), run(102, RUN, [])])
    assert changed.outcome is DriftOutcome.DRIFTED
    assert changed.changed == ((), ("a8",), ("a3",)), "a verdict that became right is changed, too"
    assert changed.drifted_at == BEGIN + timedelta(hours=101)


def test_the_identifier_of_a_scheduled_run_depends_on_series_and_period() -> None:
    series = AnchorSeries("bot", "faithful", "v1", "h1")
    ids = {series.run_id(0), series.run_id(21_600), AnchorSeries("bot", "faithful", "v2", "h1").run_id(0)}
    assert len(ids) == 3
    assert series.run_id(0) == AnchorSeries("bot", "faithful", "v1", "h1").run_id(0)
