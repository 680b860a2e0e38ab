"""Self-consistency: how far further answers of the same model to the same prompt agree.

Agreement works for short answers, the mean log-probability for prose. Which of them separates faulty from sound answers
depends on the model; measure it with labels before you alert on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from streams.evaluator.checks.tokens import tokenize
from streams.evaluator.judges.chat import ChatModel, ChatParameters, ChatRequest, Messages

Similarity = Callable[[str, str], float]


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """Agreement of samples, each from 0 to 1; the mean over all pairs of samples."""

    n_samples: int
    exact: float | None
    """Share of pairs with the same text, except for white space at both ends; None with fewer than two samples."""
    normalized: float | None
    """Share of pairs with the same words and values in the same order, whatever their spelling."""
    token_set: float | None
    """Mean share of the words and values of a pair that are in both (Jaccard)."""
    answer_token_set: float | None
    """Mean Jaccard similarity of the evaluated answer and each sample; None without samples."""
    mean_logprob: float | None
    """Mean log-probability of the tokens of the answer at temperature 0; None if the server does not report it."""


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


def mean_agreement(samples: Sequence[str], similarity: Similarity) -> float | None:
    """Return the mean similarity over all pairs of samples; None with fewer than two samples."""
    values = [similarity(one, other) for one, other in combinations(samples, 2)]
    return sum(values) / len(values) if values else None


def measure_consistency(answer: str, samples: Sequence[str], mean_logprob: float | None = None) -> SelfConsistency:
    """Compare samples with each other and with the evaluated answer.

    Args:
        answer: the evaluated answer.
        samples: further answers to the same prompt, at a temperature above 0.
        mean_logprob: mean log-probability of the answer at temperature 0.
    """
    similar = [token_jaccard(answer, sample) for sample in samples]
    return SelfConsistency(
        len(samples),
        mean_agreement(samples, exact_match),
        mean_agreement(samples, normalized_match),
        mean_agreement(samples, token_jaccard),
        sum(similar) / len(similar) if similar else None,
        mean_logprob,
    )


def sample_consistency(
    model: ChatModel,
    messages: Messages,
    answer: str,
    n_samples: int = 5,
    parameters: ChatParameters = ChatParameters(temperature=0.8),  # noqa: B008 - it is immutable
    *,
    logprob: bool = True,
) -> SelfConsistency:
    """Sample further answers of the model that gave an answer, and compare them.

    Args:
        model: the answering model.
        messages: the messages to which it answered.
        answer: its answer.
        n_samples: number of samples; the seed of each is one higher.
        parameters: how it samples.
        logprob: whether one more answer at temperature 0 measures the log-probability.

    Raises:
        JudgeError: one of the requests failed.
        RetryInterrupted: the endpoint's `sleep` was interrupted.
    """
    samples = [
        model.complete(ChatRequest(messages, replace(parameters, seed=parameters.seed + i))).text
        for i in range(n_samples)
    ]
    mean_logprob = None
    if logprob:
        greedy = ChatRequest(messages, replace(parameters, temperature=0.0), logprobs=True)
        mean_logprob = model.complete(greedy).mean_logprob
    return measure_consistency(answer, samples, mean_logprob)
