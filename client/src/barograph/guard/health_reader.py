"""Follows the record of one model on a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from barograph.guard.health import ModelHealth, decode_health
from barograph.topic_reader import TopicReader, check_sequence

_LOG = logging.getLogger("barograph.guard")


class HealthReader:
    """Reads the topic from its beginning and then follows it. No error of Kafka leaves the thread."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        topic: str,
        model: str,
        on_record: Callable[[ModelHealth, bool], None],
        on_tick: Callable[[], None],
    ) -> None:
        """Prepare the reader; `start` starts it.

        Args:
            settings: librdkafka settings with `bootstrap.servers`.
            model: The model whose records are read.
            on_record: Called with each record, and whether it was written after the reader had caught up.
            on_tick: Called several times a second while Kafka answers, and every few seconds while it does not.
        """
        self._topic, self._model, self._on_record = topic, model, on_record
        self._has_unreadable_record = False
        self._reader = TopicReader(
            settings,
            topic,
            "barograph-guard",
            self._receive,
            on_tick,
            purpose=f"the state of model {model}",
            log=_LOG,
        )

    def start(self) -> None:
        """Start the thread."""
        self._reader.start()

    def stop(self, timeout_s: float) -> None:
        """Stop the thread and wait for it."""
        self._reader.stop(timeout_s)

    def restart_after_fork(self) -> None:
        """In a forked child: abandon the parent's consumer and start over."""
        self._reader.restart_after_fork()

    def _receive(self, message: Any, is_new: bool) -> None:
        key, value = message.key(), message.value()
        if key != self._model.encode() or value is None:
            return
        try:
            record = decode_health(value)
            check_sequence(record.sequence, message)
            if record.model != self._model:
                raise ValueError(f"the record is about model {record.model!r}")
        except ValueError as error:
            if not self._has_unreadable_record:
                self._has_unreadable_record = True
                _LOG.warning(
                    "an unreadable record of model %s in topic %s is ignored, as are further ones: offset %s: %s",
                    *(self._model, self._topic, message.offset(), error),
                )
            return
        self._on_record(record, is_new)
