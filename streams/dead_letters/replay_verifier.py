"""Verifies messages that claim to be replayed dead letters, by the resolutions that `barograph dead-letters` wrote.

A replay sends the original bytes and the dead letter's resolution in one transaction. Both carry the same random token,
and publishers cannot read it from either topic. So a message is a replay if and only if a committed resolution has its
token. Ordinary messages carry no token and cost nothing here.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from barograph_server.streams.broker.client import (
    FATAL_ERRORS,
    TIMEOUT_S,
    Admin,
    TopicMetadata,
    consumer_config,
    explain,
    fetch,
)
from barograph_server.streams.dead_letters.dead_letter import Resolution, position_in_key
from barograph_server.streams.events.batch import ReplayedDeadLetter
from barograph_server.streams.settings import ProcessorSettings

MAX_KNOWN = 200_000
"""Resolutions that are kept in memory, the latest ones: some 50 MB. Replayed messages arrive in the order of their
resolutions, which are read only as far as the messages require."""
WAIT_S = 10.0
"""How long to wait without progress; then a message counts as unverified. A message may become readable before its
resolution, since the broker ends a transaction in each partition separately. That usually takes milliseconds."""
LOG_S = 60.0
"""Shortest time between two log lines about unverified messages: a producer can send any number of them."""
POLL_MESSAGES, POLL_S = 1_000, 0.05
_TOKEN: Final = re.compile(r"[0-9a-f]{32}")
_RESOLUTIONS = msgspec.json.Decoder(Resolution)


class ReplayVerifier:
    """Looks up replay tokens in the topic `dead-letters`."""

    def __init__(
        self,
        settings: ProcessorSettings,
        name: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        make_consumer: Callable[[dict[str, Any]], Any] = Consumer,
        end_offsets: Callable[[], Mapping[int, int]] | None = None,
    ) -> None:
        """Prepare; nothing is read before the first token.

        Args:
            make_consumer: creates a confluent-kafka consumer from its configuration.
            end_offsets: returns the end of each partition of `dead-letters`, resolutions of open transactions included;
                None asks the broker.
        """
        self._settings, self._monotonic, self._make_consumer = settings, monotonic, make_consumer
        self._topic = settings.topics.dead_letters
        self._end_offsets = end_offsets or self._query_end_offsets
        self._log = structlog.get_logger().bind(processor=name, instance=settings.instance)
        self._known: dict[str, ReplayedDeadLetter] = {}
        """By token, in the order in which they were read."""
        self._next: dict[int, int] = {}
        """Partition → the next offset to read."""
        self._consumer: Any = None
        self._clients: tuple[Admin, TopicMetadata] | None = None
        self._unverified = 0
        """Messages since the last log line."""
        self._logged_s = float("-inf")

    def verify(self, tokens: Collection[str]) -> dict[str, ReplayedDeadLetter]:
        """Return the replayed dead letters by token; tokens that no committed resolution has are missing.

        Args:
            tokens: one for each message that claims to be a replay; empty if it has none.
        """
        requested = {token for token in tokens if _TOKEN.fullmatch(token)}
        verified = {token: self._known[token] for token in requested if token in self._known}
        if len(verified) < len(requested):
            try:
                self._read(requested, verified)
            except KafkaException as error:
                raise explain(error, f"read {self._topic}") from error
        self._report(sum(token not in verified for token in tokens))
        return verified

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = None

    def _read(self, requested: set[str], verified: dict[str, ReplayedDeadLetter]) -> None:
        """Read resolutions until all requested tokens are verified, or to the end that the topic has now."""
        ends = self._end_offsets()
        if any(self._next.get(partition, 0) > end for partition, end in ends.items()):
            self._next = {}  # the topic was deleted and recreated
        unread = {partition for partition, end in ends.items() if self._next.get(partition, 0) < end}
        if not unread:
            return
        if self._consumer is None:
            config = consumer_config(self._settings, "dead-letters") | {"enable.partition.eof": True}
            self._consumer = self._make_consumer(config)
        self._consumer.assign([TopicPartition(self._topic, p, self._next.get(p, OFFSET_BEGINNING)) for p in unread])
        deadline_s = self._monotonic() + WAIT_S
        while unread and len(verified) < len(requested):
            progressed = False
            for message in fetch(self._consumer, POLL_MESSAGES, POLL_S, f"read {self._topic}"):
                partition, error = message.partition(), message.error()
                if error is None:
                    token = self._add(message)
                    if token in requested:
                        verified[token] = self._known[token]
                    self._next[partition] = message.offset() + 1
                    progressed = True
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._next[partition] = message.offset()
                elif error.code() in (*FATAL_ERRORS, KafkaError._AUTO_OFFSET_RESET):
                    raise KafkaException(error)
                else:
                    continue
                if self._next[partition] >= ends[partition]:
                    unread.discard(partition)
            if progressed:
                deadline_s = self._monotonic() + WAIT_S
            elif self._monotonic() >= deadline_s:
                break
        self._consumer.unassign()

    def _query_end_offsets(self) -> dict[int, int]:
        if self._clients is None:
            admin = Admin(self._settings.bootstrap_servers, self._settings.kafka)
            self._clients = admin, TopicMetadata(self._settings)
        admin, topics = self._clients
        _, partitions = topics.describe(self._topic)
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        queries = {TopicPartition(self._topic, partition): latest for partition in range(partitions)}
        futures = admin.client.list_offsets(queries, request_timeout=TIMEOUT_S)
        action = f"list the offsets of {self._topic}"
        return {tp.partition: int(admin.result(future, action).offset) for tp, future in futures.items()}

    def _add(self, message: Any) -> str:
        """Add a resolution and return its token; empty if it is none of a replay."""
        try:
            resolution = _RESOLUTIONS.decode(message.value() or b"")
            position = position_in_key((message.key() or b"").decode())
        except ValueError:
            return ""  # `barograph dead-letters` reports it
        if resolution.state != "replayed" or position is None or not resolution.token:
            return ""
        self._known[resolution.token] = ReplayedDeadLetter(str(position), resolution.counted)
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return resolution.token

    def _report(self, unverified: int) -> None:
        self._unverified += unverified
        if self._unverified and self._monotonic() - self._logged_s >= LOG_S:
            self._log.warning(
                "replay headers ignored: no committed replay of `barograph dead-letters` sent these messages",
                messages=self._unverified,
            )
            self._unverified, self._logged_s = 0, self._monotonic()
