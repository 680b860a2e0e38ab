"""Processors keep their place in the group by their instance's name."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError

from streams.broker.client import make_consumer
from streams.errors import ProcessorError
from streams.settings import ProcessorSettings
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.sketching import flush_once, open_sketcher

SESSION_S = 60.0
"""Longer than anything here waits: whoever is let in was not waited for."""


def settings_of(pipeline: Pipeline, instance: str) -> ProcessorSettings:
    return ProcessorSettings(
        instance=instance,
        bootstrap_servers=pipeline.bootstrap,
        warehouse=pipeline.address,
        topics=pipeline.topics,
        session_timeout_s=SESSION_S,
    )


def join(pipeline: Pipeline, instance: str) -> Consumer:
    """A member of the group that has partitions."""
    consumer = make_consumer(settings_of(pipeline, instance), "sketcher")
    consumer.subscribe([pipeline.topics.predictions])

    def assigned() -> bool:
        consumer.poll(0.1)
        return bool(consumer.assignment())

    wait_for(assigned, "partitions", SESSION_S / 2)
    return consumer


def test_who_comes_back_under_its_name_takes_its_place_at_once(pipeline: Pipeline) -> None:
    pipeline.create(1)
    before = join(pipeline, "one")
    # As after a kill: the group is not told that it is gone.
    after = join(pipeline, "one")
    wait_for(lambda: _fatal(before), "the predecessor to be shut out", SESSION_S / 2)
    after.close()


def _fatal(consumer: Consumer) -> bool:
    message = consumer.poll(0.1)
    error = None if message is None else message.error()
    return error is not None and error.code() == KafkaError._FATAL


def test_two_sketchers_of_one_name_are_told_apart_in_words(pipeline: Pipeline) -> None:
    pipeline.create(1)
    pipeline.register(simple_contract(), [simple_baseline()])
    with open_sketcher(pipeline, session_timeout_s=SESSION_S, flush_s=0.5) as sketcher:

        def flush() -> bool:
            flush_once(sketcher)
            return bool(sketcher._consumer.positions)

        wait_for(flush, "partitions", SESSION_S / 2)
        other = join(pipeline, "s")
        with pytest.raises(ProcessorError, match="Another processor runs under this instance name"):
            wait_for(lambda: flush() and False, "the end of one of them", SESSION_S / 2)
        other.close()
