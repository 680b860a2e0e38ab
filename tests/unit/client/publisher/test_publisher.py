"""The publisher on a producer driven by hand: what is sent, what is counted, and that nothing reaches the caller."""

from __future__ import annotations

import gc
import json
import math
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract, Publisher, PublishError
from barograph.contract import Field
from barograph.events import BATCH_ROWS, MAX_EVENT_BYTES, MAX_MEMBERS
from barograph.publisher.outbox import Outbox, Stats
from confluent_kafka import KafkaError, KafkaException

CONTRACT = Contract(model="m", fields=(Field(name="x", type="float", source="features.x"),))


class Message:
    """What was produced."""

    def __init__(self, topic: str, value: bytes, where: dict[str, Any]) -> None:
        self.topic = topic
        self.value = value
        self.where = where


class Hand:
    """How full the queues are and how good deliveries, as the test says, and what was delivered."""

    def __init__(self) -> None:
        self.room = 10**9
        self.refusal: Exception | None = None
        self.delivery: KafkaError | None = None
        self.flushes = True
        self.sent: list[Message] = []
        self.while_polling: Callable[[], None] = lambda: None
        self.topics: list[KafkaError | int] = []
        """What the broker answers when it is asked for a topic, one after another: an error or its partitions."""


class HandProducer:
    """A producer that does as a hand says."""

    def __init__(self, settings: dict[str, Any], hand: Hand) -> None:
        self.settings = settings
        self.hand = hand
        self.waiting: list[Message] = []

    def list_topics(self, topic: str, timeout: float) -> SimpleNamespace:
        answer = self.hand.topics.pop(0)
        error, n = (answer, 0) if isinstance(answer, KafkaError) else (None, answer)
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error, partitions=dict.fromkeys(range(n)))})

    def produce(self, topic: str, value: bytes, **where: Any) -> None:
        if self.hand.refusal is not None:
            raise self.hand.refusal
        if len(self.waiting) >= self.hand.room:
            raise BufferError("Local: Queue full")
        self.waiting.append(Message(topic, value, where))

    def poll(self, timeout_s: float) -> int:
        self.hand.while_polling()
        return 0

    def flush(self, timeout_s: float) -> int:
        if not self.hand.flushes:
            return len(self.waiting)
        while self.waiting:
            message = self.waiting.pop(0)
            report = message.where.get("on_delivery", self.settings["on_delivery"])
            self.hand.sent.append(message)
            if self.hand.delivery is not None or not self.settings.get("delivery.report.only.error"):
                report(self.hand.delivery, message)
        return 0

    def purge(self) -> None:
        for message in self.waiting:
            report = message.where.get("on_delivery", self.settings["on_delivery"])
            report(KafkaError(KafkaError._PURGE_QUEUE), message)
        self.waiting.clear()

    def __len__(self) -> int:
        return len(self.waiting)


class Bench:
    """A publisher on a producer driven by hand."""

    def __init__(self, contract: Contract = CONTRACT, *, wait: bool = False, key: bytes = b"") -> None:
        self.made: list[HandProducer] = []
        self.hand = Hand()
        self.outbox = Outbox({"bootstrap.servers": "nowhere:1"}, wait=wait, factory=self._make)
        self.publisher = Publisher(contract, "3", self.outbox, topic_prefix="p-", key=key)

    def _make(self, settings: dict[str, Any]) -> HandProducer:
        self.made.append(HandProducer(settings, self.hand))
        return self.made[-1]

    @property
    def kafka(self) -> HandProducer:
        return self.made[-1]

    @property
    def stats(self) -> Stats:
        return self.publisher.stats

    def events(self) -> list[dict[str, Any]]:
        self.publisher.flush()
        return [json.loads(message.value) for message in self.hand.sent]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.publisher.close()


@pytest.fixture
def waiting() -> Iterator[Bench]:
    made = Bench(wait=True)
    yield made
    made.hand.refusal = None
    made.outbox._wait = False
    made.publisher.close()


