"""Static members: a processor keeps its partitions under its instance name."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer

from barograph_server.streams.broker.client import make_consumer
from barograph_server.streams.errors import ProcessorError
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.sketching import flush_once, open_sketcher, settings_of

SESSION_S = 60.0
"""Longer than any wait of this test: a member that joins did not wait for the old session."""


def join(pipeline: Pipeline, instance: str) -> Consumer:
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
