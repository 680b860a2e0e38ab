"""Sends gold labels of reviewers to the topic `labels`, as labels of the evaluator's model.

`reviews` is the record: a label that could not be sent is sent by the next run. A label that is sent twice has the same
id and time, so it counts once.
"""

import contextlib
import threading
import time
from collections.abc import Callable

from barograph import Publisher, PublishError
from barograph.contract import Contract
from barograph.publisher.retry_schedule import RetrySchedule

from barograph_server.settings import Settings
from barograph_server.warehouse.evaluation.reviews import Review

PUBLISHER_VERSION = "review"
"""Version of the publisher, which sends labels only. Labels have none."""
UNDO_S = 10.0
"""Time in which a label can be taken back before it is sent."""
FLUSH_S = 10.0
RETRY_S = 5.0
"""Longest pause after a failure."""

_Key = tuple[str, str, str]
"""Id, version and reviewer."""


class GoldLabels:
    """A queue of gold labels, by answer and reviewer. Any thread may add labels while another one sends."""

    def __init__(self, contract: Contract, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Describe it, with the contract of the evaluator's model; nothing connects."""
        self._contract, self._settings, self._clock = contract, settings, clock
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._waiting: dict[_Key, tuple[float, Review]] = {}
        self._in_flight: set[_Key] = set()
        self._publisher: Publisher | None = None
        self._retry = RetrySchedule(RETRY_S, RETRY_S, clock=clock)
        self.sent = 0
        """Labels that Kafka has acknowledged."""
        self.problem = ""
        """Why labels could not be sent; empty after a success."""

    @property
    def waiting(self) -> int:
        """Labels that are not sent."""
        return len(self._waiting)

    def add(self, review: Review, *, delay_s: float = 0.0) -> bool:
        """Queue a label, in place of one of the same reviewer for the same answer; one that is not gold only drops it.

        Args:
            delay_s: how long it can be taken back.

        Returns:
            Whether a label was dropped before it was sent.
        """
        key = (review.id, review.version, review.reviewer)
        with self._lock:
            dropped = self._waiting.pop(key, None) is not None and key not in self._in_flight
            if review.is_gold:
                self._waiting[key] = (self._clock() + delay_s, review)
        return dropped

    def send_due(self, *, everything: bool = False) -> None:
        """Send the labels whose delay is over. If Kafka does not answer, they stay, and `problem` says why.

        Args:
            everything: whether to send all labels, and to try now even if the last attempt failed a moment ago.
        """
        with self._sending:
            now = self._clock()
            with self._lock:
                due = {key: each for key, each in self._waiting.items() if everything or each[0] <= now}
                if not due or (not everything and not self._retry.is_due):
                    return
                self._in_flight = set(due)
            try:
                self._send([review for _, review in due.values()])
            except Exception as error:
                # Whatever it is, the labels are stored and stay here, and the page and the command say why.
                self._disconnect()
                self.problem = " ".join(str(error).split()) or type(error).__name__
                self._retry.record_failure()
            else:
                with self._lock:
                    for key, each in due.items():
                        if self._waiting.get(key) is each:
                            del self._waiting[key]
                self.sent += len(due)
                self.problem = ""
            finally:
                self._in_flight = set()

    def close(self) -> None:
        """Send what waits, and disconnect."""
        self.send_due(everything=True)
        self._disconnect()

    def _send(self, reviews: list[Review]) -> None:
        if self._publisher is None:
            self._publisher = Publisher.from_contract(
                self._contract,
                version=PUBLISHER_VERSION,
                bootstrap_servers=self._settings.bootstrap_servers,
                on_full="wait",
                topic_prefix=self._settings.topic_prefix,
                kafka=self._settings.kafka,
            )
        for each in reviews:
            self._publisher.label(id=each.id, label=each.label, at=each.at)
        self._publisher.flush(FLUSH_S)

    def _disconnect(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            # The labels are still in the queue of this class.
            with contextlib.suppress(PublishError):
                publisher.close(1.0)
