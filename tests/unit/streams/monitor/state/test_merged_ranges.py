"""Windows are described from sketches that are merged once, held within bounds, and never stop the monitor."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Window
from scipy.stats import ks_2samp

from sketches.baseline.baseline import Baseline
from sketches.drift.distances import STEP_ERROR
from streams.monitor.state.merged_ranges import MergedRanges, over_budget
from streams.monitor.state.series import Compiled, KeptBytes, Pane, Series
from streams.monitor.verdicts.describe import describe
from streams.monitor.windows import described_every_s, stretch_s, stretches_s
from streams.records import OffsetRange, Partial, decode
from streams.registry.registry import RegisteredBaseline, build_registry
from streams.sketcher.partial_messages import encode_partials
from streams.sketcher.summarise import FlushSummaries
from tests.support.merged_panes import merge
from tests.support.monitor_schedule import T0_S, TOPIC, Event, baseline, columns, contract

HOUR_S, DAY_S = 3600, 86_400
NONE = np.zeros(100)
WHOLE = np.ones(100, dtype=bool)


@pytest.mark.parametrize(
    ("window", "every", "stretch"),
    [
        (Window(900, 60), 240, 60),
        (Window(HOUR_S, 300), 900, 900),
        (Window(DAY_S, HOUR_S), 6 * HOUR_S, 6 * HOUR_S),
        (Window(7 * DAY_S, DAY_S), 2 * DAY_S, DAY_S),
        (Window(3 * HOUR_S, HOUR_S), HOUR_S, HOUR_S),
        (Window(HOUR_S, HOUR_S), HOUR_S, HOUR_S),
    ],
)
def test_a_window_is_described_at_every_quarter_of_its_length_in_whole_hops(
    window: Window, every: int, stretch: int
) -> None:
    assert described_every_s(window) == every
    assert stretch_s(window) == stretch


def test_stretches_are_kept_as_long_as_a_window_needs_them() -> None:
    assert stretches_s(Contract(model="m")) == {900: HOUR_S, HOUR_S: DAY_S, 6 * HOUR_S: DAY_S}
    hourly = Contract(model="m", pane_s=HOUR_S, windows=(Window(DAY_S, HOUR_S), Window(7 * DAY_S, DAY_S)))
    assert stretches_s(hourly) == {6 * HOUR_S: DAY_S, DAY_S: 7 * DAY_S}


class Room:
    """A series with twenty-minute panes of one number a minute, from T0 on."""

    def __init__(self, hours: int, trained: Baseline | None = None, **changes: Any) -> None:
        self.told = msgspec.structs.replace(contract("m", 1200), windows=(Window(8 * HOUR_S, HOUR_S),), **changes)
        self.first = trained or baseline("m", "1")
        registry = build_registry([(self.told, 0)], [RegisteredBaseline(self.first, self.first.id, 0, 1)])
        self.series = Series("1", self.first.id, Compiled.of(registry.layouts[self.first.id]), self.told)
        self.x = np.random.default_rng(3).normal(0.5, 1.0, hours * 60).astype(np.float32).astype(float)
        self.at_s = T0_S + 60 * np.arange(len(self.x))
        self.asked: list[tuple[int, int]] = []
        summaries = FlushSummaries(registry)
        events = [
            Event("m", "1", int(at) * 1000, int(at) * 1000, float(x), "red", "north", False)
            for at, x in zip(self.at_s, self.x, strict=True)
        ]
        summaries.add(columns("m", 0, list(enumerate(events))))
        for offset, (key, pane) in enumerate(summaries.panes.items()):
            for data in encode_partials(key, pane, TOPIC, [OffsetRange(0, offset, offset + 1)]):
                partial = decode(data)
                assert isinstance(partial, Partial)
                self.series.merge(self.pane(partial.pane_start_s), partial, offset, late=False)

    def pane(self, start_s: int) -> Pane:
        return self.series.panes.setdefault(start_s, self.series.empty_pane(start_s))

    def describe(self, *ends_h: int, whole: bool = True) -> list[dict[str, Any]]:
        ends = [T0_S + end * HOUR_S for end in ends_h]
        told = np.full(len(ends), whole)
        [window] = self.told.windows
        found = describe(self.series, window, ends, NONE[: len(ends)], told, 7, 8, self.have)
        if found is None:
            return []
        rows = {name: column.tolist() for name, column in found.items()}
        return [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]

    def have(self, start_s: int, end_s: int) -> None:
        self.asked.append((start_s, end_s))


def test_a_window_is_described_from_its_raw_values() -> None:
    room = Room(hours=20)
    rows = room.describe(*range(8, 21))
    assert [(row["window_end"] - T0_S) // HOUR_S for row in rows] == [8, 10, 12, 14, 16, 18, 20]
    base = np.quantile(np.array(room.first.fields[0].quantiles), np.linspace(0, 1, 4000), method="inverted_cdf")
    for row in rows:
        inside = (room.at_s >= row["window_start"]) & (room.at_s < row["window_end"])
        assert (row["field"], row["slice"], row["n"]) == ("x", "all", 480)
        assert row["mean"] == pytest.approx(room.x[inside].mean(), rel=1e-9)
        statistic = ks_2samp(room.x[inside], base, method="asymp").statistic
        assert row["ks"] == pytest.approx(statistic, abs=row["ks_error"] + 1e-3)
        assert row["ks_rejects"]
        assert row["completeness"] == 1.0
    # Two hours of panes make a stretch, four stretches a window: each hour's panes were asked for once.
    assert sorted(room.asked) == [(T0_S + h * HOUR_S, T0_S + (h + 1) * HOUR_S) for h in range(20)]
    assert not room.describe(9), "not described at every hop"
    assert [row["ks_rejects"] for row in room.describe(8, whole=False)] == [False]


def test_what_is_held_is_the_same_as_what_is_made_again() -> None:
    room, fresh = Room(hours=20), Room(hours=20)
    room.describe(*range(8, 21))
    for end in (8, 14, 20):
        [held], [made] = room.describe(end), fresh.describe(end)
        fresh.series.summaries.clear()
        # Sketches flip coins: what is read from them agrees within their error.
        read = ("ks", "w1", "std_ratio_low", "std_ratio_high", "p05", "p25", "p50", "p75", "p95", "p99")
        assert held["ks"] == pytest.approx(made["ks"], abs=2 * made["ks_error"])
        assert {name: held[name] for name in held if name not in read} == {n: made[n] for n in made if n not in read}


def test_a_changed_pane_is_seen_in_every_window_that_holds_it() -> None:
    room = Room(hours=20)
    before = room.describe(12, 14, 20)
    changed = room.series.panes[T0_S + 5 * HOUR_S]
    asked = len(room.asked)
    room.series.merge(changed, late_part(room, changed.start_s), 10**6, late=True)
    after = room.describe(12, 14, 20)
    assert [row["n"] for row in before] == [480, 480, 480]
    assert [row["n"] for row in after] == [481, 480, 480]
    assert room.asked[asked:] == [(T0_S + 5 * HOUR_S, T0_S + 6 * HOUR_S)], "only that hour is merged again"


def late_part(room: Room, at_s: int) -> Partial:
    registry = build_registry([(room.told, 0)], [RegisteredBaseline(room.first, room.first.id, 0, 1)])
    summaries = FlushSummaries(registry)
    summaries.add(columns("m", 0, [(0, Event("m", "1", at_s * 1000, at_s * 1000, 9.0, "red", "north", False))]))
    [(key, pane)] = summaries.panes.items()
    [data] = encode_partials(key, pane, TOPIC, [OffsetRange(0, 0, 1)])
    partial = decode(data)
    assert isinstance(partial, Partial)
    return partial


@pytest.mark.parametrize("damaged", [b"no sketch at all", b"", "another kind"])
def test_a_sketch_that_cannot_be_opened_is_left_out_and_the_rest_is_known(damaged: bytes | str) -> None:
    room = Room(hours=20)
    pane = room.series.panes[T0_S + 3 * HOUR_S]
    if isinstance(damaged, str):
        other = tuple(msgspec.structs.replace(field, sketch="req") for field in room.told.fields)
        pane.sketches[0] = Room(hours=4, fields=other).series.panes[pane.start_s].sketches[0]
    else:
        pane.sketches[0] = damaged
    first, last = room.describe(8, 20)
    assert first["n"] == 480
    assert first["mean"] == pytest.approx(room.x[:480].mean(), rel=1e-9)
    assert np.isnan([first["ks"], first["w1"], first["p50"], first["ks_threshold"]]).all()
    assert not np.isnan([first["mean_shift_low"], first["std_ratio"], first["std_ratio_low"]]).any()
    assert not first["ks_rejects"]
    assert last["ks_rejects"]


@pytest.mark.parametrize("damaged", [b"no sketch at all", b""])
def test_an_hour_with_a_damaged_sketch_has_none(damaged: bytes) -> None:
    room = Room(hours=2)
    panes = [room.series.panes[T0_S + m * 1200] for m in range(6)]
    panes[1].sketches[0] = damaged
    panes[2].kept.clear()
    first, second = (merge(room.series, panes[i].start_s, panes[i : i + 3]) for i in (0, 3))
    day = merge(room.series, T0_S, [first, second])
    assert [len(pane.sketches[0]) > 0 for pane in (first, second, day)] == [False, True, False]
    assert day.n_events == 120
    kept = {(s, f): each for (s, f), each in second.kept.items() if f == 0}
    assert kept
    panes[4].kept.update({place: KeptBytes(each.moments, b"no sketch") for place, each in panes[4].kept.items()})
    assert not merge(room.series, panes[3].start_s, panes[3:]).kept


def test_an_hour_that_was_merged_for_its_roll_up_is_not_merged_again() -> None:
    room = Room(hours=8)
    hours = [T0_S + h * HOUR_S for h in range(8)]
    for start in hours[:-1]:
        panes = [room.series.panes[start + m * 1200] for m in range(3)]
        room.series.summaries.offer(room.series, HOUR_S, merge(room.series, start, panes))
    [row] = room.describe(8)
    assert row["n"] == 480
    assert row["mean"] == pytest.approx(room.x.mean(), rel=1e-9)
    assert room.asked == [(hours[-1], hours[-1] + HOUR_S)]
    room.series.summaries.offer(room.series, 1200, room.series.panes[T0_S])
    assert {length for (length, _), _ in room.series.summaries.sizes()} == {HOUR_S, 2 * HOUR_S}


def test_a_baseline_without_quantiles_leaves_moments() -> None:
    first = baseline("m", "1")
    bare = msgspec.structs.replace(first, fields=tuple(msgspec.structs.replace(f, quantiles=()) for f in first.fields))
    [row] = Room(hours=8, trained=bare).describe(8)
    assert np.isnan([row["ks"], row["ks_error"], row["w1"]]).all()
    assert not row["ks_rejects"]
    assert row["mean_shift"] == pytest.approx(row["mean"] - 0.25)
    assert row["p05"] < row["p50"] < row["p99"]


def test_other_kinds_of_sketches_begin_anew() -> None:
    room = Room(hours=8)
    room.describe(8)
    assert len(room.series.summaries)
    room.series.follow(msgspec.structs.replace(room.told, description="the same otherwise"))
    assert len(room.series.summaries)
    other = tuple(msgspec.structs.replace(field, sketch="req") for field in room.told.fields)
    room.series.follow(msgspec.structs.replace(room.told, fields=other))
    assert not len(room.series.summaries)


def test_error_is_that_of_sketch_steps_and_baseline() -> None:
    [row] = Room(hours=8).describe(8)
    # 480 numbers are more than a sketch keeps all of.
    assert row["ks_error"] == pytest.approx(0.0133 + STEP_ERROR + 0.0005 + 1 / 900, abs=1e-4)


def test_what_is_held_stays_within_bounds() -> None:
    room = Room(hours=20)
    room.describe(*range(8, 21))
    held: MergedRanges = room.series.summaries
    assert {stretch for stretch, _ in held.sizes()} == {
        *((HOUR_S, T0_S + h * HOUR_S) for h in range(20)),
        *((2 * HOUR_S, T0_S + h * HOUR_S) for h in range(0, 20, 2)),
    }
    held.forget(room.series, T0_S + 20 * HOUR_S)
    assert min(start + length for (length, start), _ in held.sizes()) > T0_S + 12 * HOUR_S
    total = sum(size for _, size in held.sizes())
    assert total > 12 * 1000
    over_budget([held], total)
    assert sum(size for _, size in held.sizes()) == total
    over_budget([held, MergedRanges()], total // 2)
    left = [length for (length, _), _ in held.sizes()]
    assert sum(size for _, size in held.sizes()) <= total // 2
    assert left.count(2 * HOUR_S) == 4, "the short ones, of which the long ones were made, go first"
    over_budget([held], 0)
    assert not len(held)
    assert room.describe(20)[0]["n"] == 480
