"""Differences between a quote and the passage that it quotes, without those that change no meaning."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from rapidfuzz.distance import OSA, Levenshtein

from barograph_server.streams.evaluator.checks import vocabulary
from barograph_server.streams.evaluator.checks.documents import TokenSequence
from barograph_server.streams.evaluator.checks.tokens import TextToken, TokenClass

TOKENS_PER_TYPO = 25
"""A quote may have one typo, and another for each further number of tokens."""
_WORDS_NEAR_NEGATIONS = frozenset(("ever", "noting", "one", "note", "done", "tone", "nope", "nice"))
"""Words that differ from a negation by one character."""
_MIN_PLURAL_CHARS = 3
"""Of a word whose plural is the same word."""
_NO_WORD = re.compile(r"[^\w'’]|[\d_]")
_MAX_MORE_TOKENS = 4
"""A word may be written as so many more tokens."""
_MIN_GROUPED_DIGITS = 5
"""A shorter number that is written in groups is several numbers."""
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
        """Set the words, in lower case, that are no typos of others."""
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
        blocks, (first, last), equal = self._blocks(ours, theirs)
        differences: list[QuoteDifference] = []
        for block in blocks:
            differences += self._compare(block)
        allowed = 1 + len(ours) // TOKENS_PER_TYPO
        if self._typos > allowed:
            differences.append(QuoteDifference(DifferenceKind.WORD, f"{self._typos} words with typos", ""))
        return differences, (passage[0] + first, passage[0] + last), equal / max(1, len(ours))

    def _blocks(
        self, ours: Sequence[TextToken], theirs: Sequence[TextToken]
    ) -> tuple[list[_Block], tuple[int, int], int]:
        """Return what differs, the range of `theirs` that is quoted, and the number of equal tokens."""
        edits, equal = _edits(ours, theirs)
        first, last, blocks = 0, len(theirs), []
        for start, end, passage_start, passage_end in edits:
            quote, passage = ours[start:end], theirs[passage_start:passage_end]
            # The passage may begin before the quote and continue after it.
            if end == len(ours) and len(passage) > len(quote):
                last = passage_start + self._length_of_quoted(quote, passage, reverse=False)
                passage = theirs[passage_start:last]
            elif start == 0 and len(passage) > len(quote):
                first = passage_end - self._length_of_quoted(quote, passage, reverse=True)
                passage = theirs[first:passage_end]
            if quote or passage:
                blocks.append(_Block(quote, passage))
        return blocks, (first, last), equal

    def _length_of_quoted(self, quote: Sequence[TextToken], passage: Sequence[TextToken], *, reverse: bool) -> int:
        """Return how many tokens of a passage that continues belong to a quote.

        As many as the quote has, or as many characters, if only these mean the same.
        """
        if not quote:
            return 0
        characters = len(_characters(self._quote, quote))
        lengths = range(1, min(len(passage), len(quote) + _MAX_MORE_TOKENS) + 1)

        def part(length: int) -> Sequence[TextToken]:
            return passage[len(passage) - length :] if reverse else passage[:length]

        nearest = min(lengths, key=lambda length: abs(len(_characters(self._document, part(length))) - characters))
        typos = self._typos
        is_same = not list(self._compare(_Block(quote, part(nearest))))
        self._typos = typos
        return nearest if is_same else len(quote)

    def _compare(self, block: _Block) -> Iterator[QuoteDifference]:
        if _is_same_compound(block) or self._is_same_word(block):
            return
        if _is_same_quantity(block) or self._has_one_typo(block):
            return
        ours, theirs = self._without_harmless(block)
        if ours or theirs:
            yield QuoteDifference(
                self._kind(ours, theirs), self._text(self._quote, ours), self._text(self._document, theirs)
            )

    def _is_same_word(self, block: _Block) -> bool:
        """Return whether both sides are the same words, written together or apart: `two-factor` and `twofactor`."""
        if any(token.kind is TokenClass.UNIT or self._has_digit(sequence, token)
               for sequence, side in ((self._quote, block.quote), (self._document, block.passage))
               for token in side):  # fmt: skip
            return False
        return _characters(self._quote, block.quote) == _characters(self._document, block.passage) != ""

    @staticmethod
    def _has_digit(sequence: TokenSequence, token: TextToken) -> bool:
        return any(map(str.isdecimal, sequence.original_of(token)))

    def _has_one_typo(self, block: _Block) -> bool:
        """Return whether both sides, as they are written, differ in a typo of one word: `27 Decembr 2026`."""
        ours, theirs = self._written(self._quote, block.quote), self._written(self._document, block.passage)
        if len(ours) != len(theirs):
            return False
        pairs = [(quoted, written) for quoted, written in zip(ours, theirs, strict=True) if quoted != written]
        if len(pairs) != 1 or not self._is_typo(*pairs[0]):
            return False
        self._typos += 1
        return True

    @staticmethod
    def _written(sequence: TokenSequence, tokens: Sequence[TextToken]) -> list[str]:
        if not tokens:
            return []
        text = sequence.original[tokens[0].start : tokens[-1].end].casefold()
        return [word.strip(".,;:!?\"'()") for word in text.split()]

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
            short, long = sorted((ours, theirs), key=len)
            if len(short) >= _MIN_PLURAL_CHARS and long in (short + "s", short + "es"):
                return True
            if self._is_typo(ours, theirs):
                self._typos += 1
                return True
        return False

    def _is_typo(self, quoted: str, written: str) -> bool:
        return (
            min(len(quoted), len(written)) >= _MIN_TYPO_CHARS - 1
            and len(written) >= _MIN_TYPO_CHARS
            and not _NO_WORD.search(quoted + written)
            and quoted not in self._words
            and quoted not in vocabulary.NEGATIONS
            and (written not in vocabulary.NEGATIONS or quoted not in _WORDS_NEAR_NEGATIONS)
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
        if not tokens:
            return ""
        return sequence.original[tokens[0].start : max(token.end for token in tokens)]


def _edits(ours: Sequence[TextToken], theirs: Sequence[TextToken]) -> tuple[list[list[int]], int]:
    """Align tokens by their keys.

    Returns:
        Start and end in `ours`, and in `theirs`, of each range that differs; adjacent ranges are one. And the number of
        equal tokens.
    """
    edits: list[list[int]] = []
    equal = 0
    for operation in Levenshtein.opcodes([token.key for token in ours], [token.key for token in theirs]):
        start, end, passage_start, passage_end = (
            operation.src_start, operation.src_end, operation.dest_start, operation.dest_end
        )  # fmt: skip
        if operation.tag == "equal":
            equal += end - start
        elif edits and (edits[-1][1], edits[-1][3]) == (start, passage_start):
            edits[-1][1], edits[-1][3] = end, passage_end
        else:
            edits.append([start, end, passage_start, passage_end])
    return edits, equal


def _is_same_compound(block: _Block) -> bool:
    """Return whether both sides have the same characters: `e mail` and `email`, or a long number in groups."""
    ours, theirs = ("".join(token.key for token in side) for side in (block.quote, block.passage))
    is_word = not any(token.kind is TokenClass.NUMBER for token in (*block.quote, *block.passage))
    return ours == theirs and (is_word or len(ours) >= _MIN_GROUPED_DIGITS)


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


def _characters(sequence: TokenSequence, tokens: Sequence[TextToken]) -> str:
    """Return the digits and alphabetic characters of tokens as they are written, in lower case."""
    if not tokens:
        return ""
    text = sequence.original[tokens[0].start : tokens[-1].end].casefold()
    return "".join(filter(str.isalnum, text))


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
