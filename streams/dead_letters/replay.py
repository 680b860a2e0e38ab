"""Replaying and dropping dead letters, each exactly once.

A letter that is replayed is two messages in one Kafka transaction: its original bytes to the topic that they came from,
and its mark to `dead-letters`. Either both are seen or neither, since every reader of ours reads committed messages
only. All of it is done under one transactional id: `init_transactions` ends whatever a killed predecessor left open,
one way or the other, and refuses every further write of a predecessor that still lives. The marks are read after that,
so they hold all that was ever done, and nobody else can add to them. Hence, killed at any point and started again, no
letter is sent twice and none is left out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER
from confluent_kafka import KafkaError, KafkaException, Producer

from streams.broker.client import TIMEOUT_S, explain, transactional_producer
from streams.broker.transactions import end_transaction, send
from streams.dead_letters.dead_letter import DeadLetter, Resolution
from streams.dead_letters.reader import DeadLetterFilter, DeadLetterReader
from streams.errors import ProcessorError
from streams.events.batch import COUNTED_HEADER, DEAD_LETTER_HEADER
from streams.settings import ProcessorSettings

NAME = "dead-letters"
BATCH_LETTERS, BATCH_BYTES = 500, 8 << 20
"""Of one transaction: readers wait until it is committed."""


@dataclass(slots=True)
class Settled:
    """What one run did."""

    done: Counter[str] = field(default_factory=Counter)
    """Source topic → letters."""
    came_back: int = 0
    """Left alone, since they are replayed letters that came back."""
    partials: int = 0
    """Left alone, since records of `partials` cannot be replayed."""
    without_bytes: int = 0
    """Left alone, since their bytes were not kept."""
    left: int = 0
    """Left for another run, by the limit."""


class DeadLetterReplayer:
    """Replays and drops; one at a time in the whole cluster, the last that began."""

    def __init__(
        self,
        settings: ProcessorSettings,
        *,
        make_producer: Callable[[ProcessorSettings, str], Producer] = transactional_producer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # One transactional id for everybody, wherever it is called.
        self._producer = make_producer(replace(settings, instance="all"), NAME)
        self._settings, self._clock = settings, clock
        self._reader = DeadLetterReader(settings)

    def replay(self, wanted: DeadLetterFilter, *, again: bool = False, limit: int | None = None) -> Settled:
        """Send the original bytes of letters back to where they came from, and mark them as replayed.

        Args:
            wanted: which letters.
            again: also those that were replayed before and came back.
            limit: at most this many.

        Raises:
            ProcessorError: Kafka refuses, or another run began meanwhile; what was committed is marked.
        """
        settled = Settled()
        sources: dict[str, int] = {}

        def chosen(letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
            for letter in letters:
                if letter.state == "replayed":
                    continue
                if letter.source_topic == self._settings.topics.partials:
                    settled.partials += 1
                elif not letter.has_bytes:
                    settled.without_bytes += 1
                elif letter.replay_of and not again:
                    settled.came_back += 1
                else:
                    self._check_source(letter, sources)
                    yield letter

        self._settle(wanted, chosen, lambda letter: Resolution(state="replayed", at_ms=self._now_ms()), settled, limit)
        return settled

    def drop(self, wanted: DeadLetterFilter, reason: str, *, limit: int | None = None) -> Settled:
        """Mark letters as dropped; they stay in their topic as long as that keeps them.

        Raises:
            ProcessorError: as with `replay`.
        """
        settled = Settled()

        def chosen(letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
            return (letter for letter in letters if letter.state == "waiting")

        self._settle(
            wanted, chosen, lambda _: Resolution(state="dropped", at_ms=self._now_ms(), reason=reason), settled, limit
        )
        return settled

    def _settle(
        self,
        wanted: DeadLetterFilter,
        chosen: Callable[[Iterable[DeadLetter]], Iterator[DeadLetter]],
        mark: Callable[[DeadLetter], Resolution],
        settled: Settled,
        limit: int | None,
    ) -> None:
        try:
            self._producer.init_transactions(TIMEOUT_S * 2)
        except KafkaException as error:
            raise explain(error, "start transactions") from error
        # Not before: only now is all decided that a predecessor began.
        marks = self._reader.resolutions()
        batch: list[DeadLetter] = []
        n = n_bytes = 0
        for letter in chosen(self._reader.dead_letters(wanted, marks)):
            if limit is not None and n >= limit:
                settled.left += 1
                continue
            n += 1
            batch.append(letter)
            n_bytes += len(letter.value)
            if len(batch) >= BATCH_LETTERS or n_bytes >= BATCH_BYTES:
                self._commit(batch, mark, settled)
                batch, n_bytes = [], 0
        if batch:
            self._commit(batch, mark, settled)

    def _check_source(self, letter: DeadLetter, sources: dict[str, int]) -> None:
        topics = self._settings.topics
        if letter.source_topic not in (topics.predictions, topics.labels):
            raise ProcessorError(
                f"Letter {letter.position} says that it came from {letter.source_topic or 'nowhere'}, which is no source "
                f"of Barograph under the prefix {topics.prefix!r}: drop it, or leave it out."
            )
        if letter.source_topic not in sources:
            sources[letter.source_topic] = self._reader.partitions(letter.source_topic)
        if not 0 <= letter.source_partition < sources[letter.source_topic]:
            raise ProcessorError(
                f"Letter {letter.position} came from partition {letter.source_partition} of {letter.source_topic}, which "
                f"has {sources[letter.source_topic]} now: add partitions with `barograph apply`, or leave it out."
            )

    def _commit(self, batch: list[DeadLetter], mark: Callable[[DeadLetter], Resolution], settled: Settled) -> None:
        """Settle some letters in one transaction."""
        try:
            self._producer.begin_transaction()
            for letter in batch:
                made = mark(letter)
                if made.state == "replayed":
                    send(self._producer, letter.source_topic, original(letter))
                told = {"key": letter.key, "value": msgspec.json.encode(made)}
                send(self._producer, self._settings.topics.dead_letters, told)
            end_transaction(self._producer)
        except KafkaException as error:
            self._give_up(error)
        for letter in batch:
            settled.done[letter.source_topic] += 1

    def _give_up(self, error: KafkaException) -> None:
        cause = error.args[0]
        if cause.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH):
            raise ProcessorError(
                "Another `barograph dead-letters` began meanwhile and goes on from here. What this one had committed "
                "is marked; nothing else was sent."
            ) from error
        if not cause.fatal():
            try:
                self._producer.abort_transaction(TIMEOUT_S)
            except KafkaException as failed:
                raise explain(failed, "abort a transaction") from failed
        raise ProcessorError(
            f"Kafka refused a transaction: {cause.str()} ({cause.name()}). What was committed before is marked; run "
            "the same again for the rest."
        ) from error

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def original(letter: DeadLetter) -> dict[str, Any]:
    """Keyword arguments of `Producer.produce` for the message that a letter was, and the link back to it.

    The partition is the original one: all labels of one id lie on one.
    """
    headers: list[tuple[str, bytes]] = [(DEAD_LETTER_HEADER, str(letter.position).encode())]
    if letter.is_arrow:
        headers.append((CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE))
    if letter.counted:
        headers.append((COUNTED_HEADER, b"1"))
    return {"value": letter.value, "partition": letter.source_partition, "headers": headers}
