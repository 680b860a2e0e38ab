"""Compares two answers in both orders. Many judges prefer a position, so only a preference in both orders counts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from barograph_server.streams.evaluator.judges.chat import ChatModel
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode
from barograph_server.streams.evaluator.judges.judge import Preference, read_preference
from barograph_server.streams.evaluator.judges.messages import pair_request
from barograph_server.streams.evaluator.judges.rubric import JudgedTexts, Rubric


@dataclass(frozen=True, slots=True)
class PairOrder:
    """A comparison in one order."""

    better: Preference | None
    """The better answer, whatever its position was; None if the judge gave no result."""
    reason: str = ""
    """In the judge's words, so that "first" is the position in this order."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: JudgeErrorCode | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """A comparison in both orders."""

    better: Preference | None
    """`tie` if the orders contradict each other; None if one has no result."""
    as_given: PairOrder
    swapped: PairOrder
    latency_ms: float

    @property
    def error(self) -> JudgeErrorCode | None:
        """The first error of the orders."""
        return self.as_given.error or self.swapped.error


def compare_pair(
    rubric: Rubric, model: ChatModel, texts: JudgedTexts, other: str, clock: Callable[[], float] = time.monotonic
) -> PairVerdict:
    """Compare an answer with another one to the same prompt.

    Args:
        rubric: what is judged. Its examples are of single answers, and are not used.
        texts: the first answer, with the other inputs.
    """
    began_s = clock()
    as_given = _compare(rubric, model, texts, other)
    swapped = _compare(rubric, model, replace(texts, answer=other), texts.answer)
    swapped = replace(swapped, better=_swap(swapped.better))
    better: Preference | None = None
    if as_given.better and swapped.better:
        better = as_given.better if as_given.better == swapped.better else "tie"
    return PairVerdict(better, as_given, swapped, 1000.0 * (clock() - began_s))


def _compare(rubric: Rubric, model: ChatModel, texts: JudgedTexts, other: str) -> PairOrder:
    completion = None
    try:
        completion = model.complete(pair_request(rubric, texts, other))
        better, reason = read_preference(completion)
    except JudgeError as error:
        tokens = (completion.input_tokens, completion.output_tokens) if completion else (None, None)
        return PairOrder(None, "", *tokens, error.code, str(error))
    return PairOrder(better, reason, completion.input_tokens, completion.output_tokens)


def _swap(better: Preference | None) -> Preference | None:
    if better == "first":
        return "second"
    return "first" if better == "second" else better
