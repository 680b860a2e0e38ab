from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import CROSS
from confluent_kafka import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st

from barograph_server.sketches.baseline.baseline import SliceValues
from barograph_server.streams.broker.assigned_consumer import Membership
from barograph_server.streams.events.columns import INVALID_TEXT, EventColumns
from barograph_server.streams.registry.registry import Registry, build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import Clock
from barograph_server.streams.sketcher import decode_batch, flush_policy
from barograph_server.streams.sketcher.flush import EndProbe, Flush
from barograph_server.streams.sketcher.sketcher import MAX_AHEAD_MS, POLL_MESSAGES, Sketcher
from barograph_server.streams.sketcher.slices import SliceCoder, number_of
from barograph_server.streams.sketcher.summarise import FlushSummaries
from tests.support.fake_consumer import TOPIC, FakeConsumer, FakeMessage, assigned_consumer, failure, fake_settings
from tests.support.monitor_schedule import Event, columns, contract


class Bench:
    def __init__(self, clock: Clock = "live", partitions: int = 1) -> None:
        self.fake = FakeConsumer()
        topics = Mock(describe=lambda topic: (f"id of {topic}", 2))
        report = Report("sketcher", "s")
        positions = {(TOPIC, partition): 0 for partition in range(partitions)}
        self.consumer = assigned_consumer(self.fake, positions, report, poll_messages=POLL_MESSAGES)
        self.sketcher = Sketcher(
            fake_settings(clock=clock),
            Registry,
            report,
            clock=lambda: 1000.0,
            monotonic=lambda: 1000.0,
            consumer=self.consumer,
            topics=topics,
        )
        self.flush, _ = self.sketcher.open()

    def fill(self, *sizes: int) -> None:
        offset = 0
        for size in sizes:
            self.fake.fetches.append([FakeMessage(offset + i) for i in range(size)])
            offset += size

    def read(self) -> int:
        """Read one decode batch; return how many events the flush has rejected: no message here is an event."""
        self.sketcher.read(self.flush)
        return len(self.flush.rejected)


def test_messages_of_a_portion_are_read_before_its_error_is_handled() -> None:
    bench, out_of_range = Bench(), failure(KafkaError._AUTO_OFFSET_RESET)
    bench.fake.starts = {(TOPIC, 0): 40}
    bench.fake.fetches = [[FakeMessage(0), out_of_range]]
    assert bench.read() == 1
    assert bench.flush.must_end, "a flush has one range per partition"
    assert (bench.flush.start, bench.consumer.positions) == ({0: 0}, {(TOPIC, 0): 1})
    # A flush that has read nothing starts behind lost offsets.
    bench = Bench()
    bench.fake.starts = {(TOPIC, 0): 40}
    bench.fake.fetches = [[out_of_range]]
    bench.read()
    assert not bench.flush.must_end
    assert (bench.flush.start, bench.consumer.positions) == ({0: 40}, {(TOPIC, 0): 40})


def test_messages_are_summarised_together_until_no_more_wait_and_rejected_bytes_counted() -> None:
    bench = Bench()
    bench.fill(*[POLL_MESSAGES] * 3, 1, 1)
    assert bench.read() == 3 * POLL_MESSAGES + 1, "a fetch that is not full ends the batch"
    assert bench.read() == 3 * POLL_MESSAGES + 2
    assert [rejected.offset for rejected in bench.flush.rejected] == list(range(3 * POLL_MESSAGES + 2))
    bench = Bench()
    bench.fake.fetches = [[FakeMessage(0, b"{" * 100), FakeMessage(1, b"x" * 50), FakeMessage(2, None)]]
    assert (bench.read(), bench.flush.rejected_bytes) == (3, 150)


@pytest.mark.parametrize("limit", ["BATCH_MESSAGES", "MAX_REJECTED_BYTES"])
def test_a_batch_ends_at_each_limit_of_its_size(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_batch, limit, POLL_MESSAGES)
    bench = Bench()
    bench.fill(*[POLL_MESSAGES] * 3)
    assert bench.read() == POLL_MESSAGES


