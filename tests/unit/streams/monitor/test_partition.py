import math
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, Field, LabelSpec, Window

from barograph_server.sketches.baseline.layout import Layout
from barograph_server.streams import records
from barograph_server.streams.monitor.rows.tally_rows import violation_columns
from barograph_server.streams.monitor.state.offset_ledger import make_record_seq
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.warehouse.tables import table_of
from tests.support.baselines import baseline as of_fields
from tests.support.baselines import category, numeric
from tests.support.monitor_harness import DAY_S, HOUR_S, MonitorHarness, event, make_partials, make_registry
from tests.support.monitor_schedule import T0_S, TOPIC, baseline, contract, registered


def test_live_silence_has_a_row_for_every_pane() -> None:
    monitor = MonitorHarness(make_registry(applied_s=T0_S + 600), live=True)
    monitor.flush(caught_up_s=T0_S + HOUR_S)
    assert monitor.volume() == {}
    monitor.flush(caught_up_s=T0_S + 3 * HOUR_S + 1200)
    assert monitor.volume() == {0: 0, 1: 0, 2: 0}
    monitor.flush(T0_S + 3 * HOUR_S + 1800, caught_up_s=T0_S + 5 * HOUR_S + 1200)
    assert monitor.volume() == {0: 0, 1: 0, 2: 0, 3: 1, 4: 0}
    # A window without events has a verdict, which is not `stable`.
    levels = monitor.verdicts("3h", "level")
    assert set(levels) == {1, 2, 3, 4, 5}
    assert set(levels.values()) == {"insufficient"}
    # After a long downtime every pane is sealed.
    monitor.restart()
    monitor.flush(caught_up_s=T0_S + 100 * HOUR_S + 1200)
    assert monitor.volume() == dict.fromkeys(range(100), 0) | {3: 1}


