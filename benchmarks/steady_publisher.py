"""Publish events at a steady rate from a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from confluent_kafka import Producer

from benchmarks.synthetic_models import Templates

STEP_S = 0.02


class SteadyPublisher:
    """Publishes events of several models and to all partitions in turn."""

    def __init__(
        self, producer: Producer, topic: str, templates: Sequence[Templates], rate: float, *, partitions: int = 1
    ) -> None:
        """Prepare the thread; `start` starts it.

        Args:
            producer: a producer with the publisher's settings.
            topic: the topic.
            templates: the events of each model.
            rate: total events per second.
            partitions: the topic's number of partitions.
        """
        self._producer, self._topic, self._templates = producer, topic, templates
        self._rate, self._partitions = rate, partitions
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publishing")
        self.n = 0
        """Number of events published so far."""

    def start(self) -> None:
        """Start publishing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop publishing, and wait until the broker has acknowledged all events."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(30)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(STEP_S):
            due = int((time.monotonic() - began) * self._rate)
            at_ms = int(time.time() * 1000)
            while self.n < due:
                (event,) = self._templates[self.n % len(self._templates)].events([at_ms], self.n)
                try:
                    self._producer.produce(self._topic, event, partition=self.n % self._partitions)
                except BufferError:
                    self._producer.poll(0.1)
                    continue
                self.n += 1
            self._producer.poll(0)