def test_a_partition_far_ahead_of_one_that_is_still_read_is_paused() -> None:
    cases: tuple[tuple[Clock, int, set[int], set[int]], ...] = (
        ("replay", MAX_AHEAD_MS + 1, set(), {1}),
        ("replay", MAX_AHEAD_MS, set(), set()),
        ("replay", MAX_AHEAD_MS + 1, {0}, set()),
        ("live", MAX_AHEAD_MS + 1, set(), set()),
    )
    for clock, ahead_ms, caught_up, paused in cases:
        bench = Bench(clock, partitions=2)
        bench.flush.newest_ms = {(0, "m"): 0, (1, "m"): ahead_ms}
        bench.flush.ends.caught_up_ms.update(dict.fromkeys(caught_up, 1))
        bench.sketcher.pause_ahead(bench.flush)
        assert bench.fake.paused == {(TOPIC, partition) for partition in paused}
        assert set(bench.sketcher.assigned_partitions()) == {(TOPIC, partition) for partition in {0, 1} - paused}


def event(at_ms: int, received_ms: int, model: str = "m") -> Event:
    return Event(model, "1", at_ms, received_ms, None, None, "n", False)


def flush_from(start: dict[int, int]) -> Flush:
    ends = EndProbe(lambda partition: None, clock=lambda: 0.0)
    return Flush(Membership(None, 1), start, FlushSummaries(Registry()), ends)


def test_event_times_are_clipped_to_their_receipt_and_never_go_back() -> None:
    flush = flush_from({3: 10, 4: 20})
    flush.note_times(columns("m", 3, [(0, event(5000, 4000))]))
    flush.note_times(columns("m", 3, [(i, event(at_ms, 9000)) for i, at_ms in enumerate([2000, 3000])]))
    flush.note_times(columns("b", 4, [(0, event(7000, 9000, "b"))]))
    assert flush.newest_ms == {(3, "m"): 4000, (4, "b"): 7000}
    assert flush.oldest_ms == {3: 2000, 4: 7000}
    other_partition = columns("m", 3, [(5, event(8000, 8500))])
    other_partition.partition = np.array([4], dtype=np.int32)
    flush.note_times(other_partition)
    assert flush.newest_ms == {(3, "m"): 4000, (4, "b"): 7000, (4, "m"): 8000}


def registry(*paces: tuple[int, int, int]) -> Registry:
    contracts = [
        (msgspec.structs.replace(contract(f"m{i}", pane_s), lateness_s=late_s, out_of_order_s=ooo_s), 1)
        for i, (pane_s, late_s, ooo_s) in enumerate(paces)
    ]
    return build_registry(contracts, [])


class Open:
    """A policy with an open flush of two partitions, and a clock set by hand."""

    def __init__(self, now_s: float = 1000.0, models: Registry | None = None, **settings: Any) -> None:
        self.now_s = now_s
        self.policy = flush_policy.FlushPolicy(
            fake_settings(**settings), models or Registry(), clock=lambda: self.now_s, monotonic=lambda: self.now_s
        )
        self.flush = flush_from({})

    def is_due(self, assigned: tuple[int, ...] = (0, 1)) -> bool:
        return self.policy.is_due(self.flush, assigned)


def test_a_boundary_is_where_a_pane_ends_or_can_be_sealed() -> None:
    # Panes end at multiples of 60; they can be sealed 20 + 5 s later.
    boundaries_s = {0.0: 25, 24.999: 25, 25.0: 60, 59.0: 60, 60.0: 85, 90.0: 120}
    assert {now_s: flush_policy.next_boundary_s(registry((60, 20, 5)), now_s) for now_s in boundaries_s} == boundaries_s
    # The next boundary of all models counts.
    assert flush_policy.next_boundary_s(registry((60, 20, 5), (3600, 600, 600)), 100.0) == 120
    assert flush_policy.next_boundary_s(registry((3600, 0, 0), (86_400, 101, 0)), 100.0) == 101
    # Without models and on the replay clock there is none.
    assert flush_policy.next_boundary_s(Registry(), 100.0) == float("inf")
    assert Open(models=registry((60, 20, 5)), clock="replay").policy.boundary_ms == float("inf")


