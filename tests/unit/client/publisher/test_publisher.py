import gc
import json
import logging
import math
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pyarrow as pa
import pytest
from barograph import Contract, PublishError
from barograph.contract import Field, LabelSpec
from barograph.events import BATCH_ROWS, MAX_EVENT_BYTES, MAX_MEMBERS
from barograph.publisher.outbox import METADATA_MAX_AGE_S, REPLACEMENT_MAX_RETRY_S, Outbox, kafka_settings
from barograph.publisher.retry_schedule import RetrySchedule
from barograph.publisher.servers import find_bootstrap_servers
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.support.scripted_kafka import ScriptedPublisher

CONTRACT = Contract(model="m", fields=(Field(name="x", type="float", source="features.x"),))


@pytest.fixture
def serving() -> Iterator[ScriptedPublisher]:
    scripted = ScriptedPublisher(CONTRACT)
    yield scripted
    scripted.publisher.close()


@pytest.fixture
def batch_job() -> Iterator[ScriptedPublisher]:
    scripted = ScriptedPublisher(CONTRACT, wait=True)
    yield scripted
    scripted.script.produce_error = None
    scripted.outbox._wait = False
    scripted.publisher.close()


def test_a_prediction_is_published_with_every_member(serving: ScriptedPublisher) -> None:
    serving.publisher.prediction(
        id="a",
        features={"x": 1.5, "y": None, "z": np.float64(2)},
        score=np.float32(0.5),
        class_=True,
        scores={"late": 0.5},
        metrics={"tokens": 3},
        latency_ms=12.3,
        arm="b",
        context={"origin": "JFK", "seat": 7},  # type: ignore[dict-item]  # converted to text
        status="served",
        error=TimeoutError("secret"),
        role="shadow",
        at=1700000000000,
    )
    (event,) = serving.flush_events()
    assert event == {
        **{"model": "m", "version": "3", "id": "a", "at": 1700000000000, "arm": "b", "role": "shadow"},
        **{"context": {"origin": "JFK", "seat": "7"}, "features": {"x": 1.5, "y": None, "z": 2.0}},
        **{"score": 0.5, "class": "true", "scores": {"late": 0.5}, "metrics": {"tokens": 3}, "latency_ms": 12.3},
        **{"status": "served", "error": "TimeoutError", "producer": serving.outbox.producer_id, "seq": 0},
    }
    assert serving.script.delivered[0].topic == "p-predictions"
    assert "key" not in serving.script.delivered[0].options


def test_text_in_the_place_of_a_number_is_counted_and_logged(serving: ScriptedPublisher, caplog: Any) -> None:
    serving.publisher.prediction(id="a", score=0.7, latency_ms=1, scores={"late": 0.7}, metrics={"tokens": 3})
    assert serving.stats.violations == {}
    texts: Any = {"score": "0.7", "latency_ms": "3", "scores": {"late": "0.7"}, "metrics": {"tokens": "3"}}
    serving.publisher.prediction(id="b", **texts)
    expected = {("score", "invalid"): 1, ("latency_ms", "invalid"): 1}
    expected |= {("scores.late", "invalid"): 1, ("metrics.tokens", "invalid"): 1}
    assert serving.stats.violations == expected
    table = pa.table({"id": ["c", "d", "e"], "score": ["0.7", None, "x"], "metrics.tokens": [1, 2, 3]})
    serving.publisher.predictions(table)
    assert serving.stats.violations == {**expected, ("score", "invalid"): 3}
    serving.outbox.maintain()
    (logged,) = [record.getMessage() for record in caplog.records if "published as text" in record.getMessage()]
    assert "score is text; publish a number" in logged


def test_defaults_other_versions_other_mappings_and_the_key_of_a_label(serving: ScriptedPublisher) -> None:
    serving.publisher.prediction(id="a", version="4", features=MappingProxyType({"x": 1}))
    serving.publisher.prediction(id="a")
    first, second = serving.flush_events()
    assert (first["version"], first["features"]) == ("4", {"x": 1})
    assert (second["version"], second["at"]) == ("3", 1700000000123), "the publisher's version, the current time"
    serving.publisher.label(id="a", label="late")
    assert serving.flush_events()[-1] == {"model": "m", "id": "a", "label": "late", "at": 1700000000123}
    assert serving.script.delivered[-1].topic == "p-labels"
    assert serving.script.delivered[-1].options["key"] == b"m\x00a"


