"""Passages of documents, and how far a text overlaps with each of them."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from barograph_server.streams.evaluator.checks.errors import AnswerCheckError
from barograph_server.streams.evaluator.checks.grounding import (
    MAX_CONTEXT_CHARS,
    NGRAM_TOKENS,
    SENTENCE_BREAK,
    ngrams_of,
)
from barograph_server.streams.evaluator.checks.tokens import tokenize

MAX_PASSAGE_CHARS = 1_000
_BREAKS = (re.compile(r"\n\s*\n"), SENTENCE_BREAK, re.compile(r"\s+"))
"""Where a passage may end: after a paragraph, a sentence, a word."""
_SIZES = (1, NGRAM_TOKENS)
"""Sizes of the n-grams that are compared: a paraphrase shares words, a quote their order too."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document, as it is written there."""

    document_id: str
    start: int
    """Position of its first character in the document."""
    text: str

    @property
    def end(self) -> int:
        """Position after its last character in the document."""
        return self.start + len(self.text)


class PassageIndex:
    """The passages of documents. Prepare it once, and compare many texts with it."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        """Divide documents into passages.

        Args:
            documents: the text of each document by its id.

        Raises:
            AnswerCheckError: the documents are too long.
        """
        length = sum(map(len, documents.values()))
        if length > MAX_CONTEXT_CHARS:
            raise AnswerCheckError(f"the documents have {length:,} characters; use at most {MAX_CONTEXT_CHARS:,}")
        self.passages = [passage for each in sorted(documents) for passage in divide(each, documents[each])]
        """In the order of ids and positions; without those that contain no text."""
        self._positions: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, passage in enumerate(self.passages):
            for ngram in _ngrams(passage.text):
                self._positions[ngram].append(index)

    def overlaps(self, *texts: str) -> dict[int, float]:
        """Return how far texts overlap with passages: index of the passage → weight of the words and n-grams in both.

        An n-gram weighs the more, the fewer passages contain it. Passages that share nothing are left out.
        """
        # Ordered as in the texts: sums of another order differ in the last digit, and so would the ranks of equals.
        ngrams = dict.fromkeys(ngram for text in texts for ngram in _ngrams(text))
        weights: defaultdict[int, float] = defaultdict(float)
        for ngram in ngrams:
            indices = self._positions.get(ngram, ())
            for index in indices:
                weights[index] += math.log((len(self.passages) + 1) / len(indices))
        return dict(weights)


def divide(document_id: str, text: str) -> list[Passage]:
    """Divide a document into passages of at most `MAX_PASSAGE_CHARS`, which together are its text.

    A passage ends after a paragraph, else a sentence, else a word; passages without text are left out.
    """
    passages, start = [], 0
    while start < len(text):
        end = min(len(text), start + MAX_PASSAGE_CHARS)
        if end < len(text):
            ends = (_last_end(each, text, start, end) for each in _BREAKS)
            end = next(filter(None, ends), end)
        passages.append(Passage(document_id, start, text[start:end]))
        start = end
    return [passage for passage in passages if passage.text.strip()]


def _last_end(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    """Return the end of the last match in the second half of a range; 0 without one."""
    return max((match.end() for match in pattern.finditer(text, (start + end) // 2, end)), default=0)


def _ngrams(text: str) -> dict[tuple[str, ...], None]:
    keys = [token.key for token in tokenize(text)]
    return dict.fromkeys(ngram for size in _SIZES for ngram in ngrams_of(keys, size))