@pytest.mark.parametrize(
    ("attribute", "limit"),
    [("rejected_bytes", flush_policy.MAX_REJECTED_BYTES), ("n_bytes", flush_policy.MAX_PANE_BYTES), ("events", 1000)],
)
def test_a_flush_ends_at_each_limit_of_its_size(attribute: str, limit: int) -> None:
    opened = Open(flush_events=1000)
    owner: Any = opened.flush.summaries if attribute == "n_bytes" else opened.flush
    for size in (limit - 1, limit):
        setattr(owner, attribute, size)
        assert opened.is_due() == (size == limit)


def test_a_flush_ends_at_its_largest_age_and_where_retention_overtook_it() -> None:
    opened = Open(flush_s=15.0)
    for now_s, is_due in ((1014.9, False), (1015.0, True)):
        opened.now_s = now_s
        assert opened.is_due() == is_due
    overtaken = Open()
    overtaken.flush.must_end = True
    assert overtaken.is_due()


def test_a_boundary_waits_until_everything_up_to_it_was_read() -> None:
    opened = Open(now_s=1019.5, models=registry((60, 0, 0)))
    assert opened.policy.boundary_ms == 1_020_000
    caught_up_ms = opened.flush.ends.caught_up_ms
    caught_up_ms.update({0: 1_020_100, 1: 1_020_100})
    opened.now_s = 1019.9
    assert not opened.is_due()
    opened.now_s = 1020.1
    assert opened.is_due()
    assert not opened.is_due(assigned=()), "without partitions only its age ends a flush"
    caught_up_ms[1] = 1_019_999
    assert not opened.is_due()
    # A lagging partition delays it no longer than this.
    opened.now_s = 1020 + flush_policy.BOUNDARY_S
    assert opened.is_due()
    # Boundaries do not make flushes too short.
    opened = Open(now_s=1019.9, models=registry((60, 0, 0)))
    opened.flush.ends.caught_up_ms.update({0: 1_020_100, 1: 1_020_100})
    opened.now_s = 1020.05
    assert not opened.is_due()
    opened.now_s = 1019.9 + flush_policy.MIN_FLUSH_S + 0.01
    assert opened.is_due()


def test_on_the_replay_clock_an_end_marker_ends_a_flush_once_all_partitions_are_read() -> None:
    opened = Open(clock="replay")
    opened.now_s += 1
    opened.flush.ends.caught_up_ms.update({0: 1, 1: 1})
    assert not opened.is_due()
    opened.flush.end_markers = {0}
    assert opened.is_due()
    del opened.flush.ends.caught_up_ms[1]
    assert not opened.is_due()


class Broker:
    """A broker that knows these ends, and does not answer about other partitions."""

    def __init__(self, ends: dict[int, int]) -> None:
        self.now_s, self.ends = 1000.0, ends
        self.probe = EndProbe(lambda partition: self.ends.get(partition), clock=lambda: self.now_s)


def test_a_partition_is_caught_up_as_of_the_moment_before_its_end_was_queried() -> None:
    broker = Broker({0: 10})
    broker.probe.update({0: 0})
    broker.now_s += 5
    # The log has grown since; the earlier end counts.
    broker.ends = {0: 99}
    broker.probe.update({0: 9})
    assert broker.probe.caught_up_ms == {}, "an offset is still unread"
    broker.probe.update({0: 10})
    assert broker.probe.caught_up_ms == {0: 1_000_000}


def test_before_a_commit_partitions_without_an_answer_are_queried() -> None:
    broker = Broker({0: 0, 1: 7})
    broker.probe.finish({0: 0, 1: 0})
    assert broker.probe.caught_up_ms == {0: 1_000_000}
    broker.now_s += 1
    broker.probe.finish({0: 0, 1: 7})
    assert broker.probe.caught_up_ms == {0: 1_001_000, 1: 1_000_000}, "partition 1 as of its first query"
    # Without an answer of the broker no partition is caught up.
    broker = Broker({})
    broker.probe.update({0: 0})
    broker.probe.finish({0: 0})
    assert broker.probe.caught_up_ms == {}