def test_a_prediction_is_published_with_every_member(bench: Bench) -> None:
    bench.publisher.prediction(
        id="a",
        features={"x": 1.5, "y": None, "z": np.float64(2)},
        score=np.float32(0.5),
        class_=True,
        scores={"late": 0.5},
        metrics={"tokens": 3},
        latency_ms=12.3,
        arm="b",
        context={"origin": "JFK", "seat": 7},  # type: ignore[dict-item]  # tolerated: it becomes text
        status="served",
        error=TimeoutError("secret"),
        at=1700000000000,
    )
    (event,) = bench.events()
    assert event == {
        "model": "m",
        "version": "3",
        "id": "a",
        "at": 1700000000000,
        "arm": "b",
        "context": {"origin": "JFK", "seat": "7"},
        "features": {"x": 1.5, "y": None, "z": 2.0},
        "score": 0.5,
        "class": "true",
        "scores": {"late": 0.5},
        "metrics": {"tokens": 3},
        "latency_ms": 12.3,
        "status": "served",
        "error": "TimeoutError",
        "producer": bench.outbox.producer,
        "seq": 0,
    }
    assert bench.hand.sent[0].topic == "p-predictions"
    assert "key" not in bench.hand.sent[0].where


def test_a_label_is_published_under_its_key(bench: Bench) -> None:
    bench.publisher.label(id="a", label=True, at=1700000000000)
    assert bench.events() == [{"model": "m", "id": "a", "label": True, "at": 1700000000000}]
    assert bench.hand.sent[0].topic == "p-labels"
    assert bench.hand.sent[0].where["key"] == b"m\x00a"


def test_the_time_is_now_where_none_is_given(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_999_999)
    bench.publisher.prediction(id="a")
    bench.publisher.label(id="a", label="late")
    assert [event["at"] for event in bench.events()] == [1700000000123, 1700000000123]


@pytest.mark.parametrize(
    "members",
    [
        {"id": None},
        {"id": ""},
        {"id": "a", "at": "yesterday"},
        {"id": "a", "at": True},
        {"id": "a", "features": 3},
        {"id": "a", "features": [1, 2]},
        {"id": "a", "context": "JFK"},
        {"id": "a", "features": {str(i): i for i in range(MAX_MEMBERS + 1)}},
        {"id": "a", "scores": {str(i): i for i in range(MAX_MEMBERS + 1)}},
    ],
    ids=lambda members: next(reversed(members)),
)
def test_bad_values_are_counted_and_never_raised(bench: Bench, members: dict[str, Any]) -> None:
    bench.publisher.prediction(**members)
    bench.publisher.prediction(id="good")
    assert [event["seq"] for event in bench.events()] == [1], "the number of the lost event is missing"
    assert bench.stats.dropped == {"invalid": 1}
    assert bench.stats.published == 1


@pytest.mark.parametrize("label", [None, math.nan, [1], object()])
def test_bad_labels_are_counted_and_never_raised(bench: Bench, label: Any) -> None:
    bench.publisher.label(id="a", label=label)
    bench.publisher.label(id="", label=True)
    assert bench.events() == []
    assert bench.stats.dropped == {"invalid": 2}


def test_values_of_any_mapping_are_read(bench: Bench) -> None:
    from types import MappingProxyType

    bench.publisher.prediction(id="a", features=MappingProxyType({"x": 1}))
    assert bench.events()[0]["features"] == {"x": 1}


def test_an_event_too_large_for_kafka_is_dropped(bench: Bench) -> None:
    bench.publisher.prediction(id="a", features={"x": "y" * MAX_EVENT_BYTES})
    bench.publisher.label(id="a", label="y" * MAX_EVENT_BYTES)
    assert bench.events() == []
    assert bench.stats.dropped == {"too-large": 2}


def test_a_full_queue_drops_and_counts(bench: Bench) -> None:
    bench.hand.room = 2
    for i in range(5):
        bench.publisher.prediction(id=str(i))
    assert bench.stats.dropped == {"queue-full": 3}
    assert bench.stats.queued == 2
    assert bench.stats.waiting == 2
    bench.publisher.flush()
    bench.publisher.prediction(id="5")
    assert [event["seq"] for event in bench.events()] == [0, 1, 5], "the gap shows what was lost"


