"""Recorded answers go to the evaluator through `waiting-answers`, for `barograph evaluations run`.

The evaluator reads each message of a topic once. So an answer is evaluated once if it is queued after the evaluator has
read it in `predictions`, is not in `waiting-answers`, and has no evaluation, recorded or not. One command queues at any
time: it fences the one before, and then reads what that one queued.
"""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING

from barograph_server.streams.broker.client import Admin, TopicMetadata, is_transient
from barograph_server.streams.broker.compacted_log import OnlyWriter, read_on
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.due_answer import DueAnswer, decode_due
from barograph_server.streams.evaluator.evaluation import MAX_MEMBER_CHARS, Evaluation
from barograph_server.streams.evaluator.worker import GROUP
from barograph_server.streams.runtime.backoff import Backoff
from barograph_server.streams.settings import ProcessorSettings

RECORDER = "recorder"
AnswerKey = tuple[str, str, str]
"""An evaluator, and the id and version of an answer; the version as evaluations have it."""


def answer_key(evaluator: str, answer: Answer) -> AnswerKey:
    """Return what identifies the evaluation of an answer by one version of an evaluator."""
    return evaluator, answer.id, answer.version[:MAX_MEMBER_CHARS]


class _EvaluationEvent(msgspec.Struct):
    model: str
    version: str
    id: str
    context: dict[str, str]


_decode_evaluation = msgspec.json.Decoder(_EvaluationEvent).decode


class RecordedAnswers:
    """Queues recorded answers of one model."""

    def __init__(self, settings: ProcessorSettings) -> None:
        """Name the topics; `open` connects."""
        self._settings, self._topics = settings, settings.topics
        self._admin = Admin(settings.bootstrap_servers, settings.kafka)
        self._writer = OnlyWriter(
            settings,
            "evaluations",
            settings.topics.waiting_answers,
            fenced_error="Another `barograph evaluations run` has started, and only one runs at a time. What this one "
            "queued will be evaluated.",
        )
        self.topic_id = ""
        """The incarnation of `predictions`."""
        self.read: list[int] = []
        """Offset up to which the evaluator has read each partition of `predictions`."""
        self.waiting: set[AnswerKey] = set()
        """Evaluations for which answers wait already."""
        self.unrecorded: set[AnswerKey] = set()
        """Evaluations that the recorder may not have stored yet."""

    def open(self, model: str, versions: Mapping[str, str]) -> None:
        """Fence other commands, and read what is evaluated or waits.

        Args:
            versions: model of an evaluator → the version whose evaluations count.

        Raises:
            ProcessorError: no evaluator or no recorder runs, or Kafka does not answer.
        """
        self.require_members()
        self._writer.fence()
        metadata = TopicMetadata(self._settings)
        self.topic_id, n_partitions = metadata.describe(self._topics.predictions)
        _, n_waiting = metadata.describe(self._topics.waiting_answers)
        # First what waits: an answer that is evaluated meanwhile is found in both.
        own = [(self._topics.predictions, each) for each in range(n_partitions)]
        waiting = [(self._topics.waiting_answers, each) for each in range(n_waiting)]
        committed = self._committed(GROUP, own + waiting)
        self.read = [max(0, committed[each]) for each in own]
        for message in self._messages(self._topics.waiting_answers, [committed[each] for each in waiting]):
            try:
                due = decode_due(message.value() or b"")
            except msgspec.DecodeError:
                continue
            if due.answer.model == model:
                self.waiting.add(answer_key(due.evaluator, due.answer))
        recorded = self._committed(RECORDER, own)
        for message in self._messages(self._topics.predictions, [recorded[each] for each in own]):
            try:
                event = _decode_evaluation(message.value() or b"")
            except msgspec.DecodeError:
                continue
            if versions.get(event.model) == event.version and "version" in event.context:
                self.unrecorded.add((event.model.removeprefix(f"{model}."), event.id, event.context["version"]))

    def require_members(self) -> None:
        """Check that an evaluator and a recorder run."""
        for group in (GROUP, RECORDER):
            name = f"{self._topics.prefix}{group}"
            # A group that has just been created has no coordinator for a moment.
            if not Backoff(0.1, 2.0, max_attempts=8).retry(partial(self._admin.members, name), is_transient):
                raise ProcessorError(f"No {group} runs, which this command needs: start `barograph run {group}`.")

    def queue(self, answers: Iterable[tuple[str, str, float, Answer]]) -> None:
        """Queue answers in one transaction.

        Args:
            answers: evaluator, its version, the probability with which the answer was chosen, and the answer.
        """
        now_ms = int(time.time() * 1000)
        messages = [
            # An answer that has waited waits for budget, too.
            {"value": msgspec.json.encode(DueAnswer(answer, name, share, now_ms, Evaluation(), only_version=version))}
            for name, version, share, answer in answers
        ]
        if messages and not self._writer.publish(messages):
            raise ProcessorError("Kafka did not accept the answers: run the command again.")

    def _committed(self, group: str, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return a group's committed offset by partition; `OFFSET_BEGINNING` where it has none."""
        offsets = self._admin.committed(f"{self._topics.prefix}{group}", partitions)
        return {(tp.topic, tp.partition): tp.offset if tp.offset >= 0 else OFFSET_BEGINNING for tp in offsets}

    def _messages(self, topic: str, starts: list[int]) -> Iterable[Any]:
        return read_on(self._settings, "evaluations-restore", topic, starts)