MEMBERS: dict[str, list[Any]] = {
    "context.a": ["x", "y", "z", None, "", "x * y", INVALID_TEXT],
    "context.b": ["x", "q", None],
    "features.k": [0.0, -0.0, 1.0, 2.5, -3.0, np.nan, np.inf, -np.inf, 1e22],
}
NAMES = {
    "context.a": ["x", "y", ""],
    "context.b": ["x", "q"],
    "features.k": ["0", "1", "2.5", "-3", "10000000000000000000000"],
}


def events_of(columns: dict[str, list[Any]]) -> EventColumns:
    n = len(next(iter(columns.values())))
    zeros = np.zeros(n, dtype=np.int64)
    narrow = np.zeros(n, dtype=np.int32)
    numbers = {s: np.array(v, dtype=np.float64) for s, v in columns.items() if s.startswith("features")}
    texts = {s: pa.array(v, pa.string()) for s, v in columns.items() if s.startswith("context")}
    return EventColumns(
        "m", zeros, zeros, narrow, zeros, narrow, ("1",), narrow, np.zeros(n, dtype=bool), numbers, texts
    )


def name_of(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not np.isfinite(value):
        return None
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def looked_up(dimension: SliceValues, columns: dict[str, list[Any]], row: int) -> int:
    names = [name_of(columns[source][row]) for source in dimension.sources]
    other = len(dimension.values)
    if any(name is None or (len(names) > 1 and CROSS in name) for name in names):
        return other
    joined = CROSS.join(name or "" for name in names)
    return dimension.values.index(joined) if joined in dimension.values else other


@settings(max_examples=60)
@given(st.data())
def test_codes_equal_a_lookup_of_each_event(data: st.DataObject) -> None:
    sources = data.draw(st.lists(st.sampled_from(list(MEMBERS)), min_size=1, max_size=3, unique=True))
    value = st.tuples(*(st.sampled_from(NAMES[source]) for source in sources)).map(CROSS.join)
    values = data.draw(st.lists(value | st.sampled_from(["x", "x * y * x * 0"]), max_size=12, unique=True))
    dimension = SliceValues(name="d", source=CROSS.join(sources), values=tuple(values), trained=True)
    rows = data.draw(st.integers(1, 30))
    columns = {s: data.draw(st.lists(st.sampled_from(MEMBERS[s]), min_size=rows, max_size=rows)) for s in sources}
    counts = SliceCoder(dimension).codes(events_of(columns)).tolist()
    assert counts == [looked_up(dimension, columns, row) for row in range(rows)]


def test_dictionaries_are_texts_and_a_missing_source_and_a_huge_value_are_other() -> None:
    dimension = SliceValues(name="d", source="context.a * context.b", values=("x * q", "y * q"), trained=True)
    events = events_of({"context.a": ["x", "y", "z" * (1 << 20)], "context.b": ["q", "q", "q"]})
    assert SliceCoder(dimension).codes(events).tolist() == [0, 1, 2]
    assert SliceCoder(dimension).codes(events_of({"context.a": ["x"]})).tolist() == [2]
    events = events_of({"context.a": ["x", None, "y"]})
    events.texts["context.a"] = events.texts["context.a"].dictionary_encode()
    dimension = SliceValues(name="d", source="context.a", values=("y",), trained=True)
    assert SliceCoder(dimension).codes(events).tolist() == [1, 1, 0]


def test_a_number_has_one_name() -> None:
    assert [number_of(name) for name in ("3", "-3", "2.5")] == [3.0, -3.0, 2.5]
    for name in ("3.0", "1e3", "-0", "1_000", " 1", "nan", "inf", "x"):
        assert number_of(name) is None, name