@pytest.mark.parametrize(
    ("refusal", "cause"),
    [
        (KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), "too-large"),
        (KafkaException(KafkaError(KafkaError._FATAL)), "error"),
        (RuntimeError("anything"), "error"),
    ],
)
def test_no_error_of_kafka_reaches_the_caller(bench: Bench, refusal: Exception, cause: str) -> None:
    bench.hand.refusal = refusal
    bench.publisher.prediction(id="a")
    bench.publisher.label(id="a", label=True)
    assert bench.stats.dropped == {cause: 2}
    assert bench.stats.published == bench.stats.waiting == 0


def test_what_kafka_does_not_take_is_counted_as_failed(bench: Bench) -> None:
    bench.publisher.prediction(id="a")
    bench.hand.delivery = KafkaError(KafkaError._MSG_TIMED_OUT)
    assert bench.publisher.flush() == 0
    assert (bench.stats.published, bench.stats.failed, bench.stats.waiting) == (0, 1, 0)


def test_bytes_of_accepted_messages_are_counted(bench: Bench) -> None:
    bench.publisher.prediction(id="a")
    bench.publisher.label(id="a", label=True)
    bench.publisher.flush()
    assert bench.stats.bytes == sum(len(message.value) for message in bench.hand.sent) > 0


def test_flush_tells_what_is_left(bench: Bench) -> None:
    bench.publisher.prediction(id="a")
    bench.hand.flushes = False
    assert bench.publisher.flush(0) == 1
    bench.hand.flushes = True
    assert bench.publisher.flush(0) == 0


def test_after_close_events_are_dropped_and_closing_again_does_nothing(bench: Bench) -> None:
    bench.publisher.prediction(id="a")
    assert bench.publisher.close() == 0
    bench.publisher.prediction(id="b")
    bench.publisher.label(id="b", label=True)
    assert bench.publisher.close() == 0
    assert len(bench.hand.sent) == 1
    assert bench.stats.dropped == {"closed": 2}
    assert len(bench.made) == 1


def test_a_with_block_closes() -> None:
    made = Bench()
    with made.publisher as publisher:
        publisher.prediction(id="a")
    assert len(made.hand.sent) == 1
    made.publisher.prediction(id="b")
    assert made.stats.dropped == {"closed": 1}