def test_bad_values_are_counted_and_never_raised(serving: ScriptedPublisher) -> None:
    bad: list[dict[str, Any]] = [
        *({"id": None}, {"id": ""}, {"id": "a", "at": "yesterday"}, {"id": "a", "role": "canary"}),
        *({"id": "a", "version": 3}, {"id": "a", "scores": 0.5}),
        {"id": "a", "scores": {str(i): 0.5 for i in range(MAX_MEMBERS + 1)}},
        *({"id": "a", "features": [1, 2]}, {"id": "a", "context": "JFK"}),
        {"id": "a", "features": {str(i): i for i in range(MAX_MEMBERS + 1)}},
    ]
    for n_dropped, members in enumerate(bad, 1):
        serving.publisher.prediction(**members)
        assert serving.stats.dropped == {"invalid": n_dropped}, members
    serving.publisher.prediction(id="good")
    (event,) = serving.flush_events()
    assert event["seq"] == len(bad), "the sequence numbers of the lost events are missing"
    assert serving.stats.published == 1
    for label in (None, math.nan, [1], object()):
        serving.publisher.label(id="a", label=label)
    serving.publisher.label(id="", label=True)
    assert len(serving.flush_events()) == 1
    assert serving.stats.dropped == {"invalid": len(bad) + 5}


def test_events_and_labels_that_are_too_large_are_counted(serving: ScriptedPublisher, caplog: Any) -> None:
    serving.publisher.label(id="a", label="y" * MAX_EVENT_BYTES)
    serving.outbox.maintain()
    assert f"a label has {MAX_EVENT_BYTES + 52:,} bytes; at most {MAX_EVENT_BYTES:,} are sent" in caplog.text
    serving.publisher.prediction(id="a", features={"x": "y" * MAX_EVENT_BYTES})
    assert serving.stats.dropped == {"too-large": 2}
    assert serving.flush_events() == []


def test_a_full_queue_drops_events_and_counts_them(serving: ScriptedPublisher) -> None:
    serving.script.queue_size, serving.script.can_flush = 2, False
    for i in range(5):
        serving.publisher.prediction(id=str(i))
    assert (serving.stats.dropped, serving.stats.queued, serving.stats.waiting) == ({"queue-full": 3}, 2, 2)
    serving.publisher.label(id="a", label=True)
    assert serving.publisher.flush(0) == 3
    serving.script.can_flush = True
    assert serving.publisher.flush(0) == 0
    assert serving.stats.bytes == sum(len(message.value) for message in serving.script.delivered) > 0
    serving.publisher.prediction(id="5")
    numbers = [event["seq"] for event in serving.flush_events() if "seq" in event]
    assert numbers == [0, 1, 5], "the gap reveals the loss"


def test_no_kafka_error_reaches_the_caller(serving: ScriptedPublisher) -> None:
    for refusal, dropped in (
        (KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), {"too-large": 2}),
        (KafkaException(KafkaError(KafkaError._FATAL)), {"too-large": 2, "error": 2}),
        (RuntimeError("anything"), {"too-large": 2, "error": 4}),
    ):
        serving.script.produce_error = refusal
        serving.publisher.prediction(id="a")
        serving.publisher.label(id="a", label=True)
        assert serving.stats.dropped == dropped
        assert serving.stats.published == serving.stats.waiting == 0


def test_events_after_close_are_dropped_and_a_second_close_does_nothing(serving: ScriptedPublisher) -> None:
    with serving.publisher as publisher:
        publisher.prediction(id="a")
    serving.publisher.prediction(id="b")
    serving.publisher.label(id="b", label=True)
    assert serving.publisher.close() == 0
    assert len(serving.script.delivered) == len(serving.producers) == 1, "and no farewell"
    assert serving.stats.dropped == {"closed": 2}


