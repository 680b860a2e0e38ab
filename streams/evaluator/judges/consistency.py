"""Self-consistency: how far further answers of the same model to the same prompt agree.

Agreement works for short answers, the mean log-probability for prose. Which of them separates faulty from sound answers
depends on the model; measure it with labels before you alert on it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from barograph_server.streams.evaluator.checks.tokens import tokenize
from barograph_server.streams.evaluator.judges.chat import ChatModel, ChatParameters, ChatRequest, Completion, Messages
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode

Similarity = Callable[[str, str], float]


@dataclass(frozen=True, slots=True)
class AnswerSamples:
    """Further answers of a model to a prompt, and what they cost; with an error, not all of them."""

    texts: tuple[str, ...]
    mean_logprob: float | None
    """Mean log-probability of the tokens of the answer at temperature 0; None if it is not known."""
    input_tokens: int | None
    """Tokens that the endpoint reports for the prompts; None if it reports none."""
    output_tokens: int | None
    attempts: int
    """Requests that were sent."""
    error: JudgeError | None = None
    """Why a sample is missing."""
    lacks_logprobs: bool = False
    """Whether the server refused to report log-probabilities, or answered without them."""


def exact_match(one: str, other: str) -> float:
    """Return 1.0 for the same text, except for white space at both ends, else 0.0."""
    return float(one.strip() == other.strip())


def normalized_match(one: str, other: str) -> float:
    """Return 1.0 for the same words and values in the same order, else 0.0."""
    return float([token.key for token in tokenize(one)] == [token.key for token in tokenize(other)])


def token_jaccard(one: str, other: str) -> float:
    """Return the share of the different words and values that both texts contain; 1.0 if neither contains any."""
    first, second = ({token.key for token in tokenize(text)} for text in (one, other))
    return len(first & second) / len(first | second) if first | second else 1.0


COMPARISONS: dict[str, Similarity] = {"exact": exact_match, "normalized": normalized_match, "tokens": token_jaccard}
"""Similarities by the names that contracts use."""


def mean_similarity(answer: str, samples: Sequence[str], similarity: Similarity) -> float:
    """Return the mean similarity of an answer and each sample, of which there must be at least one."""
    return sum(similarity(answer, sample) for sample in samples) / len(samples)


def sample_answers(
    model: ChatModel,
    messages: Messages,
    n_samples: int,
    parameters: ChatParameters,
    *,
    logprob: bool = True,
    limit_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AnswerSamples:
    """Sample further answers of the model that gave an answer. The first failure ends it, and is in the result.

    Args:
        n_samples: number of samples; the seed of each is one higher.
        parameters: how it samples; the temperature is above 0.
        logprob: whether one more answer at temperature 0 measures the log-probability. If it fails, the samples are
            complete all the same.
        limit_s: seconds for all requests together; None: no limit beside those of each request.
    """
    calls = _Calls(model, None if limit_s is None else clock() + limit_s, clock)
    texts: list[str] = []
    mean_logprob: float | None = None
    failure: JudgeError | None = None
    lacks_logprobs = False
    try:
        for i in range(n_samples):
            completion = calls.complete(ChatRequest(messages, replace(parameters, seed=parameters.seed + i)))
            if completion.finish_reason == "length":
                message = f"A sample ended at {parameters.max_tokens} tokens. Raise max_tokens of the evaluator."
                raise JudgeError(JudgeErrorCode.CUT, message)
            texts.append(completion.text)
    except JudgeError as error:
        failure = error
    if logprob and failure is None:
        try:
            greedy = calls.complete(ChatRequest(messages, replace(parameters, temperature=0.0), logprobs=True))
            mean_logprob, lacks_logprobs = greedy.mean_logprob, greedy.mean_logprob is None
        except JudgeError as error:
            lacks_logprobs = error.code is JudgeErrorCode.REFUSED
    return AnswerSamples(
        tuple(texts), mean_logprob, calls.input_tokens, calls.output_tokens, calls.attempts, failure, lacks_logprobs
    )


class _Calls:
    """Requests with one limit of time, and what they cost."""

    def __init__(self, model: ChatModel, end_s: float | None, clock: Callable[[], float]) -> None:
        self._model, self._end_s, self._clock = model, end_s, clock
        self.attempts = 0
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None

    def complete(self, request: ChatRequest) -> Completion:
        left_s = None if self._end_s is None else self._end_s - self._clock()
        if left_s is not None and left_s <= 0:
            message = "The samples of an answer took too long together. Raise evaluator.timeout_s, or draw fewer."
            raise JudgeError(JudgeErrorCode.TIMEOUT, message)
        try:
            completion = self._model.complete(request, left_s)
        except JudgeError as error:
            self.attempts += error.attempts
            raise
        self.attempts += completion.attempts
        if completion.input_tokens is not None:
            self.input_tokens = (self.input_tokens or 0) + completion.input_tokens
        if completion.output_tokens is not None:
            self.output_tokens = (self.output_tokens or 0) + completion.output_tokens
        return completion
