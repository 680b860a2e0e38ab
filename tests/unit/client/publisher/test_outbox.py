"""The outbox on scripted producers: fatal errors and their replacement, forks, logs, metadata."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pyarrow as pa
import pytest
from barograph import Contract, PublishError
from barograph.publisher.outbox import METADATA_MAX_AGE_S, REPLACEMENT_MAX_RETRY_S, Outbox, kafka_settings
from confluent_kafka import KafkaError, Producer

from tests.support.scripted_kafka import ScriptedPublisher

UNKNOWN_TOPIC = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)


def publish(scripted: ScriptedPublisher, n_events: int) -> None:
    for i in range(n_events):
        scripted.publisher.prediction(id=str(i))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_waiting_publisher_knows_the_offsets_of_its_events() -> None:
    scripted = ScriptedPublisher(Contract(model="m"), wait=True)
    publish(scripted, 3)
    assert scripted.publisher.offset_ranges == {}
    scripted.publisher.flush()
    assert scripted.publisher.offset_ranges == {("p-predictions", 0): (0, 3)}
    publish(scripted, 2)
    scripted.publisher.flush()
    assert scripted.publisher.offset_ranges == {("p-predictions", 0): (0, 5)}
    scripted.publisher.close()


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
        stats = serving.stats
        assert (stats.published, stats.failed, stats.waiting) == (10, 0, 3)
        assert stats.dropped == {"error": attempt + 1}
        serving.now_s += REPLACEMENT_MAX_RETRY_S
    serving.outbox.maintain()
    assert len(serving.producers) == 2
    stats = serving.stats
    assert (stats.published, stats.failed, stats.waiting) == (10, 3, 0)
    publish(serving, 4)
    serving.publisher.flush()
    stats = serving.stats
    assert (stats.published, stats.failed, stats.waiting) == (14, 3, 0)
    assert stats.dropped == {"error": n_failures}
    assert stats.published + stats.failed + stats.waiting + sum(stats.dropped.values()) == 10 + 3 + n_failures + 4
    failures = [text for text in warnings(caplog) if "cannot be replaced" in text]
    assert len(failures) == n_failures
    assert (
        "Kafka's client failed (out of order) and cannot be replaced (no memory 0); events are dropped" in failures[0]
    )
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
    assert (serving.stats.published, serving.stats.failed, serving.stats.waiting) == (5, 0, 0)
    serving.now_s += REPLACEMENT_MAX_RETRY_S
    serving.outbox.maintain()
    assert len(serving.producers) == 4
    send()
    assert (serving.stats.published, serving.stats.failed, serving.stats.dropped) == (10, 0, {})


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
    assert (serving.stats.published, serving.stats.failed, serving.stats.waiting) == (1, 1, 0)


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
    monkeypatch.setattr("barograph.publisher.outbox.TOPIC_RETRY_S", 0.0)
    batch_job.script.topic_answers = [UNKNOWN_TOPIC, KafkaError(KafkaError.LEADER_NOT_AVAILABLE), 0, 3]
    assert batch_job.outbox.fetch_partition_count("p-predictions") == 3
    assert batch_job.outbox.cached_partition_count("p-predictions") == 3
    monkeypatch.setattr("barograph.publisher.outbox.TOPIC_WAIT_S", -1.0)
    batch_job.script.topic_answers = [UNKNOWN_TOPIC]
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