def test_threads_can_share_a_publisher_and_sequence_numbers_are_unique(serving: ScriptedPublisher) -> None:
    def serve(thread: int) -> None:
        for i in range(500):
            serving.publisher.prediction(id=f"{thread}-{i}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(serve, range(4)))
    events = serving.flush_events()
    assert sorted(event["seq"] for event in events) == list(range(2000))
    assert serving.stats.published == len(events) == 2000


def test_single_events_and_tables_are_counted_together(serving: ScriptedPublisher) -> None:
    serving.publisher.prediction(id="a")
    assert serving.publisher.predictions(pa.table({"id": ["b", "c"], "x": [0.5, 1.5]})) == 2
    assert (serving.stats.waiting, serving.stats.queued, serving.stats.published) == (3, 2, 0)
    assert len(serving.producers) == 2, "tables are reported message by message"
    serving.script.delivery_error = KafkaError(KafkaError._MSG_TIMED_OUT)
    serving.publisher.flush()
    serving.script.delivery_error = None
    serving.publisher.prediction(id="d")
    serving.publisher.predictions(pa.table({"id": ["e", "f"], "x": [0.5, 1.5]}))
    serving.publisher.flush()
    assert (serving.stats.waiting, serving.stats.published, serving.stats.failed) == (0, 3, 3)


@pytest.mark.parametrize(
    ("broker", "left", "published", "failed", "queue_full"),
    [  # Whether it answers, how many messages are in flight, the size of the queue.
        ((False, 2, 9), 6, 1, 7, {}),
        ((True, 0, 9), 6, 1, 7, {}),
        ((True, 2, 9), 3, 5, 3, {}),
        ((True, 2, 2), 0, 5, 0, {"queue-full": 3}),
    ],
)
def test_a_farewell_has_the_last_number_and_messages_in_flight_are_not_lost(
    serving: ScriptedPublisher, caplog: Any, broker: Any, left: int, published: int, failed: int, queue_full: Any
) -> None:
    script = serving.script
    serving.publisher.prediction(id="a")
    serving.publisher.flush()
    script.can_flush, (script.answers_after_purge, script.n_in_flight, script.queue_size) = False, broker
    for i in range(5):
        serving.publisher.prediction(id=str(i))
    serving.publisher.predictions(pa.table({"id": ["t", "u"]}))
    serving.publisher.prediction(id="")
    assert serving.publisher.close(0) == left
    dropped = {**queue_full, "invalid": 1}
    assert (serving.stats.published, serving.stats.failed, serving.stats.dropped) == (published, failed, dropped)
    discarded = dropped | ({"not-delivered": failed} if failed else {})
    farewell = {"model": "m", "producer": serving.outbox.producer_id, "since": 1_700_000_000_123}
    assert serving.heartbeats() == [{**farewell, "seq": 8, "ended": True, "discarded": discarded}] * broker[0]
    unanswered = 0 if broker[0] else 4
    assert (f"may have arrived ({unanswered} so far)" in caplog.text) == (unanswered > 0)
    assert (f"events not delivered ({failed - unanswered} so far)" in caplog.text) == (failed > 0)


def test_while_events_wait_a_heartbeat_a_second_says_how_many(serving: ScriptedPublisher) -> None:
    for n_events, elapsed_s, n_beats in ((3, 0, 0), (1, 1, 0), (2, 1, 1), (0, 0.9, 1), (3, 0.1, 2)):
        serving.now_s += elapsed_s
        serving.outbox.maintain()
        for _ in range(n_events):
            serving.publisher.prediction(id="a")
        assert len(serving.heartbeats()) == n_beats
    serving.publisher.flush()
    for _ in range(3):
        serving.now_s += 1
        serving.outbox.maintain()
    assert [(each["seq"], each.get("queued", 0)) for each in serving.heartbeats()] == [(3, 4), (5, 6), (8, 0)]
    serving.publisher.close()
    assert [(each["seq"], each.get("ended")) for each in serving.heartbeats()[3:]] == [(8, True)]


def test_another_process_says_the_farewell_of_one_that_was_killed(tmp_path: Path) -> None:
    killed, silent, other = (ScriptedPublisher(Contract(model="m"), state_dir=tmp_path) for _ in range(3))
    for i in range(300):
        killed.publisher.prediction(id=str(i))
    assert other.publisher.predictions(pa.table({"id": ["a", "b"]})) == 2
    killed_id = killed.outbox.producer_id
    content = next(tmp_path.glob(f"*{killed_id}*")).read_bytes()
    damaged = b"barogr", content[:-1], b"B" + content[1:], b"", content[:8] + b"\x7f" * 8 + content[16:]
    foreign = {tmp_path / f"p-predictions.{i}.state": value for i, value in enumerate(damaged)}
    for path, value in {**foreign, tmp_path / "q": content}.items():
        path.write_bytes(value)
    (tmp_path / "p-predictions.folder.state").mkdir()
    for each in (killed, silent):
        each.outbox.after_fork()  # frees the lock, as the kernel does at a kill
    for error in (KafkaError(KafkaError._MSG_TIMED_OUT), None):
        other.script.delivery_error, other.script.delivered = error, []
        other.outbox.maintain()
        other.outbox.maintain()
        [farewell] = other.heartbeats()
        assert (farewell["producer"], farewell["ended"], farewell["seq"]) == (killed_id, True, 299)
        other.now_s += 10
    other.outbox.maintain()
    assert [each["seq"] for each in other.heartbeats()] == [299, 1], "the second is its own heartbeat"
    assert len(list(tmp_path.iterdir())) == len(foreign) + 3
    other.publisher.close()
    assert len(list(tmp_path.iterdir())) == len(foreign) + 2, "all of its own events arrived"
    assert {path: path.read_bytes() for path in foreign} == foreign
    ScriptedPublisher(Contract(model="m"), state_dir=tmp_path / "q").publisher.close()


def test_observe_publishes_the_time_the_members_and_the_kind_of_an_error(serving: ScriptedPublisher) -> None:
    with serving.publisher.observe(id="a", features={"x": 1}, arm="b", context={"k": "v"}, at=5) as observation:
        serving.now_s += 0.0125
        assert observation.features == {"x": 1}
        observation.score = 0.25
        observation.class_ = "late"
        observation.scores = {"late": 0.25}
        observation.metrics = {"tokens": 3}
        observation.status = "served"
    (event,) = serving.flush_events()
    assert event.pop("latency_ms") == 12.5
    members = {"id": "a", "at": 5, "arm": "b", "context": {"k": "v"}, "features": {"x": 1}, "score": 0.25}
    members |= {"class": "late", "scores": {"late": 0.25}, "metrics": {"tokens": 3}, "status": "served"}
    assert event.items() >= members.items()
    with pytest.raises(KeyError, match="secret"), serving.publisher.observe(id="a"):
        raise KeyError("secret")
    with serving.publisher.observe(id="b") as observation:
        observation.latency_ms, observation.error = 3.5, "fallback"
    _, failed, own = serving.flush_events()
    assert failed["error"] == "KeyError"
    assert "secret" not in json.dumps(failed)
    assert (own["latency_ms"], own["error"]) == (3.5, "fallback")


def test_a_batch_job_waits_for_space_in_the_queue(batch_job: ScriptedPublisher) -> None:
    batch_job.script.queue_size = 1
    batch_job.publisher.prediction(id="a")
    batch_job.script.on_poll = lambda: batch_job.kafka.queue.clear()
    batch_job.publisher.prediction(id="b")
    assert batch_job.stats.dropped == {}
    assert [json.loads(message.value)["id"] for message in batch_job.kafka.queue] == ["b"]


def test_a_batch_job_gets_an_error_for_invalid_and_undelivered_events(batch_job: ScriptedPublisher) -> None:
    with pytest.raises(PublishError, match=r"1 events were not published \(invalid\): id is missing or empty"):
        batch_job.publisher.prediction(id="")
    with pytest.raises(PublishError, match="label is not finite"):
        batch_job.publisher.label(id="a", label=math.nan)
    with pytest.raises(PublishError, match="too-large"):
        batch_job.publisher.prediction(id="a", features={"x": "y" * MAX_EVENT_BYTES})
    with pytest.raises(PublishError), batch_job.publisher.observe(id=""):
        pass
    with pytest.raises(KeyError), batch_job.publisher.observe(id=""):
        raise KeyError  # the first error
    batch_job.publisher.prediction(id="a")
    batch_job.script.can_flush = False
    with pytest.raises(PublishError, match=r"1 messages were not delivered within 0 s; is the broker at nowhere:1"):
        batch_job.publisher.flush(0)
    batch_job.script.can_flush = True
    batch_job.script.delivery_error = KafkaError(KafkaError._MSG_TIMED_OUT)
    with pytest.raises(PublishError, match="1 events were not delivered to nowhere:1"):
        batch_job.publisher.flush()
    with pytest.raises(PublishError, match="were not delivered"):
        batch_job.publisher.prediction(id="b")


def test_rows_are_sent_in_messages_of_a_thousand(serving: ScriptedPublisher) -> None:
    n = 2 * BATCH_ROWS + 1
    assert serving.publisher.predictions(pa.table({"id": [str(i) for i in range(n)], "x": [0.5] * n})) == n
    serving.publisher.prediction(id="last")
    serving.publisher.flush()
    batches = [pa.ipc.open_stream(message.value).read_all() for message in serving.script.delivered[:-1]]
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 1]
    assert pa.concat_tables(batches).column("seq").to_pylist() == list(range(n))
    assert json.loads(serving.script.delivered[-1].value)["seq"] == n
    assert (serving.stats.published, serving.stats.waiting) == (n + 1, 0)


