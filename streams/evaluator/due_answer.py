"""Answers that are to be evaluated, at once or later: records of the topic `waiting-answers`."""

import msgspec

from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.evaluation import Evaluation
from barograph_server.streams.evaluator.judges.errors import OF_ENDPOINT, JudgeErrorCode

MAX_FAILURES = 3
"""Failed tries of an answer, between which its endpoint answered for others, after which its error is recorded."""


class DueAnswer(msgspec.Struct, frozen=True):
    """An answer that one evaluator is to evaluate."""

    answer: Answer
    evaluator: str
    share: float
    received_ms: int
    """When Kafka received it."""
    last: Evaluation | None = None
    """Of an answer that waits, why it has no result yet, with what all tries used."""
    failures: int = 0
    """Failed tries while the endpoint answered for others."""
    failed_ms: int = 0
    """When the latest request for it failed."""
    only_version: str = ""
    """The version of the evaluator for which a command queued a recorded answer; empty: any."""

    @property
    def has_waited(self) -> bool:
        """Whether it was read from `waiting-answers`."""
        return self.last is not None

    def waiting(self, last: Evaluation) -> "DueAnswer":
        """Return the answer as it waits for its next try."""
        return msgspec.structs.replace(self, last=last)

    def after_try(self, evaluation: Evaluation, answered_ms: int, now_ms: int) -> "DueAnswer | None":
        """Return the answer that waits after a try, or None if its evaluation is to be recorded.

        An error of the endpoint is not that of the answer, unless the endpoint goes on answering for others.

        Args:
            answered_ms: when the endpoint last answered; -1 for never.
        """
        if evaluation.error not in OF_ENDPOINT:
            return None
        failures, failed_ms = self.failures, self.failed_ms
        if evaluation.error != JudgeErrorCode.BREAKER:
            failures, failed_ms = failures + (answered_ms >= failed_ms), now_ms
        if failures >= MAX_FAILURES:
            return None
        return msgspec.structs.replace(self, last=evaluation, failures=failures, failed_ms=failed_ms)


decode_due = msgspec.json.Decoder(DueAnswer).decode
