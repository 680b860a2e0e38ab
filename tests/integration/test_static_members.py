"""Static members: a processor keeps its partitions under its instance name."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import Consumer

from streams.broker.assigned_consumer import AssignedConsumer
from streams.broker.client import make_consumer
from streams.errors import ProcessorError
from streams.runtime.metrics_report import Report
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.sketching import flush_once, open_sketcher, settings_of

SESSION_S = 60.0
"""Longer than any wait of this test: a member that joins did not wait for the old session."""


def join(pipeline: Pipeline, instance: str) -> Consumer:
    """A member of the group that has partitions."""
    consumer = make_consumer(settings_of(pipeline, instance=instance, session_timeout_s=SESSION_S), "sketcher")
    consumer.subscribe([pipeline.topics.predictions])

    def assigned() -> bool:
        consumer.poll(0.1)
        return bool(consumer.assignment())

    wait_for(assigned, "partitions", SESSION_S / 2)
    return consumer


@pytest.mark.long
def test_a_second_sketcher_under_the_same_name_stops_with_advice(pipeline: Pipeline) -> None:
    pipeline.create(1)
    pipeline.register(simple_contract(), [simple_baseline()])
    with open_sketcher(pipeline, session_timeout_s=SESSION_S, flush_s=0.5) as sketcher:

        def flush() -> bool:
            flush_once(sketcher)
            return bool(sketcher._consumer.positions)

        wait_for(flush, "partitions", SESSION_S / 2)
        # As after a kill, the group is not notified; a member of the same name gets the partitions at once.
        other = join(pipeline, "s")
        with pytest.raises(ProcessorError, match="Another processor runs under this instance name"):
            wait_for(lambda: flush() and False, "the end of one of them", SESSION_S / 2)
        other.close()


def test_a_processor_ends_when_a_callback_fails_after_the_assignment(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.create(1)
    # librdkafka loses its references only if messages arrive.
    pipeline.produce([(0, b"{}", None)] * 10)
    settings = settings_of(pipeline, session_timeout_s=SESSION_S)
    consumer = AssignedConsumer(
        settings, "sketcher", {pipeline.topics.predictions: "predictions"}, Report("sketcher", "s"), poll_messages=10
    )

    def fail(*_: object) -> None:
        raise ProcessorError("The log cannot be written.")

    monkeypatch.setattr(AssignedConsumer, "_partition_names", fail)
    errors = []

    def run() -> None:
        try:
            consumer.run(lambda stop: consumer.read(consumer.membership()), threading.Event())
        except ProcessorError as error:
            errors.append(str(error))

    # A daemon: nothing stops a thread that librdkafka blocks.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SESSION_S / 2)
    assert errors == ["The log cannot be written."]
