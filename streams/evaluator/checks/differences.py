"""Differences between a quote and the passage that it quotes, without those that change no meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from rapidfuzz.distance import OSA, Levenshtein

from streams.evaluator.checks import vocabulary
from streams.evaluator.checks.documents import TokenSequence
from streams.evaluator.checks.tokens import TextToken, TokenClass

TOKENS_PER_TYPO = 25
"""A quote may have one typo, and another for each further number of tokens."""
_MIN_TYPO_CHARS = 4
"""A shorter word with another character is another word."""


class DifferenceKind(StrEnum):
    """What differs, the most serious first."""

    NEGATION = "negation"
    NUMBER = "number"
    UNIT = "unit"
    DATE = "date"
    NAME = "name"
    WORD = "word"


@dataclass(frozen=True)
class QuoteDifference:
    """One difference between a quote and a passage."""

    kind: DifferenceKind
    quoted: str
    """What the quote says; empty if it leaves something out."""
    written: str
    """What the document says; empty if the quote adds something."""

    def __str__(self) -> str:
        if not self.quoted:
            return f"{self.kind}: the quote leaves out {self.written[:80]!r}"
        if not self.written:
            return f"{self.kind}: the document does not say {self.quoted[:80]!r}"
        return f"{self.kind}: the answer says {self.quoted[:80]!r}, the document {self.written[:80]!r}"


@dataclass(frozen=True)
class _Block:
    """Tokens of the quote and of the passage at the same position."""

    quote: Sequence[TextToken]
    passage: Sequence[TextToken]


class QuoteComparison:
    """Compares a quote with passages of one document."""

    def __init__(self, quote: TokenSequence, document: TokenSequence, words: frozenset[str]) -> None:
        """Set what is compared.

        Args:
            quote: The quote.
            document: The document with the passages.
            words: Words that are no typos of others, in lower case.
        """
        self._quote = quote
        self._document = document
        self._words = words
        self._typos = 0

    def differences(
        self, quote: tuple[int, int], passage: tuple[int, int]
    ) -> tuple[list[QuoteDifference], tuple[int, int], float]:
        """Compare ranges of tokens.

        Args:
            quote: First token of the quote, and the one after its last.
            passage: The same of the passage; it may begin and end with tokens that are not quoted.

        Returns:
            The differences, the range of the passage that is quoted, and the share of the quote's tokens that equal it.
        """
        self._typos = 0
        ours = self._quote.tokens[slice(*quote)]
        theirs = self._document.tokens[slice(*passage)]
        blocks, first, last, equal = _blocks(ours, theirs)
        differences: list[QuoteDifference] = []
        for block in blocks:
            differences += self._compare(block)
        allowed = 1 + len(ours) // TOKENS_PER_TYPO
        if self._typos > allowed:
            differences.append(QuoteDifference(DifferenceKind.WORD, f"{self._typos} words with typos", ""))
        order = list(DifferenceKind)
        differences.sort(key=lambda each: order.index(each.kind))
        return differences, (passage[0] + first, passage[0] + last), equal / max(1, len(ours))

    def _compare(self, block: _Block) -> Iterator[QuoteDifference]:
        if "".join(token.key for token in block.quote) == "".join(token.key for token in block.passage):
            return
        if _is_same_quantity(block):
            return
        ours, theirs = self._without_harmless(block)
        if ours or theirs:
            yield QuoteDifference(
                self._kind(ours, theirs), self._text(self._quote, ours), self._text(self._document, theirs)
            )

    def _without_harmless(self, block: _Block) -> tuple[list[TextToken], list[TextToken]]:
        """Drop pairs that mean the same, then articles, and the word between the numbers of a range."""
        ours, theirs = list(block.quote), list(block.passage)
        for token in block.quote:
            match = next((other for other in theirs if self._means_the_same(token, other)), None)
            if match is not None:
                ours.remove(token)
                theirs.remove(match)
        if not ours or not theirs:
            ignored = vocabulary.ARTICLES | {"to"}
            ours, theirs = ([token for token in tokens if token.key not in ignored] for tokens in (ours, theirs))
        return ours, theirs

    def _means_the_same(self, quoted: TextToken, written: TextToken) -> bool:
        if quoted.same_value(written):
            return True
        ours, theirs = self._quote.original_of(quoted).casefold(), self._document.original_of(written).casefold()
        if {quoted.kind, written.kind} <= {TokenClass.WORD, TokenClass.UNIT} and TokenClass.WORD in (
            quoted.kind,
            written.kind,
        ):
            if ours in (theirs + "s", theirs + "es") or theirs in (ours + "s", ours + "es"):
                return True
            if self._is_typo(ours, theirs):
                self._typos += 1
                return True
        return False

    def _is_typo(self, quoted: str, written: str) -> bool:
        return (
            min(len(quoted), len(written)) >= _MIN_TYPO_CHARS - 1
            and len(written) >= _MIN_TYPO_CHARS
            and quoted.isalpha()
            and written.isalpha()
            and quoted not in self._words
            and quoted not in vocabulary.NEGATIONS
            and written not in vocabulary.NEGATIONS
            and OSA.distance(quoted, written, score_cutoff=1) <= 1
        )

    def _kind(self, ours: Sequence[TextToken], theirs: Sequence[TextToken]) -> DifferenceKind:
        both = [*ours, *theirs]
        if _negations(ours) != _negations(theirs) or any(_is_negated(a.key, b.key) for a in ours for b in theirs):
            return DifferenceKind.NEGATION
        for token_class, kind in (
            (TokenClass.DATE, DifferenceKind.DATE),
            (TokenClass.NUMBER, DifferenceKind.NUMBER),
            (TokenClass.UNIT, DifferenceKind.UNIT),
        ):
            if any(token.kind is token_class for token in both):
                return kind
        if any(any(char.isdecimal() for char in token.key) for token in both):
            return DifferenceKind.NUMBER
        if any(_is_name(self._document, token) for token in theirs):
            return DifferenceKind.NAME
        return DifferenceKind.WORD

    @staticmethod
    def _text(sequence: TokenSequence, tokens: Sequence[TextToken]) -> str:
        return " ".join(sequence.original_of(token) for token in tokens)


def _blocks(ours: Sequence[TextToken], theirs: Sequence[TextToken]) -> tuple[list[_Block], int, int, int]:
    """Align tokens; return what differs, the range of `theirs` that is quoted, and the number of equal tokens."""
    operations = Levenshtein.opcodes([token.key for token in ours], [token.key for token in theirs])
    edits: list[list[int]] = []
    first, last, equal = 0, len(theirs), 0
    for operation in operations:
        if operation.tag == "equal":
            equal += operation.src_end - operation.src_start
            continue
        if operation.tag == "insert" and operation.src_start == 0:
            first = operation.dest_end
        elif operation.tag == "insert" and operation.src_end == len(ours):
            last = operation.dest_start
        elif edits and (edits[-1][1], edits[-1][3]) == (operation.src_start, operation.dest_start):
            edits[-1][1], edits[-1][3] = operation.src_end, operation.dest_end
        else:
            edits.append([operation.src_start, operation.src_end, operation.dest_start, operation.dest_end])
    blocks = []
    for start, end, passage_start, passage_end in edits:
        quote, passage = ours[start:end], theirs[passage_start:passage_end]
        # At the ends of the quote, the passage may continue.
        if end == len(ours) and len(passage) > len(quote):
            passage = passage[: _matching_length(quote, passage)]
            last = passage_start + len(passage)
        elif start == 0 and len(passage) > len(quote):
            passage = passage[len(passage) - _matching_length(quote[::-1], passage[::-1]) :]
            first = passage_end - len(passage)
        blocks.append(_Block(quote, passage))
    return blocks, first, last, equal


def _matching_length(quote: Sequence[TextToken], passage: Sequence[TextToken]) -> int:
    """Return how many tokens of a passage that continues belong to a quote: as many, or those with its characters."""
    characters = sum(len(token.key) for token in quote)
    length = 0
    for index, token in enumerate(passage):
        length += len(token.key)
        if length == characters and index + 1 != len(quote):
            ours, theirs = ([each.key for each in side] for side in (quote, passage[: index + 1]))
            if "".join(ours) == "".join(theirs) or "".join(ours[::-1]) == "".join(theirs[::-1]):
                return index + 1
        if length > characters:
            break
    return len(quote)


def _is_same_quantity(block: _Block) -> bool:
    """Return whether both sides are one number with a unit, and mean the same: 24 hours and 1 day."""
    sizes = [_quantity(side) for side in (block.quote, block.passage)]
    return sizes[0] is not None and sizes[0] == sizes[1]


def _quantity(tokens: Sequence[TextToken]) -> tuple[str, Decimal] | None:
    if len(tokens) != 2 or (tokens[0].kind, tokens[1].kind) != (TokenClass.NUMBER, TokenClass.UNIT):
        return None
    scale = vocabulary.SCALES.get(tokens[1].key)
    if scale is None or not tokens[0].key.removeprefix("-").replace(".", "", 1).isdecimal():
        return None
    return scale[0], scale[1] * Decimal(tokens[0].key)


def _negations(tokens: Sequence[TextToken]) -> int:
    return sum(token.key in vocabulary.NEGATIONS for token in tokens) % 2


def _is_negated(one: str, other: str) -> bool:
    """Return whether one word is the other with a prefix that negates it."""
    short, long = sorted((one, other), key=len)
    return len(short) >= _MIN_TYPO_CHARS and any(long == prefix + short for prefix in vocabulary.NEGATIVE_PREFIXES)


def _is_name(sequence: TokenSequence, token: TextToken) -> bool:
    """Return whether a word is capitalized inside a sentence."""
    if not sequence.original[token.start : token.start + 1].isupper():
        return False
    before = sequence.original[max(0, token.start - 20) : token.start].rstrip(" \"'(*_")
    return bool(before) and before[-1] not in ".!?:#\n-"
