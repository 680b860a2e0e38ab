"""Replays dead letters and kills itself with -9: `main` of CALL and SETTINGS, in a process of its own. CALL counts the
calls to the producer from 0 (init_transactions), just before which it is killed, or just after with a plus sign."""

import json
import os
import signal
from typing import Any

from confluent_kafka import Producer

from barograph_server.streams.broker.client import transactional_producer
from barograph_server.streams.dead_letters import replay
from barograph_server.streams.dead_letters.reader import DeadLetterFilter
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import Topics
from barograph_server.warehouse.client import Address


class MortalProducer:
    def __init__(self, producer: Producer, at: int, *, after: bool) -> None:
        self._producer, self._at, self._after = producer, at, after
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._producer, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            is_fatal = self._calls == self._at
            self._calls += 1
            if is_fatal and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            if is_fatal:
                # Produced messages must reach the broker, so that the kill leaves them there.
                self._producer.flush(10)
            result = method(*args, **kwargs)
            if is_fatal:
                if name == "produce":
                    self._producer.flush(10)
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def main(arguments: list[str]) -> int:
    call, options = arguments[0], json.loads(arguments[1])
    settings = ProcessorSettings(
        instance="test",
        bootstrap_servers=options["bootstrap_servers"],
        warehouse=Address(),
        topics=Topics(options["prefix"]),
        transaction_timeout_s=60.0,
    )
    replay.TRANSACTION_DEAD_LETTERS = options["batch"]

    def make(producer_settings: ProcessorSettings, name: str) -> Any:
        producer = transactional_producer(producer_settings, name)
        return MortalProducer(producer, int(call.rstrip("+")), after=call.endswith("+"))

    replay.DeadLetterReplayer(settings, make_producer=make).replay(DeadLetterFilter())
    return 0
