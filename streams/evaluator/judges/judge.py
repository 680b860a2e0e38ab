"""Judges one answer by the majority of votes of one or several models."""

import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from barograph_server.streams.evaluator.judges.chat import ChatModel, Completion
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode, JudgeSettingsError
from barograph_server.streams.evaluator.judges.messages import judge_request, rubric_hash
from barograph_server.streams.evaluator.judges.rubric import AnswerClass, JudgedTexts, Rubric

MAX_REASON_CHARS = 500
Preference = Literal["first", "second", "tie"]
_FENCE = re.compile(r"\s*```[\w-]*[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """What one answer of a judge says."""

    answer_class: AnswerClass
    score: int | None
    reason: str
    """At most `MAX_REASON_CHARS` characters, on one line."""


def read_result(rubric: Rubric, completion: Completion) -> JudgeResult:
    """Read a class or a score.

    Raises:
        JudgeError: the answer is not one JSON object, or its value is outside the scale.
    """
    members = _read_object(completion)
    if rubric.scores:
        score = members.get("score")
        if type(score) is not int or not rubric.scores.low <= score <= rubric.scores.high:
            expected = f"a whole number from {rubric.scores.low} to {rubric.scores.high}"
            raise _outside("score", expected)
        return JudgeResult(rubric.scores.class_of(score), score, _reason(members))
    value = members.get("class")
    if value == "faulty":
        return JudgeResult("faulty", None, _reason(members))
    if value == "sound":
        return JudgeResult("sound", None, _reason(members))
    raise _outside("class", "faulty or sound")


def read_preference(completion: Completion) -> tuple[Preference, str]:
    """Read which answer is better, and the reason.

    Raises:
        JudgeError: as for `read_result`.
    """
    members = _read_object(completion)
    value: Preference
    for value in ("first", "second", "tie"):
        if members.get("better") == value:
            return value, _reason(members)
    raise _outside("better", "first, second or tie")


def _read_object(completion: Completion) -> dict[str, Any]:
    fence = _FENCE.fullmatch(completion.text)
    repeated = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        repeated = repeated or len(dict(pairs)) < len(pairs)
        return dict(pairs)

    try:
        value = json.loads(completion.text if fence is None else fence[1], object_pairs_hook=members)
    except (ValueError, RecursionError):
        advice = "Use a server with structured output, or a larger model"
        if completion.finish_reason == "length":
            advice = "It ends at the limit of tokens; raise max_tokens of the rubric"
        raise JudgeError(JudgeErrorCode.PROSE, f"The judge does not answer with JSON alone. {advice}.") from None
    if not isinstance(value, dict):
        raise JudgeError(JudgeErrorCode.NO_VERDICT, "The judge answers with JSON that is not an object.")
    if repeated:
        raise JudgeError(JudgeErrorCode.NO_VERDICT, "The judge repeats a member of its result.")
    return value


def _outside(member: str, expected: str) -> JudgeError:
    return JudgeError(JudgeErrorCode.NO_VERDICT, f"The member {member} of the judge's result is not {expected}.")


def _reason(members: dict[str, Any]) -> str:
    reason = members.get("reason")
    text = " ".join(reason.split()) if isinstance(reason, str) else ""
    return text[:MAX_REASON_CHARS].encode("utf-8", "replace").decode()


MAX_VOTES = 25


@dataclass(frozen=True, slots=True)
class JudgeVote:
    """One vote: a result, or the reason why there is none."""

    model: str
    result: JudgeResult | None
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float
    """Time of the vote with its retries."""
    attempts: int
    error: JudgeErrorCode | None = None
    message: str = ""
    """For logs, if there is an error."""


@dataclass(frozen=True, slots=True)
class JudgeVerdict:
    """The result of all votes. Without a class there is an error."""

    answer_class: AnswerClass | None
    score: float | None
    """Median of the votes' scores; None for a rubric without scores."""
    reason: str
    """Of the first vote for the class."""
    votes: tuple[JudgeVote, ...]
    latency_ms: float
    """Time of all votes."""
    error: JudgeErrorCode | None = None
    message: str = ""

    @property
    def attempts(self) -> int:
        """Requests that were sent."""
        return sum(vote.attempts for vote in self.votes)

    @property
    def input_tokens(self) -> int | None:
        """Tokens that the endpoints report for the messages; None if no endpoint reports them."""
        return _sum([vote.input_tokens for vote in self.votes])

    @property
    def output_tokens(self) -> int | None:
        """Tokens that the endpoints report for the results; None if no endpoint reports them."""
        return _sum([vote.output_tokens for vote in self.votes])


class Judge:
    """Evaluates answers by a rubric. Several threads may share it."""

    def __init__(
        self, rubric: Rubric, models: Sequence[ChatModel], votes: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Configure the votes.

        Args:
            models: each gives `votes` votes.
            votes: votes of one model; the seed of each is one higher. With the temperature 0 they hardly differ.

        Raises:
            JudgeSettingsError: there is no vote, or there are more than `MAX_VOTES`.
        """
        if not 1 <= len(models) * votes <= MAX_VOTES:
            raise JudgeSettingsError(
                f"{len(models)} models with {votes} votes each are {len(models) * votes} votes; use 1 to {MAX_VOTES}."
            )
        self.rubric, self._models, self._n_votes, self._clock = rubric, tuple(models), votes, clock
        self.version = rubric_hash(rubric, *(model.model for model in models), votes=votes)
        """Version of the evaluator's model."""

    def evaluate(self, texts: JudgedTexts) -> JudgeVerdict:
        """Judge an answer; failures are in the verdict."""
        began_s = self._clock()
        votes = tuple(self._vote(model, texts, vote) for model in self._models for vote in range(self._n_votes))
        return combine_votes(votes, 1000.0 * (self._clock() - began_s))

    def _vote(self, model: ChatModel, texts: JudgedTexts, vote: int) -> JudgeVote:
        began_s, completion, attempts = self._clock(), None, 0
        result: JudgeResult | None = None
        code: JudgeErrorCode | None = None
        message = ""
        try:
            request = judge_request(self.rubric, texts, vote)
            completion = model.complete(request)
            attempts = completion.attempts
            result = read_result(self.rubric, completion)
        except JudgeError as error:
            code, message = error.code, str(error)
            if completion is None and code not in (JudgeErrorCode.MISSING_INPUT, JudgeErrorCode.TOO_LONG):
                attempts = error.attempts
        return JudgeVote(
            model.model,
            result,
            completion.input_tokens if completion else None,
            completion.output_tokens if completion else None,
            1000.0 * (self._clock() - began_s),
            attempts,
            code,
            message,
        )


def combine_votes(votes: tuple[JudgeVote, ...], latency_ms: float) -> JudgeVerdict:
    """Return the class with more than half of all votes.

    Failed votes count as votes, so that two failures of three do not leave the decision to the third. Without a
    majority, the error is `judge-disagreement` if the votes with a result are a tie, else that of the first failed
    vote.

    Args:
        votes: at least one.
    """
    results = [vote.result for vote in votes if vote.result is not None]
    for answer_class in ("faulty", "sound"):
        supporting = [result for result in results if result.answer_class == answer_class]
        if 2 * len(supporting) > len(votes):
            scores = [result.score for result in results if result.score is not None]
            score = float(statistics.median(scores)) if scores else None
            return JudgeVerdict(supporting[0].answer_class, score, supporting[0].reason, votes, latency_ms)
    n_faulty = sum(result.answer_class == "faulty" for result in results)
    failed = next((vote for vote in votes if vote.error is not None), None)
    if failed is None or (results and 2 * n_faulty == len(results)):
        message = f"{n_faulty} votes are for faulty, {len(results) - n_faulty} for sound, and no class has a majority."
        return JudgeVerdict(None, None, "", votes, latency_ms, JudgeErrorCode.DISAGREEMENT, message)
    return JudgeVerdict(None, None, "", votes, latency_ms, failed.error, failed.message)


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