def test_stray_old_event_triggers_no_verdict_for_the_time_since() -> None:
    monitor = MonitorHarness(make_registry(applied_s=T0_S), live=True)
    now_s = T0_S + 2 * HOUR_S
    old_s = T0_S - 300 * DAY_S
    monitor.flush(old_s, now_s, caught_up_s=now_s + 1)
    monitor.flush(caught_up_s=now_s + 2 * HOUR_S)
    volume = monitor.volume()
    assert volume[(old_s - T0_S) // HOUR_S] == 1
    assert volume[2] == 1
    assert len(volume) < 12
    # Its own windows are judged.
    first = (old_s - T0_S) // HOUR_S
    assert {end: n for end, n in monitor.verdicts("3h").items() if end < -99} == {first + 1 + i: 1 for i in range(3)}
    monitor.restart()
    monitor.flush(caught_up_s=now_s + 4 * HOUR_S)
    assert len(monitor.volume()) == len(volume) + 2


def test_a_window_of_the_last_events_begins_where_it_has_enough_of_them() -> None:
    window = Window(6 * HOUR_S, HOUR_S, last=3)
    monitor = MonitorHarness(make_registry(windows=(window,)), live=True)
    monitor.flush(T0_S + 10, T0_S + 20, version="1")
    monitor.flush(T0_S + HOUR_S, T0_S + HOUR_S + 1, version="unheard-of")
    monitor.flush(T0_S + 3 * HOUR_S, caught_up_s=T0_S + 9 * HOUR_S + 1200)
    # All versions share a window: the events of the other one count, and have a row of their own.
    events = {key: row for key, row in monitor.warehouse.last("drift").items() if row["field"] == "x"}
    unsliced = [row for row in events.values() if row["slice"] == "all"]
    assert {row["window"] for row in unsliced} == {"last 3"}
    starts = {
        (row["window_end"] - T0_S) // HOUR_S: (row["window_start"] - T0_S) // HOUR_S
        for row in unsliced
        if row["version"] == "1"
    }
    # The longest span ends the search before 1:00 and after 7:00.
    assert starts == {1: -5, 2: 0, 3: 0, **dict.fromkeys(range(4, 8), 1), 8: 2, 9: 3}
    n = {(row["version"], (row["window_end"] - T0_S) // HOUR_S): row["n"] for row in unsliced}
    assert (n["1", 2], n["1", 4], n["unheard-of", 4]) == (2, 1, 2)


@pytest.mark.parametrize(("last", "verdict"), [(500, ("major", "")), (1000, ("insufficient", "too few events"))])
def test_a_window_without_its_last_events_is_insufficient(last: int, verdict: tuple[str, str]) -> None:
    registry = make_registry(windows=(Window(6 * HOUR_S, HOUR_S, last=last),))
    monitor = MonitorHarness(registry, live=False)
    monitor.flush(*[T0_S + 10] * 600, end_mark=True)
    [row] = [row for key, row in monitor.warehouse.last("drift").items() if {"x", "all"} <= set(key)]
    assert (row["level"], row["reason"]) == verdict
    assert (row["n"], row["window_end"]) == (600, T0_S + HOUR_S)
    if last == 1000:
        # Comparisons give the reason of drift.
        monitor = MonitorHarness(registry, live=False)
        monitor.flush(*[T0_S + 10] * 300, version="1")
        monitor.flush(*[T0_S + 20] * 300, version="unheard-of", end_mark=True)
        rows = monitor.warehouse.last("comparisons").values()
        assert {row["reason"] for row in rows if row["measure"] == "error_rate"} == {"too few events"}


@pytest.mark.parametrize("restarts", [False, True])
def test_a_late_event_revises_windows_of_the_last_events_and_does_not_move_their_start(restarts: bool) -> None:
    monitor = MonitorHarness(make_registry(windows=(Window(6 * HOUR_S, HOUR_S, last=2),)), live=True)
    monitor.flush(T0_S + 10, T0_S + HOUR_S, T0_S + 4 * HOUR_S, caught_up_s=T0_S + 5 * HOUR_S + 1200)
    starts = {2: T0_S, 3: T0_S, 4: T0_S, 5: T0_S + HOUR_S}
    assert {end: monitor.verdicts("last 2", "window_start")[end] for end in starts} == starts
    assert monitor.verdicts("last 2")[5] == 2
    if restarts:
        monitor.restart()
    monitor.flush(T0_S + 2 * HOUR_S, caught_up_s=T0_S + 6 * HOUR_S + 1200)
    starts[6] = T0_S + HOUR_S
    assert {end: monitor.verdicts("last 2", "window_start")[end] for end in starts} == starts
    assert {end: monitor.verdicts("last 2")[end] for end in starts} == {2: 2, 3: 3, 4: 3, 5: 3, 6: 3}


def test_acknowledgements_wait_for_pending_revisions() -> None:
    monitor = MonitorHarness(make_registry(), live=True, revise_s=60.0)
    monitor.flush(T0_S + 10, caught_up_s=T0_S + 4 * HOUR_S + 1200)
    monitor.flush(T0_S + 20)
    assert monitor.acknowledged == monitor.offset
    first_waiting = monitor.offset
    monitor.flush(T0_S + 30)
    monitor.flush(T0_S + 40)
    assert monitor.acknowledged == first_waiting
    assert monitor.verdicts("3h")[1] == 2
    monitor.clock_s += 61
    monitor.flush()
    assert monitor.acknowledged == monitor.offset
    assert monitor.verdicts("3h")[1] == 4


def test_losses_reduce_completeness() -> None:
    monitor = MonitorHarness(make_registry(windows=(Window(HOUR_S, HOUR_S),)), live=False)
    monitor.flush(T0_S + 10, T0_S + HOUR_S + 10)
    # Offsets 2 to 5 are lost: between an event at 1:00:10 and one at 2:00:10.
    monitor.flush(T0_S + 2 * HOUR_S + 10, start=5)
    monitor.flush(T0_S + 3 * HOUR_S + 10, T0_S + 8 * HOUR_S)
    # The first hour is within out_of_order_s of the event before the gap.
    expected = dict.fromkeys(range(1, 4), 1 / 4) | dict.fromkeys(range(4, 8), 1.0)
    assert monitor.verdicts("1h", "completeness") == expected
    [loss] = monitor.warehouse.tables["losses"].values()
    assert (loss["start_offset"], loss["end_offset"], loss["reason"]) == (2, 5, "gap")


@pytest.mark.parametrize("is_redelivered", [False, True])
def test_resketched_offsets_are_rejected_and_recorded_as_one_loss(is_redelivered: bool) -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(T0_S + 10, T0_S + 20, caught_up_s=T0_S + 30)
    reset_offset = monitor.offset
    [rejected] = monitor.flush(T0_S + 20, T0_S + 30, T0_S + 40, start=1)
    assert "sketched before" in rejected.reason
    if is_redelivered:
        # The commit was written but not acknowledged.
        monitor.restart()
        monitor.offset = reset_offset
        monitor.flush(T0_S + 20, T0_S + 30, T0_S + 40, start=1)
    [loss] = monitor.warehouse.tables["losses"].values()
    assert (loss["start_offset"], loss["end_offset"], loss["reason"]) == (2, 4, "re-sketch")
    assert monitor.flush(T0_S + 50) == []
    monitor.flush(caught_up_s=T0_S + 3 * HOUR_S)
    assert monitor.volume()[0] == 3
    assert len(monitor.warehouse.tables["losses"]) == 1


def one_partial(registry: Registry, at_s: int = T0_S, offset: int = 0) -> records.Partial:
    [partial] = make_partials(registry, [event(at_s)], records.OffsetRange(0, offset, offset + 1))
    return partial


def test_partials_without_a_matching_contract_or_baseline_are_rejected() -> None:
    for registry, reason in (
        (Registry(), "no contract of model m"),
        (build_registry([(contract("m", HOUR_S), 1)], []), "no baseline"),
        (make_registry(pane_s=1800), "panes last 3600 s"),
    ):
        partial = one_partial(make_registry())
        monitor = MonitorHarness(registry, live=True)
        rejected: Any = monitor.state.merge_partial(partial, 0)
        assert reason in rejected.reason


@pytest.mark.parametrize("unreadable_part", ["contract", "baseline"])
def test_unreadable_contract_or_baseline_costs_only_its_own_model(unreadable_part: str) -> None:
    """After a restart of an older processor the model has no readable copy; other models are sealed and judged."""
    intact = make_registry()
    other = msgspec.structs.replace(contract("n", HOUR_S), fields=())
    contracts = [(other, T0_S * 1000)]
    if unreadable_part == "baseline":
        contracts.append((intact.contracts["m"], T0_S * 1000))
    unreadable = build_registry(contracts, [registered("n")], unreadable={"m": "unknown key: colours"})
    monitor = MonitorHarness(unreadable, live=True)
    rejected: Any = monitor.state.merge_partial(one_partial(intact, T0_S + 10), 0)
    assert rejected.code == "unregistered"
    assert rejected.reason.endswith("can be read: unknown key: colours")
    monitor.offset = monitor.positions[0] = 1
    monitor.flush(caught_up_s=T0_S + 2 * HOUR_S + 1200)
    silent = {(row["model"], row["n"]) for row in monitor.warehouse.tables["volume"].values()}
    assert silent == {("n", 0)}
    # A readable copy that comes later takes effect without a restart.
    monitor.registry = intact
    assert monitor.state.merge_partial(one_partial(intact, T0_S + 20, 1), monitor.offset) is None


@pytest.mark.parametrize("loses", ["contract", "baseline"])
def test_model_that_becomes_unreadable_continues_on_its_last_copy(loses: str) -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(T0_S + 10, caught_up_s=T0_S + 30)
    partial = one_partial(monitor.registry, T0_S + 40, 1)
    contracts = [(monitor.registry.contracts["m"], T0_S * 1000)] if loses == "baseline" else []
    monitor.registry = build_registry(contracts, [], unreadable={"m": "unknown key: colours"})
    assert monitor.state.merge_partial(partial, monitor.offset) is None
    monitor.offset += 1
    monitor.flush(start=2, caught_up_s=T0_S + 2 * HOUR_S)
    assert monitor.volume() == {0: 2}


def test_model_whose_contract_is_withdrawn_is_forgotten() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(T0_S + 10, caught_up_s=T0_S + 3 * HOUR_S)
    written = {name: dict(rows) for name, rows in monitor.warehouse.tables.items()}
    monitor.registry = build_registry([], [])
    monitor.flush(caught_up_s=T0_S + 9 * HOUR_S)
    for name in ("panes", "volume", "drift", "rates", "progress"):
        assert monitor.warehouse.tables[name] == written[name], name
    (ledger,) = monitor.warehouse.last("offset_ledger").values()
    assert "m" not in dict(ledger["watermarks"])
    # It may come back, and continues from what the warehouse has.
    monitor.registry = make_registry()
    monitor.flush(caught_up_s=T0_S + 10 * HOUR_S)
    assert monitor.volume() == {0: 1, **dict.fromkeys(range(1, 9), 0)}


def test_partial_with_a_damaged_sketch_is_rejected_whole() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    partial = one_partial(monitor.registry)
    intact = list(partial.sketches)
    partial.sketches[0] = intact[0][:-1] + bytes([intact[0][-1] ^ 1])
    rejected: Any = monitor.state.merge_partial(partial, 0)
    assert "sketch of field x" in rejected.reason
    partial.sketches = intact
    assert monitor.state.merge_partial(partial, 1) is None
    monitor.offset = 2
    monitor.positions[0] = 1
    monitor.flush(caught_up_s=T0_S + 2 * HOUR_S)
    assert monitor.volume() == {0: 1}


def test_unregistered_versions_are_counted_and_flagged() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(T0_S + 10, version="unheard-of")
    monitor.flush(caught_up_s=T0_S + HOUR_S + 1200)
    flags = {(row["version"], row["n"]): row["unregistered"] for row in monitor.warehouse.tables["volume"].values()}
    # The registered version was silent, and that is a result too.
    assert flags == {("unheard-of", 1): True, ("1", 0): False}


def test_recreated_partials_topic_starts_a_new_epoch() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    for i in range(5):
        monitor.flush(T0_S + i, caught_up_s=T0_S + i)
    monitor.topic, monitor.offset = "recreated", 0
    monitor.restart()
    monitor.flush(T0_S + 9, caught_up_s=T0_S + 2 * HOUR_S)
    assert monitor.volume() == {0: 6}
    [row] = [row for row in monitor.warehouse.tables["panes"].values() if (row["slice"], row["field"]) == ("all", "x")]
    assert row["record_seq"] >= make_record_seq(1, 0)
    assert not monitor.warehouse.tables["losses"]
    monitor.restart()
    monitor.flush(T0_S + HOUR_S + 5)
    assert max(row["epoch"] for row in monitor.warehouse.tables["offset_ledger"].values()) == 1


def judged(monitor: MonitorHarness, *columns: str) -> dict[tuple[str, int], Any]:
    """Columns of the three-hour windows of `x` by baseline and end in hours."""
    return {
        (row["baseline_id"], (row["window_end"] - T0_S) // HOUR_S): tuple(row[name] for name in columns)
        for row in monitor.warehouse.last("drift").values()
        if (row["field"], row["slice"], row["window"]) == ("x", "all", "3h")
    }


def with_another_baseline(effective_s: int) -> tuple[Registry, str, str]:
    """Return the registry after a second baseline was accepted, and the ids of both."""
    first, second = baseline("m", "1"), baseline("m", "1", shift=1.0)
    entries = [RegisteredBaseline(first, first.id, 0, 1), RegisteredBaseline(second, second.id, effective_s, 2)]
    return build_registry([(contract("m", HOUR_S), T0_S * 1000)], entries), first.id, second.id


def test_new_baseline_takes_effect_at_its_pane_and_earlier_verdicts_stay() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(*(T0_S + h * HOUR_S + 10 for h in range(6)), caught_up_s=T0_S + 6 * HOUR_S + 1200)
    before = dict(monitor.warehouse.tables["drift"])
    assert {key[2] for key in before} == {baseline("m", "1").id}
    # Accepted now, effective in two hours. The monitor reads it before a restart.
    monitor.registry, old, new = with_another_baseline(T0_S + 8 * HOUR_S)
    monitor.flush(*(T0_S + h * HOUR_S + 10 for h in (6, 7)), caught_up_s=T0_S + 8 * HOUR_S + 1200)
    # Until then only the active baseline has rows, those of silent panes included.
    assert {row["baseline_id"] for row in monitor.warehouse.tables["volume"].values()} == {old}
    assert {key[2] for key in monitor.warehouse.tables["drift"]} == {old}
    monitor.flush(*(T0_S + h * HOUR_S + 10 for h in range(8, 12)), caught_up_s=T0_S + 12 * HOUR_S + 1200)
    assert before.items() <= monitor.warehouse.tables["drift"].items(), "earlier verdicts stay to the bit"
    result = {key: n for key, (n,) in judged(monitor, "n").items() if key[1] > 7}
    # Three-hour windows that contain the change have rows of both baselines, each with its own events.
    of_old, of_new = {8: 3, 9: 2, 10: 1}, {9: 1, 10: 2, 11: 3, 12: 3}
    assert result == {(old, end): n for end, n in of_old.items()} | {(new, end): n for end, n in of_new.items()}
    monitor.restart()
    monitor.flush(caught_up_s=T0_S + 14 * HOUR_S + 1200)
    after = {
        (row["baseline_id"], row["n"])
        for row in monitor.warehouse.tables["volume"].values()
        if row["pane_start"] >= T0_S + 12 * HOUR_S
    }
    assert after == {(new, 0)}


def test_windows_that_contain_a_baseline_change_are_insufficient() -> None:
    registry, old, new = with_another_baseline(T0_S + 4 * HOUR_S)
    monitor = MonitorHarness(registry, live=True)
    hours = [T0_S + h * HOUR_S + 1 + i for h in range(8) for i in range(600)]
    monitor.flush(*hours, caught_up_s=T0_S + 8 * HOUR_S + 1200)
    verdicts = judged(monitor, "level", "reason")
    sufficient = {key for key, (level, _) in verdicts.items() if level != "insufficient"}
    assert sufficient == {(old, 3), (old, 4), (new, 7), (new, 8)}
    assert {key: reason for key, (_, reason) in verdicts.items()} == (
        dict.fromkeys(sufficient, "")
        | dict.fromkeys({(old, 1), (old, 2)}, "partly recorded")
        | dict.fromkeys({(old, 5), (old, 6), (new, 5), (new, 6)}, "baseline change")
    )
    # A late event revises a window of the old baseline by the old baseline.
    monitor.flush(T0_S + 2 * HOUR_S)
    assert {of_baseline for (of_baseline, _), (n,) in judged(monitor, "n").items() if n == 1801} == {old}


def test_a_pane_that_a_first_baseline_splits_is_partly_recorded() -> None:
    """The first calls of the version 2 are counted on the baseline of 1, the others of this hour on their own."""
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(*range(T0_S + 1, T0_S + 600), version="2")
    own = baseline("m", "2")
    entries = [registered("m"), RegisteredBaseline(own, own.id, 0, 2)]
    monitor.registry = build_registry([(contract("m", HOUR_S), T0_S * 1000)], entries)
    hours = [T0_S + h * HOUR_S + 700 + i for h in range(5) for i in range(600)]
    monitor.flush(*hours, version="2", caught_up_s=T0_S + 5 * HOUR_S + 1200)
    reasons = {
        end: reason for (of_baseline, end), (reason,) in judged(monitor, "reason").items() if of_baseline == own.id
    }
    assert reasons == {**dict.fromkeys((1, 2, 3), "partly recorded"), 4: "", 5: ""}


def test_replay_is_judged_to_its_own_last_event() -> None:
    """The verdicts that `status` shows are those of the last whole windows, with their levels."""
    monitor = MonitorHarness(make_registry(), live=False)
    drifted = [event(T0_S + h * HOUR_S + i, x=2.0) for h in range(7) for i in range(600)]
    monitor.flush_events(drifted, caught_up_s=T0_S + DAY_S)
    assert max(monitor.volume()) == 4, "the wall clock advances no watermark"
    monitor.flush(end_mark=True)
    assert monitor.volume() == dict.fromkeys(range(9), 0) | dict.fromkeys(range(7), 600)
    levels = {window: monitor.verdicts(window, "level") for window in ("3h", "6h")}
    assert {window: (max(ends), ends[max(ends)]) for window, ends in levels.items()} == {
        "3h": (7, "major"),
        "6h": (6, "major"),
    }
    # At its start the history covers only a part of the first windows.
    reasons = monitor.verdicts("3h", "reason")
    assert reasons == dict.fromkeys((1, 2), "partly recorded") | dict.fromkeys(range(3, 8), "")
    # A replay of one part of a window is judged, too, and says so.
    monitor = MonitorHarness(make_registry(), live=False)
    monitor.flush(*(T0_S + i for i in range(600)))
    monitor.flush(end_mark=True)
    assert monitor.verdicts("6h") == {3: 600}
    assert monitor.verdicts("6h", "level") == {3: "insufficient"}
    assert monitor.verdicts("6h", "reason") == {3: "partly recorded"}


def test_last_window_may_lack_the_time_to_the_next_event() -> None:
    """A window of 40 hours is whole although its last pane of 40 minutes has no event; one that lacks two is not."""
    registry = make_registry(pane_s=2400, windows=(Window(40 * HOUR_S, 8 * HOUR_S),))
    start_s = -(-T0_S // (8 * HOUR_S)) * 8 * HOUR_S
    last_ends = {}
    for missing in (1, 2):
        monitor = MonitorHarness(registry, live=False)
        monitor.flush(*(start_s + 2400 * i for i in range(120 - missing)))
        monitor.flush(end_mark=True)
        last_ends[missing] = max(monitor.verdicts("40h")) - (start_s - T0_S) // HOUR_S
    assert last_ends == {1: 80, 2: 72}


def test_damaged_sketches_in_the_warehouse_stop_nothing() -> None:
    """All windows are judged and described, those that contain the damaged panes by their moments alone."""
    monitor = MonitorHarness(make_registry(pane_s=1200), live=True)
    hours = [T0_S + h * HOUR_S for h in range(9)]
    monitor.flush(*[at + 600 for at in hours[:4]], caught_up_s=hours[3] + 1200)
    for row in monitor.warehouse.tables["panes"].values():
        if row["field"] == "x" and row["pane_start"] == hours[2]:
            row["sketch"] = b"no sketch"
    monitor.restart()
    assert not monitor.flush(*[at + 600 for at in hours[4:]], caught_up_s=hours[8] + 1200)
    last = {
        (row["window_end"] - T0_S) // HOUR_S: row
        for row in monitor.warehouse.last("distances").values()
        if row["window"] == "3h"
    }
    assert {end: row["n"] for end, row in last.items()} == {1: 1, 2: 2, **dict.fromkeys(range(3, 9), 3)}
    assert {end for end, row in last.items() if math.isnan(row["ks"])} == {4, 5}, "3 was described before the damage"
    assert not any(math.isnan(row["mean"]) for row in last.values())
    assert monitor.verdicts("3h")[8] == 3


MINUTES_20 = 1200
TODAY_S = T0_S // DAY_S * DAY_S
TOMORROW_S = TODAY_S + DAY_S


class ColorHarness(MonitorHarness):
    def send(self, *events: tuple[int, str], caught_up_s: int | None = None, end_mark: bool = False) -> None:
        entries = [event(at_s, color=color) for at_s, color in events]
        assert self.flush_events(entries, caught_up_s=caught_up_s, end_mark=end_mark) == []

    def of_color(self, pane_s: int) -> dict[int, int]:
        """Events of rollups of `colour` in `all`, by hours since the day began."""
        return self.rollups(pane_s, "colour", TODAY_S)

    def names(self) -> dict[tuple[int, str], int]:
        return {
            ((row["pane_start"] - TODAY_S) // HOUR_S, row["category"]): row["n_low"]
            for row in self.warehouse.named().values()
        }


def color_harness(*, live: bool, pane_s: int = MINUTES_20, **options: Any) -> ColorHarness:
    windows = (Window(2 * pane_s, pane_s),)
    registry = make_registry(applied_s=TODAY_S, pane_s=pane_s, windows=windows)
    return ColorHarness(registry, live=live, **options)


@pytest.mark.parametrize("pane_s", [MINUTES_20, HOUR_S, 4 * HOUR_S])
def test_day_is_written_once_over_and_again_after_a_late_event(pane_s: int) -> None:
    monitor = color_harness(live=True, pane_s=pane_s)
    monitor.send(*((TODAY_S + i * HOUR_S + 5, "red") for i in range(23)), caught_up_s=TODAY_S + 23 * HOUR_S)
    assert monitor.of_color(DAY_S) == {}
    monitor.restart()
    monitor.send((TODAY_S + 23 * HOUR_S + 9, "green"), caught_up_s=TOMORROW_S + 600)
    assert monitor.of_color(DAY_S) == {}, "its last panes are not sealed yet"
    monitor.send(caught_up_s=TOMORROW_S + 2 * HOUR_S)
    assert monitor.of_color(DAY_S) == {0: 24}
    hours = monitor.of_color(HOUR_S)
    assert hours == (dict.fromkeys(range(24), 1) if pane_s < HOUR_S else {})
    monitor.restart()
    monitor.send((TODAY_S + 7 * HOUR_S, "red"), (TODAY_S + 8 * HOUR_S, "red"), caught_up_s=TOMORROW_S + 2 * HOUR_S)
    assert monitor.of_color(DAY_S) == {0: 26}
    assert monitor.of_color(HOUR_S) == (hours | {7: 2, 8: 2} if hours else {})
    assert monitor.acknowledged == monitor.offset


def test_late_events_rewrite_a_day_once_a_minute_and_are_acknowledged_then() -> None:
    monitor = color_harness(live=True, revise_s=60.0)
    monitor.send((TODAY_S + 9, "red"), caught_up_s=TODAY_S + 3 * HOUR_S)
    monitor.send(caught_up_s=TOMORROW_S + 2 * HOUR_S)
    assert monitor.of_color(DAY_S) == {0: 1}
    monitor.send((TODAY_S + HOUR_S, "red"))
    assert monitor.of_color(DAY_S) == {0: 2}
    assert monitor.acknowledged == monitor.offset
    monitor.clock_s += 20
    before = monitor.offset
    # No window of the last revision contains this time, so only the day is pending.
    monitor.send((TODAY_S + 5 * HOUR_S, "red"))
    assert monitor.of_color(HOUR_S)[5] == 1
    assert monitor.of_color(DAY_S) == {0: 2}
    assert monitor.acknowledged == before
    # A process that crashes now reads the record again.
    monitor.restart()
    monitor.offset = before
    monitor.positions[0] -= 1
    monitor.send((TODAY_S + 5 * HOUR_S, "red"))
    assert monitor.of_color(DAY_S) == {0: 3}
    assert monitor.acknowledged == monitor.offset


def test_the_fifty_most_frequent_categories_of_an_hour_are_named() -> None:
    monitor = color_harness(live=True)
    many = [(T0_S + i, f"c{i:03}") for i in range(80)]
    monitor.send(*many, *many[30:], caught_up_s=T0_S + 100)
    assert monitor.names() == {(18, f"c{i:03}"): 2 for i in range(30, 80)}
    # Categories that become more frequent later replace others.
    monitor.send(*many[:30], *many[:30], caught_up_s=T0_S + 200)
    assert len(monitor.names()) == 50
    assert {name: n for name, n in monitor.names().items() if n == 3} == {(18, f"c{i:03}"): 3 for i in range(30)}


def tally(n: int, *, start: int, end: int, topic_id: str = TOPIC) -> records.Tally:
    return records.Tally(
        model="m",
        topic="predictions",
        source_topic_id=topic_id,
        ranges=[records.OffsetRange(0, start, end)],
        pane_s=HOUR_S,
        errors=[records.ErrorCount("1", "b", "all", "TimeoutError", T0_S, n)],
        producers=[records.ProducerCount("p", T0_S, n, 0, n - 1)],
        dead=[records.DeadCount("not-json", T0_S, n)],
        heartbeats=[records.ProducerHeartbeat("p", T0_S + n, T0_S, n, 0, False, {})],
    )


def sums(monitor: MonitorHarness) -> tuple[int, ...]:
    tables = monitor.warehouse.tables
    return tuple(
        sum(row["n"] for row in tables[name].values()) for name in ("errors", "producers", "dead_letter_counts")
    )


def test_tallies_are_written_with_the_next_commit_and_count_once() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(caught_up_s=T0_S)
    first, second = tally(2, start=0, end=2), tally(3, start=2, end=5)
    assert monitor.state.add_tally(first, monitor.offset) is None
    assert sums(monitor) == (0, 0, 0)
    monitor.restart()
    # Records that were not acknowledged are redelivered, even if they were written.
    for offset in (monitor.offset, monitor.offset + 1, monitor.offset):
        assert monitor.state.add_tally(first if offset == monitor.offset else second, offset) is None
    monitor.offset += 2
    monitor.flush(start=5)
    assert sums(monitor) == (5, 5, 5)
    assert [row["last_seq"] for row in monitor.warehouse.tables["heartbeats"].values()] == [3], "the last one"
    monitor.restart()
    monitor.state.add_tally(second, monitor.offset - 2)
    monitor.flush(start=5)
    assert sums(monitor) == (5, 5, 5)
    [row, _] = monitor.warehouse.tables["producers"].values()
    assert (row["producer"], row["pane_start"], row["pane_s"], row["first_seq"], row["last_seq"]) == (
        *("p", T0_S, HOUR_S, 0, 1),
    )
    assert row["record_seq"] == make_record_seq(0, 1)
    # They need no contract.
    monitor = MonitorHarness(make_registry(), live=True)
    dead = [records.DeadCount("unknown-model", T0_S, 4)]
    assert monitor.state.add_tally(records.Tally(model="", topic="labels", dead=dead), monitor.offset) is None
    monitor.offset += 1
    monitor.flush()
    [row] = monitor.warehouse.tables["dead_letter_counts"].values()
    assert (row["topic"], row["model"], row["reason"], row["hour"], row["n"]) == (
        *("labels", "", "unknown-model", T0_S, 4),
    )


def test_tallies_of_resketched_offsets_are_rejected() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(T0_S + 10, T0_S + 20, caught_up_s=T0_S + 30)
    rejected: Any = monitor.state.add_tally(tally(1, start=1, end=3), monitor.offset)
    assert "sketched before" in rejected.reason
    # The offset ledger does not cover labels, and offsets of another topic are independent.
    of_labels = records.Tally(model="m", topic="labels", dead=[records.DeadCount("empty", T0_S, 1)])
    assert monitor.state.add_tally(of_labels, monitor.offset) is None
    assert monitor.state.add_tally(tally(1, start=1, end=3, topic_id="another"), monitor.offset + 1) is None


LAYOUT = Layout(of_fields(numeric("x", 0.0, 1.0), category("c", "r", "g", "b"), category("class", "yes", "no")))
BARE = Contract(
    model="m",
    pane_s=60,
    fields=(
        Field(name="x", type="float", source="features.x"),
        Field(name="c", type="category", source="features.c"),
        Field(name="class", type="category", source="class"),
    ),
)


def changed(name: str, **changes: Any) -> Contract:
    fields = tuple(msgspec.structs.replace(f, **changes) if f.name == name else f for f in BARE.fields)
    return msgspec.structs.replace(BARE, fields=fields)


def rows(contract: Contract, *panes: dict[str, list[int]]) -> dict[tuple[int, str, str], tuple[int, int, str, int]]:
    """Return rows of panes with these counts: (n, total, policy, record_seq) by pane, field and kind."""
    series = Series("1", "b", CompiledBaseline.of(LAYOUT), contract)
    written: list[Pane] = []
    for i, counts_by_field in enumerate(panes):
        pane = series.empty_pane(i * 60)
        for name, counts in counts_by_field.items():
            f = LAYOUT.field_index[name]
            pane.counts[0, LAYOUT.starts[f] : LAYOUT.starts[f] + len(counts)] = counts
            pane.record_seq[0, 1 + f] = 100 * i + f
        written.append(pane)
    columns = violation_columns(series, written, 3)
    if columns is None:
        return {}
    violations = table_of("violations", columns).to_pylist()
    assert {(row["model"], row["version"], row["baseline_id"], row["pane_s"]) for row in violations} == {
        ("m", "1", "b", 60)
    }
    return {
        (int(row["pane_start"].timestamp()), row["field"], row["kind"]): (
            row["n"],
            row["total"],
            row["policy"],
            row["record_seq"],
        )
        for row in violations
    }


EVERYTHING = {"x": [5, 0, 1, 2, 3, 1, 1], "c": [1, 1, 1, 4, 2, 0], "class": [6, 2, 1, 1, 0]}
"""Cells (null last), then invalid, below, above."""
INVALID = {(0, "x", "invalid"): (3, 11, "flag", 0)}


@pytest.mark.parametrize(
    ("contract", "more"),
    [
        (BARE, {}),
        (changed("x", nulls="refuse"), {(0, "x", "null"): (2, 11, "flag", 0)}),
        (changed("x", low=0.0), {(0, "x", "below"): (1, 11, "flag", 0)}),
        (changed("x", high=1.0), {(0, "x", "above"): (1, 11, "flag", 0)}),
        (changed("c", nulls="refuse", policy="reject"), {(0, "c", "null"): (2, 9, "reject", 1)}),
    ],
    ids=["invalid", "nulls", "low", "high", "category"],
)
def test_only_violations_that_the_contract_defines_are_counted(contract: Contract, more: dict[Any, Any]) -> None:
    assert rows(contract, EVERYTHING) == INVALID | more


def test_class_that_the_label_does_not_name_is_unseen() -> None:
    for classes, expected in (
        (("yes", "no"), 1),
        # A class of training that the label does not name is unseen too.
        (("yes",), 3),
        # Training lacks a class that the label names: some of the values in `unseen` may be of this class.
        (("yes", "no", "maybe"), None),
        ((), None),
    ):
        contract = msgspec.structs.replace(BARE, label=LabelSpec(type="category", classes=classes))
        more = {} if expected is None else {(0, "class", "unseen"): (expected, 10, "flag", 2)}
        assert rows(contract, EVERYTHING) == INVALID | more


def test_pane_and_field_that_the_contract_does_not_name_have_no_violations() -> None:
    good = {"x": [5, 0, 1, 2, 0, 0, 0]}
    assert rows(BARE, good) == {}
    assert rows(BARE, good, {"x": [0, 0, 0, 0, 1, 0, 0]}) == {(60, "x", "invalid"): (1, 1, "flag", 100)}
    assert rows(msgspec.structs.replace(BARE, fields=BARE.fields[1:]), EVERYTHING) == {}
    assert rows(msgspec.structs.replace(BARE, fields=()), EVERYTHING) == {}