def test_a_label_that_is_no_form_of_a_value_is_not_sent() -> None:
    contract = Contract(model="m", label=LabelSpec(type="bool", positive=True))
    scripted, waiting = ScriptedPublisher(contract), ScriptedPublisher(contract, wait=True)
    scripted.publisher.label(id="a", label="maybe")
    assert scripted.publisher.labels(pa.table({"id": ["b", "c"], "label": ["yes", "maybe"]})) == 1
    assert scripted.stats.dropped == {"invalid": 2}
    scripted.publisher.close()
    remedy = "true or false, 1 or 0, yes or no by the contract's label; convert it, or"
    with pytest.raises(PublishError, match=remedy):
        waiting.publisher.label(id="a", label="maybe")
    with pytest.raises(PublishError, match=remedy):
        waiting.publisher.labels(pa.table({"id": ["a"], "label": [7]}))
    waiting.outbox._wait = False
    waiting.publisher.close()


def publish(scripted: ScriptedPublisher, n_events: int) -> None:
    for i in range(n_events):
        scripted.publisher.prediction(id=str(i))


def counts(scripted: ScriptedPublisher) -> tuple[int, int, int]:
    return scripted.stats.published, scripted.stats.failed, scripted.stats.waiting


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_waiting_publisher_knows_the_offsets_of_its_events(batch_job: ScriptedPublisher) -> None:
    assert batch_job.publisher.offset_ranges == {}
    for n_events, end in ((3, 3), (2, 5)):
        publish(batch_job, n_events)
        batch_job.publisher.flush()
        assert batch_job.publisher.offset_ranges == {("p-predictions", 0): (0, end)}