def test_threads_share_a_publisher_and_no_number_is_given_twice(bench: Bench) -> None:
    def serve(thread: int) -> None:
        for i in range(500):
            bench.publisher.prediction(id=f"{thread}-{i}")

    threads = [threading.Thread(target=serve, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = bench.events()
    assert sorted(event["seq"] for event in events) == list(range(2000))
    assert bench.stats.published == len(events) == 2000


def test_serving_calls_fetch_no_delivery_reports(bench: Bench) -> None:
    """Some hundred at once would be a tenth of a millisecond; only failures are reported, and to a thread."""
    assert bench.kafka.settings["delivery.report.only.error"] is True
    polled: Counter[str] = Counter()
    bench.hand.while_polling = lambda: polled.update([threading.current_thread().name])
    for i in range(1000):
        bench.publisher.prediction(id=str(i))
    assert threading.current_thread().name not in polled


def test_batch_jobs_fetch_delivery_reports_themselves(waiting: Bench) -> None:
    """Beside busy code a thread alone gets the GIL too seldom."""
    polled: Counter[str] = Counter()
    waiting.hand.while_polling = lambda: polled.update([threading.current_thread().name])
    for i in range(100):
        waiting.publisher.prediction(id=str(i))
    assert polled[threading.current_thread().name] >= 3


def test_single_events_and_tables_are_counted_together(bench: Bench) -> None:
    bench.publisher.prediction(id="a")
    assert bench.publisher.predictions(pa.table({"id": ["b", "c"], "x": [0.5, 1.5]})) == 2
    assert (bench.stats.waiting, bench.stats.queued, bench.stats.published) == (3, 2, 0)
    assert len(bench.made) == 2, "tables are reported message by message"
    bench.hand.delivery = KafkaError(KafkaError._MSG_TIMED_OUT)
    bench.publisher.flush()
    bench.hand.delivery = None
    bench.publisher.prediction(id="d")
    bench.publisher.predictions(pa.table({"id": ["e", "f"], "x": [0.5, 1.5]}))
    bench.publisher.flush()
    assert (bench.stats.waiting, bench.stats.published, bench.stats.failed) == (0, 3, 3)


def test_what_a_failed_producer_held_is_lost_and_what_it_delivered_is_not(bench: Bench) -> None:
    bench.publisher.prediction(id="a")
    bench.publisher.flush()
    first, quiet = bench.kafka, bench.outbox._quiet
    bench.publisher.prediction(id="b")
    first.settings["error_cb"](KafkaError(KafkaError._FATAL, "out of order", True))
    _until(lambda: len(bench.made) == 2)
    _until(lambda: not first.waiting)
    assert (bench.stats.published, bench.stats.failed, bench.stats.waiting) == (1, 1, 0)
    # A call that held the old producer when it failed: its event is counted, and as lost.
    new, bench.outbox._quiet = bench.outbox._quiet, quiet
    bench.publisher.prediction(id="c")
    bench.outbox._quiet = new
    assert (bench.stats.published, bench.stats.failed, bench.stats.waiting) == (1, 2, 0)


def test_what_is_not_delivered_at_the_end_is_counted_as_lost(bench: Bench) -> None:
    bench.publisher.prediction(id="a")
    bench.publisher.flush()
    bench.publisher.prediction(id="b")
    bench.hand.flushes = False
    assert bench.publisher.close(0) == 1
    assert (bench.stats.published, bench.stats.failed, bench.stats.waiting) == (1, 1, 0)


def test_a_fatal_error_gives_a_new_producer_which_goes_on(bench: Bench) -> None:
    bench.publisher.prediction(id="a")
    fatal = KafkaError(KafkaError._FATAL, "out of order", True)
    bench.kafka.settings["error_cb"](fatal)
    _until(lambda: len(bench.made) == 2)
    bench.publisher.prediction(id="b")
    assert [event["id"] for event in bench.events()] == ["b"]


def test_after_a_fork_the_parents_producer_is_left_alone_and_never_freed(bench: Bench) -> None:
    bench.publisher.prediction(id="a")
    inherited, name = weakref.ref(bench.kafka), bench.outbox.producer
    bench.made.clear()
    bench.outbox._stop.set()  # in a child the thread is not there
    bench.outbox.after_fork()
    gc.collect()
    assert inherited() is not None
    assert (bench.made, bench.stats.waiting) == ([], 0)
    bench.publisher.prediction(id="b")
    (event,) = bench.events()
    assert (event["id"], event["seq"], event["producer"] == name) == ("b", 0, False)


def test_losses_are_logged_once_and_without_values(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        bench.publisher.prediction(id="a", features=["secret"])  # type: ignore[arg-type]
    _until(lambda: bool(caplog.records))
    bench.publisher.close()
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["events dropped: invalid"]
    assert "secret" not in caplog.text


def test_observe_times_the_block_and_publishes_what_it_set(bench: Bench) -> None:
    with bench.publisher.observe(id="a", features={"x": 1}, arm="b", context={"k": "v"}, at=5) as seen:
        seen.score = 0.25
        seen.class_ = "late"
        seen.scores = {"late": 0.25}
        seen.metrics = {"tokens": 3}
        seen.status = "served"
    (event,) = bench.events()
    assert 0 <= event.pop("latency_ms") < 60_000
    assert event == {
        **{"model": "m", "version": "3", "id": "a", "at": 5, "arm": "b", "context": {"k": "v"}},
        **{"features": {"x": 1}, "score": 0.25, "class": "late", "scores": {"late": 0.25}},
        **{"metrics": {"tokens": 3}, "status": "served", "producer": bench.outbox.producer, "seq": 0},
    }


def test_observe_records_errors_by_kind_and_lets_them_through(bench: Bench) -> None:
    with pytest.raises(KeyError, match="secret"), bench.publisher.observe(id="a"):
        raise KeyError("secret")
    (event,) = bench.events()
    assert event["error"] == "KeyError"
    assert "secret" not in json.dumps(event)


def test_observe_lets_the_caller_tell_latency_and_error(bench: Bench) -> None:
    with bench.publisher.observe(id="a") as seen:
        seen.latency_ms, seen.error = 3.5, "fallback"
    (event,) = bench.events()
    assert (event["latency_ms"], event["error"]) == (3.5, "fallback")


def test_waiting_waits_for_room(waiting: Bench) -> None:
    waiting.hand.room = 1
    waiting.publisher.prediction(id="a")
    waiting.hand.while_polling = lambda: waiting.kafka.waiting.clear()
    waiting.publisher.prediction(id="b")
    assert waiting.stats.dropped == {}
    assert [json.loads(message.value)["id"] for message in waiting.kafka.waiting] == ["b"]


def test_waiting_raises_what_is_wrong_with_an_event(waiting: Bench) -> None:
    with pytest.raises(PublishError, match=r"1 events were not published \(invalid\): id is missing or empty"):
        waiting.publisher.prediction(id="")
    with pytest.raises(PublishError, match="label is not finite"):
        waiting.publisher.label(id="a", label=math.nan)
    with pytest.raises(PublishError, match="too-large"):
        waiting.publisher.prediction(id="a", features={"x": "y" * MAX_EVENT_BYTES})


def test_waiting_raises_what_was_not_delivered(waiting: Bench) -> None:
    waiting.publisher.prediction(id="a")
    waiting.hand.flushes = False
    with pytest.raises(PublishError, match=r"1 messages were not delivered within 0 s; is the broker at nowhere:1"):
        waiting.publisher.flush(0)
    waiting.hand.flushes = True
    waiting.hand.delivery = KafkaError(KafkaError._MSG_TIMED_OUT)
    with pytest.raises(PublishError, match="1 events were not delivered to nowhere:1"):
        waiting.publisher.flush()
    with pytest.raises(PublishError, match="were not delivered"):
        waiting.publisher.prediction(id="b")


def test_waiting_observers_let_the_first_error_through(waiting: Bench) -> None:
    with pytest.raises(KeyError), waiting.publisher.observe(id=""):
        raise KeyError
    with pytest.raises(PublishError), waiting.publisher.observe(id=""):
        pass


def test_rows_travel_in_messages_of_a_thousand() -> None:
    import pyarrow as pa

    made = Bench()
    n = 2 * BATCH_ROWS + 1
    assert made.publisher.predictions(pa.table({"id": [str(i) for i in range(n)], "x": [0.5] * n})) == n
    made.publisher.prediction(id="last")
    made.publisher.flush()
    batches = [pa.ipc.open_stream(message.value).read_all() for message in made.hand.sent[:-1]]
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 1]
    assert pa.concat_tables(batches).column("seq").to_pylist() == list(range(n))
    assert json.loads(made.hand.sent[-1].value)["seq"] == n
    assert (made.stats.published, made.stats.waiting) == (n + 1, 0)
    made.publisher.close()


def _until(condition: Callable[[], bool]) -> None:
    deadline = threading.Event()
    for _ in range(1000):
        if condition():
            return
        deadline.wait(0.01)
    raise AssertionError("the condition did not come true within ten seconds")


def test_a_topic_that_was_just_made_is_waited_for(waiting: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barograph.publisher.outbox.TOPIC_AGAIN_S", 0.0)
    unknown, leaderless = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), KafkaError(KafkaError.LEADER_NOT_AVAILABLE)
    waiting.publisher.prediction(id="a")
    waiting.hand.topics = [unknown, leaderless, 0, 3]
    assert waiting.outbox.partitions("p-predictions") == 3
    assert waiting.outbox.known_partitions("p-predictions") == 3
    monkeypatch.setattr("barograph.publisher.outbox.TOPIC_WAIT_S", -1.0)
    waiting.hand.topics = [unknown]
    with pytest.raises(PublishError, match="the topic p-labels does not exist at nowhere:1"):
        waiting.outbox.partitions("p-labels")


def test_a_topic_that_may_not_be_seen_is_not_called_missing(waiting: Bench) -> None:
    waiting.publisher.prediction(id="a")
    waiting.hand.topics = [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not authorised")]
    with pytest.raises(PublishError, match="the topic p-labels at nowhere:1 cannot be used: not authorised"):
        waiting.outbox.partitions("p-labels")
