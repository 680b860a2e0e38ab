"""The share of an answer whose words are in the context, in the same order."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from barograph_server.streams.evaluator.checks.errors import MAX_ANSWER_CHARS, AnswerCheckError
from barograph_server.streams.evaluator.checks.tokens import TextToken, tokenize

NGRAM_TOKENS = 3
"""Tokens of an n-gram; a shorter sentence is one n-gram of its length."""
MAX_CONTEXT_CHARS = 2_000_000
"""Characters of all texts of the context together; more are an error."""
SENTENCE_BREAK = re.compile(r"[.!?…][\"”’»)\]]*\s+|\n+|[。！？]")


@dataclass(frozen=True)
class GroundingResult:
    """How much of an answer is in the context."""

    value: float | None
    """Share of the n-grams, from 0 to 1; None if the answer contains no word."""
    least_span: tuple[int, int] | None = None
    """First character of the least supported sentence in the answer, and the one after its last."""
    least_value: float | None = None
    """Share of the n-grams of that sentence."""
    unread_chars: int = 0
    """Characters after the first `MAX_ANSWER_CHARS`, which were not read."""


class GroundingContext:
    """The n-grams of the texts that a model received, for many answers."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Split the texts into tokens.

        Raises:
            AnswerCheckError: The texts are too long.
        """
        context = list(texts)
        length = sum(map(len, context))
        if length > MAX_CONTEXT_CHARS:
            raise AnswerCheckError(f"the context has {length:,} characters; pass at most {MAX_CONTEXT_CHARS:,}")
        self._sequences = [[token.key for token in tokenize(text)] for text in context]
        self._ngrams: dict[int, set[tuple[str, ...]]] = {}

    def ngrams(self, size: int) -> set[tuple[str, ...]]:
        """Return all n-grams of a size; they are computed once."""
        if size not in self._ngrams:
            self._ngrams[size] = {ngram for keys in self._sequences for ngram in ngrams_of(keys, size)}
        return self._ngrams[size]


def measure_grounding(answer: str, context: GroundingContext) -> GroundingResult:
    """Measure how many n-grams of an answer's sentences are in the context.

    A low value means other words, not wrong ones: a good paraphrase has one too.
    """
    total = matches = 0
    least: tuple[float, tuple[int, int]] | None = None
    for sentence in _sentences(answer[:MAX_ANSWER_CHARS]):
        size = min(NGRAM_TOKENS, len(sentence))
        ngrams = ngrams_of([token.key for token in sentence], size)
        known = context.ngrams(size)
        count = sum(ngram in known for ngram in ngrams)
        total += len(ngrams)
        matches += count
        share = count / len(ngrams)
        if least is None or share < least[0]:
            least = share, (sentence[0].start, sentence[-1].end)
    unread = max(0, len(answer) - MAX_ANSWER_CHARS)
    if least is None:
        return GroundingResult(None, unread_chars=unread)
    return GroundingResult(matches / total, least[1], least[0], unread)


def _sentences(text: str) -> list[list[TextToken]]:
    """Split the tokens of a text into sentences; those without a token are left out."""
    ends = iter([*(match.end() for match in SENTENCE_BREAK.finditer(text)), len(text)])
    end = next(ends)
    sentences: list[list[TextToken]] = [[]]
    for token in tokenize(text):
        while token.start >= end:
            end = next(ends, len(text) + 1)
            sentences.append([])
        sentences[-1].append(token)
    return [sentence for sentence in sentences if sentence]


def ngrams_of(keys: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Return the n-grams of a size, in their order; none if there are fewer keys."""
    return [tuple(keys[start : start + size]) for start in range(len(keys) - size + 1)]