@pytest.mark.parametrize("n_failures", [1, 5])
def test_failed_replacements_change_no_count_and_are_retried(
    serving: ScriptedPublisher, caplog: pytest.LogCaptureFixture, n_failures: int
) -> None:
    publish(serving, 10)
    serving.publisher.flush()
    publish(serving, 3)  # queued when the producer fails
    failed = serving.kafka
    failed.fail_fatally()
    serving.script.factory_errors = [RuntimeError(f"no memory {i}") for i in range(n_failures)]
    for attempt in range(n_failures):
        serving.outbox.maintain()
        assert len(serving.producers) == 1
        serving.publisher.prediction(id="during")
        assert counts(serving) == (10, 0, 3)
        assert serving.stats.dropped == {"error": attempt + 1}
        serving.now_s += REPLACEMENT_MAX_RETRY_S
    serving.outbox.maintain()
    assert len(serving.producers) == 2
    assert counts(serving) == (10, 3, 0)
    publish(serving, 4)
    serving.publisher.flush()
    assert counts(serving) == (14, 3, 0)
    assert serving.stats.dropped == {"error": n_failures}
    failures = [text for text in warnings(caplog) if "cannot be replaced" in text]
    assert len(failures) == n_failures
    assert "client failed (out of order) and cannot be replaced (no memory 0); events are dropped" in failures[0]
    assert any("was replaced" in text for text in warnings(caplog))
    assert not failed.queue


