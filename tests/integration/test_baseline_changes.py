"""A baseline accepted from production takes effect at one pane in two running sketchers and a monitor."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from barograph.contract import Window

from cli.baseline.accept import AcceptedBaseline, AcceptRequest, accept
from sketches.baseline.baseline import Baseline
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for

HOUR_S, DAY_S = 3_600, 86_400
# Events older than 400 days are rejected, so times follow the wall clock; whole weeks keep the windows aligned.
T0_S = (int(time.time()) - 30 * DAY_S) // (7 * DAY_S) * 7 * DAY_S
PARTITIONS = 3
PER_HOUR = 150
WINDOWS = (Window(4 * HOUR_S, 2 * HOUR_S), Window(DAY_S, DAY_S))


def hours(first: int, last: int) -> list[tuple[int, bytes | None, None]]:
    """Return predictions of some hours since T0, with an `x` that differs from training."""
    rng = np.random.default_rng(first)
    messages: list[tuple[int, bytes | None, None]] = []
    for hour in range(first, last):
        for i in range(PER_HOUR):
            event: dict[str, Any] = {
                "model": "toy",
                "version": "1",
                "id": f"{hour}-{i}",
                "at": (T0_S + hour * HOUR_S) * 1000 + int(rng.integers(0, HOUR_S * 1000)),
                "features": {
                    "x": 0.9 + rng.normal(),
                    "k": int(rng.integers(0, 5)),
                    "flag": bool(rng.integers(0, 2)),
                    "colour": str(rng.choice(["red", "green", "blue"], p=[0.5, 0.3, 0.2])),
                },
                "context": {"region": str(rng.choice(["north", "south"]))},
            }
            messages.append((int(rng.integers(0, PARTITIONS)), json.dumps(event).encode(), None))
    return messages


def accept_production(pipeline: Pipeline, to_h: int, effective_h: int) -> AcceptedBaseline:
    request = AcceptRequest(
        model="toy",
        version="1",
        from_s=T0_S + DAY_S,
        to_s=T0_S + to_h * HOUR_S,
        reason="the new normal",
        effective_s=T0_S + effective_h * HOUR_S,
    )
    return accept(pipeline.address, request, clock=lambda: T0_S + effective_h * HOUR_S - 600)


def wait_read(pipeline: Pipeline, names: list[str]) -> None:
    """Wait until processors have loaded both baselines."""

    def read() -> bool:
        pipeline.alive()
        return all('"baselines": 2' in (Path(pipeline.log_dir) / f"{name}.log").read_text() for name in names)

    wait_for(read, "every processor to read the new baseline")


@pytest.mark.long
def test_windows_after_the_change_are_stable_and_earlier_rows_stay(pipeline: Pipeline) -> None:
    pipeline.create(PARTITIONS)
    contract = simple_contract(windows=WINDOWS)
    old = simple_baseline()
    pipeline.register(contract, [old])
    sketchers = ["sketcher-a", "sketcher-b"]
    for name in sketchers:
        pipeline.start("sketcher", name)
    pipeline.start("monitor")
    pipeline.produce(hours(0, 8 * 24))
    pipeline.wait_rows(
        f"SELECT toUnixTimestamp(max(sealed_until)) >= {T0_S + (8 * 24 - 2) * HOUR_S} FROM progress FINAL", "a week"
    )
    pipeline.wait_settled()
    levels = "SELECT DISTINCT level FROM latest_drift WHERE field = 'x' AND slice = 'all' AND window = '4h' AND n = 600"
    assert pipeline.rows(levels) == [("major",)]
    before = pipeline.rows("SELECT * FROM drift ORDER BY ALL")

    # Accepted a day ahead, while predictions continue; both sketchers bin each pane on the same baseline.
    change = 9 * 24
    acceptance = accept_production(pipeline, to_h=7 * 24, effective_h=change)
    new = acceptance.learned.baseline
    assert (acceptance.old_id, new.rows) == (old.id, 6 * 24 * PER_HOUR)
    wait_read(pipeline, [*sketchers, "monitor-0"])
    pipeline.produce(hours(8 * 24, change))
    # A flush uses the baselines in force when it starts.
    pipeline.wait_rows(f"SELECT sum(n) = {change * PER_HOUR} FROM volume FINAL WHERE slice = 'all'", "all before it")
    pipeline.produce(hours(change, 12 * 24))
    pipeline.end(PARTITIONS)
    sealed = T0_S + 12 * 24 * HOUR_S
    pipeline.wait_rows(f"SELECT toUnixTimestamp(max(sealed_until)) >= {sealed} FROM progress FINAL", "the end")
    pipeline.wait_settled()

    counted = pipeline.rows(
        "SELECT baseline_id, sum(n), min(pane_start), max(pane_start), sum(late) FROM volume FINAL "
        "WHERE slice = 'all' AND n > 0 GROUP BY baseline_id ORDER BY min(pane_start)"
    )
    assert [(row[0], row[1]) for row in counted] == [(old.id, change * PER_HOUR), (new.id, 3 * 24 * PER_HOUR)]
    (_, _, _, last_old, _), (_, _, first_new, _, _) = counted
    assert last_old.timestamp() == T0_S + (change - 1) * HOUR_S
    assert first_new.timestamp() == T0_S + change * HOUR_S
    assert (
        pipeline.rows("SELECT count() FROM volume FINAL WHERE slice = 'all' GROUP BY pane_start HAVING count() > 1")
        == []
    )

    after = pipeline.rows(
        "SELECT field, slice, window, level FROM latest_drift WHERE baseline_id = {new:String} AND slice = 'all' "
        "AND window_start >= {change:UInt32} AND window_end <= {sealed:UInt32} AND window = '1d'",
        {"new": new.id, "change": T0_S + change * HOUR_S, "sealed": sealed},
    )
    assert len(after) == 4 * 3
    assert {level for *_, level in after} == {"stable"}
    short = pipeline.rows(
        "SELECT DISTINCT level FROM latest_drift WHERE baseline_id = {new:String} AND slice = 'all' AND window = '4h' "
        "AND window_start >= {change:UInt32}",
        {"new": new.id, "change": T0_S + change * HOUR_S},
    )
    assert {level for (level,) in short} <= {"stable", "insufficient"}
    # The contract has no sketches of slices, so their expected shares are unknown until they are counted.
    unknown = pipeline.rows(
        "SELECT DISTINCT level, reason FROM latest_drift WHERE baseline_id = {new:String} AND field = 'x' "
        "AND slice = 'region=north' AND window_start >= {change:UInt32} AND n > 0",
        {"new": new.id, "change": T0_S + change * HOUR_S},
    )
    assert unknown == [("insufficient", "few training rows")]
    over = pipeline.rows(
        "SELECT DISTINCT level FROM latest_drift WHERE window_start < {change:UInt32} AND window_end > {change:UInt32}",
        {"change": T0_S + change * HOUR_S},
    )
    assert over == [("insufficient",)]
    # Earlier verdicts stay, each with the baseline that it names.
    remaining = pipeline.rows("SELECT * FROM drift ORDER BY ALL")
    # Compared as text, because missing figures are NaN, which is not equal to itself.
    assert set(map(repr, before)) <= set(map(repr, remaining))
    assert {row[2] for row in before} == {old.id}
    assert pipeline.rows(levels.replace("AND n = 600", f"AND n = 600 AND baseline_id = '{old.id}'")) == [("major",)]
    _check_bins(old, new)


def _check_bins(old: Baseline, new: Baseline) -> None:
    """Only the shifted field has new bins."""
    for one, other in zip(old.fields, new.fields, strict=True):
        assert (one.categories, one.low, one.high) == (other.categories, other.low, other.high)
        assert (one.edges != other.edges) == other.has_sketched_bins == (one.name == "x")
