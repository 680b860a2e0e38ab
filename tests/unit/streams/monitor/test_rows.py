"""Rows that the monitor writes: rollups, tallies and violations."""

from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, Field, LabelSpec, Window

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.streams.monitor.rows.tally_rows import violation_columns
from barograph_server.streams.monitor.state.offset_ledger import make_record_seq
from barograph_server.streams.monitor.state.pane import Pane
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.records import DeadCount, ErrorCount, OffsetRange, ProducerCount, ProducerHeartbeat, Tally
from barograph_server.warehouse.tables import table_of
from tests.support.monitor_harness import DAY_S, HOUR_S, MonitorHarness, event, make_registry
from tests.support.monitor_schedule import T0_S, TOPIC

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


def tally(n: int, *, start: int, end: int, topic_id: str = TOPIC) -> Tally:
    return Tally(
        model="m",
        topic="predictions",
        source_topic_id=topic_id,
        ranges=[OffsetRange(0, start, end)],
        pane_s=HOUR_S,
        errors=[ErrorCount("1", "b", "all", "TimeoutError", T0_S, n)],
        producers=[ProducerCount("p", T0_S, n, 0, n - 1)],
        dead=[DeadCount("not-json", T0_S, n)],
        heartbeats=[ProducerHeartbeat("p", T0_S + n, T0_S, n, 0, False, {})],
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
    dead = [DeadCount("unknown-model", T0_S, 4)]
    assert monitor.state.add_tally(Tally(model="", topic="labels", dead=dead), monitor.offset) is None
    monitor.offset += 1
    monitor.flush()
    [row] = monitor.warehouse.tables["dead_letter_counts"].values()
    assert (row["topic"], row["model"], row["reason"], row["hour"], row["n"]) == (
        *("labels", "", "unknown-model", T0_S, 4),
    )


def test_tallies_of_resketched_offsets_are_rejected() -> None:
    monitor = MonitorHarness(make_registry(), live=True)
    monitor.flush(T0_S + 10, T0_S + 20, caught_up_s=T0_S + 30)
    rejected = monitor.state.add_tally(tally(1, start=1, end=3), monitor.offset)
    assert rejected is not None
    assert "sketched before" in rejected.reason
    # The offset ledger does not cover labels, and offsets of another topic are independent.
    of_labels = Tally(model="m", topic="labels", dead=[DeadCount("empty", T0_S, 1)])
    assert monitor.state.add_tally(of_labels, monitor.offset) is None
    assert monitor.state.add_tally(tally(1, start=1, end=3, topic_id="another"), monitor.offset + 1) is None


LAYOUT = Layout(
    Baseline(
        model="m",
        version="1",
        rows=9,
        slice_rows={"all": 9},
        fields=(
            FieldBaseline(name="x", kind="numeric", edges=(0.0, 1.0), slices={"all": SliceCounts(cells=(3, 3, 3, 0))}),
            FieldBaseline(
                name="c",
                kind="category",
                categories=("r", "g", "b"),
                slices={"all": SliceCounts(cells=(3, 3, 3, 0, 0))},
            ),
            FieldBaseline(
                name="class", kind="category", categories=("yes", "no"), slices={"all": SliceCounts(cells=(5, 4, 0, 0))}
            ),
        ),
    )
)
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


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("yes", "no"), 1),
        # A class of training that the label does not name is unseen too.
        (("yes",), 3),
        # Training lacks a class that the label names: some of the values in `unseen` may be of this class.
        (("yes", "no", "maybe"), None),
        ((), None),
    ],
)
def test_class_that_the_label_does_not_name_is_unseen(classes: tuple[str, ...], expected: int | None) -> None:
    contract = msgspec.structs.replace(BARE, label=LabelSpec(type="category", classes=classes))
    more = {} if expected is None else {(0, "class", "unseen"): (expected, 10, "flag", 2)}
    assert rows(contract, EVERYTHING) == INVALID | more


def test_pane_and_field_that_the_contract_does_not_name_have_no_violations() -> None:
    good = {"x": [5, 0, 1, 2, 0, 0, 0]}
    assert rows(BARE, good) == {}
    assert rows(BARE, good, {"x": [0, 0, 0, 0, 1, 0, 0]}) == {(60, "x", "invalid"): (1, 1, "flag", 100)}
    assert rows(msgspec.structs.replace(BARE, fields=BARE.fields[1:]), EVERYTHING) == {}
    assert rows(msgspec.structs.replace(BARE, fields=()), EVERYTHING) == {}