def test_both_producers_are_replaced_or_neither(serving: ScriptedPublisher) -> None:
    def send() -> None:
        publish(serving, 2)
        serving.publisher.predictions(pa.table({"id": ["a", "b", "c"]}))
        serving.publisher.flush()

    send()
    first = serving.producers[:]
    first[0].fail_fatally()
    serving.script.factory_errors = [RuntimeError("no memory")]
    serving.outbox.maintain()
    assert serving.producers == first
    assert counts(serving) == (5, 0, 0)
    serving.now_s += REPLACEMENT_MAX_RETRY_S
    serving.outbox.maintain()
    assert len(serving.producers) == 4
    send()
    assert counts(serving) == (10, 0, 0)
    assert serving.stats.dropped == {}


def test_an_event_for_a_producer_that_is_replaced_during_the_call_is_counted_as_failed(
    serving: ScriptedPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(serving, 1)
    serving.publisher.flush()

    def produce(_topic: str, _value: bytes) -> None:
        serving.kafka.fail_fatally()
        serving.outbox.maintain()

    monkeypatch.setattr(serving.kafka, "produce", produce)
    publish(serving, 1)
    assert len(serving.producers) == 2
    assert counts(serving) == (1, 1, 0)


def test_a_closed_outbox_replaces_nothing(serving: ScriptedPublisher) -> None:
    publish(serving, 2)
    serving.publisher.flush()
    serving.kafka.fail_fatally()
    serving.publisher.close()
    serving.outbox.maintain()
    publish(serving, 1)
    assert (serving.stats.published, serving.stats.failed, serving.stats.dropped) == (2, 0, {"closed": 1})


def test_background_work_continues_after_an_error_and_reports_it_once_a_minute(
    serving: ScriptedPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    serving.script.factory_errors = [OSError("secret")] * 3
    for n_warnings, elapsed_s in ((1, 0), (1, 1), (2, 60)):
        serving.now_s += elapsed_s
        serving.outbox.cached_partition_count("t")
        serving.outbox.maintain()
        assert len(warnings(caplog)) == n_warnings
    assert warnings(caplog)[0] == "the publisher's background thread continues after an error (1 so far) OSError"


def test_a_forked_child_abandons_the_parents_producer_and_never_frees_it(serving: ScriptedPublisher) -> None:
    serving.publisher.prediction(id="a")
    inherited, parent_id = weakref.ref(serving.kafka), serving.outbox.producer_id
    serving.producers.clear()
    serving.outbox._stop.set()  # a child does not have the thread
    serving.outbox.after_fork()
    gc.collect()
    assert inherited() is not None
    assert (serving.producers, serving.stats.waiting) == ([], 0)
    serving.publisher.prediction(id="b")
    (event,) = serving.flush_events()
    assert (event["id"], event["seq"], event["producer"] == parent_id) == ("b", 0, False)


def test_losses_are_logged_at_most_once_a_minute_and_without_values(serving: ScriptedPublisher, caplog: Any) -> None:
    for _ in range(3):
        serving.publisher.prediction(id="a", features=["secret"])  # type: ignore[arg-type]
        serving.outbox.maintain()
    assert [text.split(" (")[0] for text in warnings(caplog)] == ["events dropped: invalid"]
    serving.now_s += 60
    serving.outbox.maintain()
    assert [text.split(")")[0] for text in warnings(caplog)][1:] == ["events dropped: invalid (3 so far"]
    assert "secret" not in caplog.text


def test_a_new_topic_is_retried_until_it_is_known(batch_job: ScriptedPublisher, monkeypatch: Any) -> None:
    unknown_topic = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    monkeypatch.setattr("barograph.publisher.outbox.TOPIC_RETRY_S", 0.0)
    batch_job.script.topic_answers = [unknown_topic, KafkaError(KafkaError.LEADER_NOT_AVAILABLE), 0, 3]
    assert batch_job.outbox.fetch_partition_count("p-predictions") == 3
    assert batch_job.outbox.cached_partition_count("p-predictions") == 3
    monkeypatch.setattr("barograph.publisher.outbox.TOPIC_WAIT_S", -1.0)
    batch_job.script.topic_answers = [unknown_topic]
    with pytest.raises(PublishError, match="the topic p-labels does not exist at nowhere:1"):
        batch_job.outbox.fetch_partition_count("p-labels")
    batch_job.script.topic_answers = [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not authorised")]
    with pytest.raises(PublishError, match="the topic p-labels at nowhere:1 cannot be used: not authorised"):
        batch_job.outbox.fetch_partition_count("p-labels")


def test_partition_counts_are_fetched_in_the_background_and_refreshed_when_old(serving: ScriptedPublisher) -> None:
    assert serving.outbox.cached_partition_count("t") is None
    serving.script.topic_answers = [3]
    serving.outbox.maintain()
    assert serving.outbox.cached_partition_count("t") == 3
    serving.now_s += METADATA_MAX_AGE_S + 1
    assert serving.outbox.cached_partition_count("t") == 3, "the old count is used until the new one arrives"
    serving.script.topic_answers = [6]
    serving.outbox.maintain()
    assert serving.outbox.cached_partition_count("t") == 6


@pytest.mark.parametrize("wait", [False, True])
def test_close_frees_the_producer_without_the_garbage_collector(wait: bool) -> None:
    def producers() -> int:
        return sum(isinstance(each, Producer) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = producers()
        outbox = Outbox(kafka_settings("127.0.0.1:1", "drop", 1000, 1 << 20), wait=wait)
        assert producers() == before + 1
        outbox.close(0.1)
        assert producers() == before
    finally:
        gc.enable()


def test_an_attempt_is_due_after_a_delay_that_doubles_up_to_the_bound_and_resets_after_a_success() -> None:
    now_s, draw = 10.0, Mock(side_effect=lambda low, high: high)
    schedule = RetrySchedule(0.5, 3.0, clock=lambda: now_s, uniform=draw)
    assert schedule.is_due
    assert [schedule.record_failure() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert draw.call_args_list == [call(0.25, 0.5), call(0.5, 1.0), call(1.0, 2.0), call(1.5, 3.0), call(1.5, 3.0)]
    now_s = 12.9
    assert not schedule.is_due
    now_s = 13.0
    assert schedule.is_due
    schedule.record_failure()
    assert not schedule.is_due
    schedule.reset()
    assert schedule.is_due
    draw.side_effect = lambda low, high: low
    assert schedule.record_failure() == 0.25, "what was drawn"


def test_two_clones_find_their_own_stack_and_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"BAROGRAPH_HOME": str(tmp_path / "first/.barograph")}
    for clone, servers in (("first", "127.0.0.1:29092"), ("second", "127.0.0.1:40001")):
        home = tmp_path / clone / ".barograph"
        home.mkdir(parents=True)
        (home / "stack.json").write_text(json.dumps({"bootstrap_servers": servers, "clickhouse_port": 1}))
        monkeypatch.chdir(home.parent)
        assert find_bootstrap_servers({}) == servers
    assert find_bootstrap_servers(environ) == "127.0.0.1:29092"
    assert find_bootstrap_servers(environ | {"BAROGRAPH_BOOTSTRAP_SERVERS": "kafka:9092"}) == "kafka:9092"


def test_without_a_stack_the_error_says_what_to_do(tmp_path: Path) -> None:
    missing = r"no Kafka is named: pass bootstrap_servers, .*`barograph dev` \(none runs in"
    for record in (None, "[]", "{", '{"bootstrap_servers": 1}'):
        if record is not None:
            (tmp_path / "stack.json").write_text(record)
        with pytest.raises(ValueError, match=missing):
            find_bootstrap_servers({"BAROGRAPH_HOME": str(tmp_path)})
