"""Documents that answers cite, prepared for search."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from functools import cached_property

from barograph_server.streams.evaluator.checks.errors import AnswerCheckError
from barograph_server.streams.evaluator.checks.tokens import TextToken, TokenClass, tokenize

MAX_DOCUMENT_CHARS = 1_000_000
"""Characters of one document, which take up to ten seconds to prepare; a longer one is an error."""
_RAREST = 24
"""Tokens of a quote that vote for its position."""
_MAX_POSITIONS = 256
"""Positions of one token that vote."""
_SECTION_TOKENS = 8
"""Positions are counted in sections of this many tokens."""


class TokenSequence:
    """The tokens of a text, searchable as one string of keys."""

    def __init__(self, text: str) -> None:
        self.original = text
        self.tokens = tokenize(text)
        self.keys = f" {' '.join(token.key for token in self.tokens)} "

    def find(self, keys: str, start_token: int = 0) -> tuple[int, int] | None:
        """Return the first range of tokens with these keys, which have a space at both ends, from a token on."""
        if not keys.strip() or start_token >= len(self.tokens):
            return None
        position = self.keys.find(keys, self._key_starts[start_token])
        if position < 0:
            return None
        first = bisect_right(self._key_starts, position) - 1
        return first, first + keys.count(" ") - 1

    def token_at(self, position: int) -> int:
        """Return the index of the token at a position of `keys`."""
        return max(0, bisect_right(self._key_starts, position) - 1)

    def keys_between(self, first: int, last: int) -> tuple[str, int]:
        """Return the keys of the tokens from `first` to before `last`, and their position in `keys`."""
        start = self._key_starts[first] + 1
        end = self._key_starts[last] if last < len(self.tokens) else len(self.keys) - 1
        return self.keys[start:end], start

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return the characters of the original text of the tokens from `first` to before `last`."""
        return self.tokens[first].start, self.tokens[last - 1].end

    def original_of(self, token: TextToken) -> str:
        """Return a token as it is written."""
        return self.original[token.start : token.end]

    def likely_starts(self, tokens: Sequence[TextToken], limit: int) -> list[int]:
        """Return token indices near which the text may contain these tokens, the most likely first."""
        present = [(len(self._positions[token.key]), index, token.key) for index, token in enumerate(tokens)
                   if token.key in self._positions]  # fmt: skip
        votes: Counter[int] = Counter()
        for count, index, key in sorted(present)[:_RAREST]:
            for position in self._positions[key][:_MAX_POSITIONS]:
                section = (position - index) // _SECTION_TOKENS
                votes[section] += 4 if count == 1 else 2
                # A range that crosses the border of two sections counts in both.
                votes[section + 1] += 1
        return [section * _SECTION_TOKENS for section, _ in votes.most_common(limit)]

    def count_of(self, keys: Set[str]) -> int:
        """Return how many of some keys the text contains."""
        return len(keys & self._positions.keys())

    @cached_property
    def values(self) -> frozenset[str]:
        """Every reading of the numbers and dates of the text."""
        return frozenset(
            key
            for token in self.tokens
            if token.kind in (TokenClass.NUMBER, TokenClass.DATE)
            for key in (token.key, *token.readings)
        )

    @cached_property
    def _key_starts(self) -> list[int]:
        starts, position = [], 0
        for token in self.tokens:
            starts.append(position)
            position += len(token.key) + 1
        return starts

    @cached_property
    def _positions(self) -> dict[str, list[int]]:
        positions: defaultdict[str, list[int]] = defaultdict(list)
        for index, token in enumerate(self.tokens):
            positions[token.key].append(index)
        return dict(positions)


class DocumentSet:
    """The documents that an answer may cite, by their ids. Prepare it once, and check many answers with it."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        """Prepare documents.

        Args:
            documents: The text of each document by its id. Ids are compared without case.

        Raises:
            AnswerCheckError: Two ids differ in case only, an id is empty, or a document is too long.
        """
        self._sequences: dict[str, TokenSequence] = {}
        self._ids: dict[str, str] = {}
        for document_id, text in documents.items():
            folded = _folded(document_id)
            if not folded:
                raise AnswerCheckError("a document has an empty id; name every document")
            if folded in self._ids:
                raise AnswerCheckError(f"the ids {self._ids[folded]!r} and {document_id!r} differ in case only")
            if len(text) > MAX_DOCUMENT_CHARS:
                raise AnswerCheckError(
                    f"the document {document_id!r} has {len(text):,} characters; split it into documents of at most "
                    f"{MAX_DOCUMENT_CHARS:,}"
                )
            self._ids[folded] = document_id
            self._sequences[document_id] = TokenSequence(text)

    @property
    def ids(self) -> list[str]:
        """The ids of the documents, as they were passed."""
        return list(self._sequences)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of all documents, in lower case."""
        return frozenset(
            token.key for each in self._sequences.values() for token in each.tokens if token.kind is TokenClass.WORD
        )

    def id_of(self, name: str) -> str | None:
        """Return the id of the document that an answer names, or None if there is no such document."""
        return self._ids.get(_folded(name))

    def most_similar(self, quote: TokenSequence, limit: int) -> list[str]:
        """Return the documents that contain a quote, and then those that share most words with it."""
        keys = {token.key for token in quote.tokens}

        def similarity(document_id: str) -> tuple[bool, int]:
            sequence = self._sequences[document_id]
            return quote.keys in sequence.keys, sequence.count_of(keys)

        return sorted(self._sequences, key=similarity, reverse=True)[:limit]

    def sequence(self, document_id: str) -> TokenSequence:
        return self._sequences[document_id]


def _folded(document_id: str) -> str:
    return document_id.strip().casefold()
