"""Replays and drops dead letters, each exactly once.

Replaying a dead letter sends two messages in one Kafka transaction: its bytes to the source topic, and its
resolution to `dead-letters`. Consumers see both or neither, since all readers here read committed messages only. Both
carry one random token, by which processors distinguish a replay from a message that only claims to be one. Every
run uses the same transactional id: `init_transactions` completes or aborts the open transaction of a killed predecessor
and fences a predecessor that is still running. The resolutions are read after that, so they are complete and nobody
else can add to them. So a run that is killed at any point and started again sends no dead letter twice and omits none.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER
from confluent_kafka import KafkaError, KafkaException, Producer

from barograph_server.streams.broker.client import TIMEOUT_S, explain, transactional_producer
from barograph_server.streams.broker.transactions import end_transaction, send
from barograph_server.streams.dead_letters.dead_letter import DeadLetter, Resolution
from barograph_server.streams.dead_letters.reader import DeadLetterFilter, DeadLetterReader
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.events.batch import DEAD_LETTER_HEADER, TOKEN_HEADER
from barograph_server.streams.settings import ProcessorSettings

NAME = "dead-letters"
"""Name of the transactional producer."""
TRANSACTION_DEAD_LETTERS, TRANSACTION_BYTES = 500, 8 << 20
"""Most dead letters and bytes of one transaction: consumers of the source topic wait until it is committed."""


@dataclass(slots=True)
class ReplaySummary:
    """Counts of dead letters that one run resolved or skipped."""

    resolved: Counter[str] = field(default_factory=Counter)
    """Dead letters replayed or dropped, by source topic."""
    rejected_again: int = 0
    """Skipped: they were replayed before and rejected again."""
    partials: int = 0
    """Skipped: records of `partials` cannot be replayed."""
    without_bytes: int = 0
    """Skipped: their bytes were not kept."""
    over_limit: int = 0
    """Left for another run by the limit."""


class DeadLetterReplayer:
    """Replays and drops dead letters. Starting one fences any other in the cluster."""

    def __init__(
        self,
        settings: ProcessorSettings,
        *,
        make_producer: Callable[[ProcessorSettings, str], Producer] = transactional_producer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # All runs share one transactional id, on every machine.
        self._producer = make_producer(replace(settings, instance="all"), NAME)
        self._settings, self._clock = settings, clock
        self._reader = DeadLetterReader(settings)

    def replay(self, criteria: DeadLetterFilter, *, again: bool = False, limit: int | None = None) -> ReplaySummary:
        """Send the stored bytes of dead letters to their source topics and mark them as replayed.

        Args:
            again: whether to replay those that were replayed before and rejected again.
        """
        summary = ReplaySummary()
        partitions: dict[str, int] = {}

        def select(dead_letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
            for dead_letter in dead_letters:
                if dead_letter.state == "replayed":
                    continue
                if dead_letter.source_topic == self._settings.topics.partials:
                    summary.partials += 1
                elif not dead_letter.has_bytes:
                    summary.without_bytes += 1
                elif dead_letter.replay_of and not again:
                    summary.rejected_again += 1
                else:
                    self._check_source(dead_letter, partitions)
                    yield dead_letter

        def resolution(dead_letter: DeadLetter) -> Resolution:
            token = secrets.token_hex(16)
            return Resolution(state="replayed", at_ms=self._now_ms(), token=token, counted=dead_letter.counted)

        self._resolve(criteria, select, resolution, summary, limit)
        return summary

    def drop(self, criteria: DeadLetterFilter, reason: str, *, limit: int | None = None) -> ReplaySummary:
        """Mark dead letters as dropped. They stay in their topic until retention deletes them."""
        summary = ReplaySummary()

        def select(dead_letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
            return (dead_letter for dead_letter in dead_letters if dead_letter.state == "waiting")

        def resolution(_: DeadLetter) -> Resolution:
            return Resolution(state="dropped", at_ms=self._now_ms(), reason=reason)

        self._resolve(criteria, select, resolution, summary, limit)
        return summary

    def _resolve(
        self,
        criteria: DeadLetterFilter,
        select: Callable[[Iterable[DeadLetter]], Iterator[DeadLetter]],
        resolution: Callable[[DeadLetter], Resolution],
        summary: ReplaySummary,
        limit: int | None,
    ) -> None:
        try:
            self._producer.init_transactions(TIMEOUT_S * 2)
        except KafkaException as error:
            raise explain(error, "start transactions") from error
        # Only now: a predecessor's transaction may have been undecided before.
        resolutions = self._reader.resolutions()
        batch: list[DeadLetter] = []
        n = n_bytes = 0
        for dead_letter in select(self._reader.dead_letters(criteria, resolutions)):
            if limit is not None and n >= limit:
                summary.over_limit += 1
                continue
            n += 1
            batch.append(dead_letter)
            n_bytes += len(dead_letter.value)
            if len(batch) >= TRANSACTION_DEAD_LETTERS or n_bytes >= TRANSACTION_BYTES:
                self._commit(batch, resolution, summary)
                batch, n_bytes = [], 0
        if batch:
            self._commit(batch, resolution, summary)

    def _check_source(self, dead_letter: DeadLetter, partitions: dict[str, int]) -> None:
        """Check that a dead letter's source partition exists; `partitions` caches their number by topic."""
        topics, source = self._settings.topics, dead_letter.source_topic
        if source not in (topics.predictions, topics.labels):
            raise ProcessorError(
                f"Dead letter {dead_letter.position} names {source or 'no topic'} as its source, which is not a source "
                f"topic of Barograph under the prefix {topics.prefix!r}: drop it, or leave it out."
            )
        if source not in partitions:
            partitions[source] = self._reader.partitions(source)
        if not 0 <= dead_letter.source_partition < partitions[source]:
            raise ProcessorError(
                f"Dead letter {dead_letter.position} came from partition {dead_letter.source_partition} of {source}, "
                f"which has {partitions[source]} now: add partitions with `barograph apply`, or leave it out."
            )

    def _commit(
        self, batch: list[DeadLetter], resolution: Callable[[DeadLetter], Resolution], summary: ReplaySummary
    ) -> None:
        """Resolve dead letters in one transaction."""
        try:
            self._producer.begin_transaction()
            for dead_letter in batch:
                outcome = resolution(dead_letter)
                if outcome.state == "replayed":
                    send(self._producer, dead_letter.source_topic, original_message(dead_letter, outcome.token))
                record = {"key": dead_letter.key, "value": msgspec.json.encode(outcome)}
                send(self._producer, self._settings.topics.dead_letters, record)
            end_transaction(self._producer)
        except KafkaException as error:
            self._fail(error)
        for dead_letter in batch:
            summary.resolved[dead_letter.source_topic] += 1

    def _fail(self, error: KafkaException) -> None:
        """Abort the transaction if possible and raise the explanation."""
        cause = error.args[0]
        if cause.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH):
            raise ProcessorError(
                "Another `barograph dead-letters` started meanwhile and continues from here. The dead letters that "
                "this run committed are marked; nothing else was sent."
            ) from error
        if not cause.fatal():
            try:
                self._producer.abort_transaction(TIMEOUT_S)
            except KafkaException as failed:
                raise explain(failed, "abort a transaction") from failed
        raise ProcessorError(
            f"Kafka refused a transaction: {cause.str()} ({cause.name()}). The dead letters that were committed before "
            "are marked; run the same command again for the rest."
        ) from error

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def original_message(dead_letter: DeadLetter, token: str) -> dict[str, Any]:
    """Return the keyword arguments of `Producer.produce` for a dead letter's original message, with a link to it.

    The partition is the original one: all labels of one id are in one partition.
    """
    headers: list[tuple[str, bytes]] = [
        (DEAD_LETTER_HEADER, str(dead_letter.position).encode()),
        (TOKEN_HEADER, token.encode()),
    ]
    if dead_letter.is_arrow:
        headers.append((CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE))
    return {"value": dead_letter.value, "partition": dead_letter.source_partition, "headers": headers}
