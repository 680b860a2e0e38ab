"""Checks what an answer claims about its sources against the documents.

It compares text, numbers and negations, not meaning: it detects a quote that the document does not contain, and does
not judge a paraphrase.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from rapidfuzz import fuzz

from barograph_server.streams.evaluator.checks import vocabulary
from barograph_server.streams.evaluator.checks.claims import (
    MAX_QUOTE_CHARS,
    ExtractedClaims,
    SourceClaim,
    claims_of_answer,
)
from barograph_server.streams.evaluator.checks.differences import DifferenceKind, QuoteComparison, QuoteDifference
from barograph_server.streams.evaluator.checks.documents import DocumentSet, TokenSequence
from barograph_server.streams.evaluator.checks.tokens import TokenClass

MIN_SCORE = 70.0
"""Smallest similarity, of 100, of a quote and a passage whose differences are listed; below it, nothing is similar."""
MIN_EQUAL = 0.5
"""Smallest share of a quote's tokens that equal the passage's, for the same reason."""
MAX_DIFFERENT = 0.4
"""Largest number of differences per token of the quote."""
_SHORT_TOKENS = 3
"""Of so few tokens, half may have a typo."""
_FRAGMENT_TOKENS = 128
"""Longer quotes are checked in pieces of this many tokens."""
_MAX_DOCUMENTS = 4
"""Documents that are compared with a quote that names none."""
_MAX_ALIGNED_CHARS = 2_000
"""A longer quote is compared with a whole section, without a search for the most similar part."""
_MAX_PLACES = 3
"""Passages that are compared with a quote."""
_MAX_ELISION_TOKENS = 10
"""An ellipsis may not leave out a negation among so few tokens of one sentence."""
_ELLIPSIS = re.compile(r"\[\s?(?:…|\.\.\.)\s?\]|\(\s?(?:…|\.\.\.)\s?\)|…|\.\.\.+")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|\n\n")


class CitationStatus(StrEnum):
    """The result for one claim."""

    SUPPORTED = "supported"
    """The document contains what is claimed."""
    ALTERED = "altered"
    """The document contains a passage that differs in its meaning."""
    UNSUPPORTED = "unsupported"
    """The document contains nothing similar."""
    UNKNOWN_SOURCE = "unknown-source"
    """There is no such document."""


class CitationScope(StrEnum):
    """What of a claim was compared with the document."""

    QUOTE = "quote"
    """Every word of a quote."""
    VALUES = "values"
    """Dates, and numbers with a unit, of a sentence that refers to the document; not its words."""
    ID = "id"
    """Whether the document exists."""


@dataclass(frozen=True)
class CitationResult:
    """The result for one claim."""

    claim: SourceClaim
    status: CitationStatus
    scope: CitationScope
    reason: str
    """Why, in one sentence."""
    document_id: str | None = None
    """The document with the passage."""
    span: tuple[int, int] | None = None
    """First character of the passage in the document, and the one after its last."""
    differences: tuple[QuoteDifference, ...] = ()
    """What differs, the most serious first."""

    @property
    def kind(self) -> DifferenceKind | None:
        """The most serious kind of difference."""
        return self.differences[0].kind if self.differences else None


@dataclass(frozen=True)
class CitationReport:
    """The results for one answer."""

    results: tuple[CitationResult, ...]
    omitted: int = 0
    """Claims that were not read, because the answer has too many."""
    unread_chars: int = 0
    """Characters of the answer that were not read, because it is too long."""

    def count(self, status: CitationStatus) -> int:
        """Return the number of claims with a status."""
        return sum(result.status is status for result in self.results)


@dataclass(frozen=True)
class _Passage:
    tokens: tuple[int, int]
    differences: tuple[QuoteDifference, ...]


def check_answer_citations(answer: str, documents: DocumentSet) -> CitationReport:
    """Check every claim of an answer's text. Claims are described at `claims_of_answer`."""
    return check_claims(claims_of_answer(answer, documents), documents)


def check_claims(extracted: ExtractedClaims, documents: DocumentSet) -> CitationReport:
    """Check claims that were read from an answer or from a list."""
    results = tuple(check_claim(claim, documents) for claim in extracted.claims)
    return CitationReport(results, extracted.omitted, extracted.unread_chars)


def check_claim(claim: SourceClaim, documents: DocumentSet) -> CitationResult:
    """Check one claim.

    A quote without a document is compared with the documents that share most words with it.
    """
    if claim.document_id is None:
        return _check_in_all(claim, documents)
    document_id = documents.id_of(claim.document_id)
    if document_id is None:
        scope = CitationScope.ID if claim.quote is None else CitationScope.QUOTE
        reason = f"there is no document {claim.document_id[:80]!r}"
        return CitationResult(claim, CitationStatus.UNKNOWN_SOURCE, scope, reason)
    if claim.quote is None:
        return _check_values(claim, document_id, documents)
    result = _check_quote(claim, claim.quote, document_id, documents)
    if result.status is CitationStatus.UNSUPPORTED and len(claim.quote) <= MAX_QUOTE_CHARS:
        keys = TokenSequence(claim.quote).keys
        other = next((each for each in documents.ids if documents.sequence(each).find(keys) is not None), None)
        if other is not None:
            return replace(result, reason=f"the document {other!r} contains the quote, not {document_id!r}")
    return result


def _check_in_all(claim: SourceClaim, documents: DocumentSet) -> CitationResult:
    quote = claim.quote or ""
    if len(quote) > MAX_QUOTE_CHARS:
        return _too_long(claim, quote)
    likely = documents.most_similar(TokenSequence(quote), _MAX_DOCUMENTS)
    results = [_check_quote(claim, quote, each, documents) for each in likely]
    for status in (CitationStatus.SUPPORTED, CitationStatus.ALTERED):
        matches = [result for result in results if result.status is status]
        if matches:
            return min(matches, key=lambda result: len(result.differences))
    reason = "no document contains the quote or a similar passage"
    return CitationResult(claim, CitationStatus.UNSUPPORTED, CitationScope.QUOTE, reason)


def _check_values(claim: SourceClaim, document_id: str, documents: DocumentSet) -> CitationResult:
    """Compare dates, and numbers with a unit, of a sentence with the document."""
    document = documents.sequence(document_id)
    statement = TokenSequence(claim.statement)
    checked, differences = 0, []
    for index, token in enumerate(statement.tokens):
        following = statement.tokens[index + 1] if index + 1 < len(statement.tokens) else None
        has_unit = following is not None and following.kind is TokenClass.UNIT
        if token.kind is TokenClass.DATE or (token.kind is TokenClass.NUMBER and has_unit):
            checked += 1
            if document.values.isdisjoint((token.key, *token.readings)):
                kind = DifferenceKind.DATE if token.kind is TokenClass.DATE else DifferenceKind.NUMBER
                differences.append(QuoteDifference(kind, statement.original_of(token), ""))
    if differences:
        values = ", ".join(each.quoted for each in differences)
        return CitationResult(
            claim, CitationStatus.ALTERED, CitationScope.VALUES,
            f"the document does not contain {values[:120]}", document_id, None, tuple(differences),
        )  # fmt: skip
    scope = CitationScope.VALUES if checked else CitationScope.ID
    reason = f"the document contains {checked} of {checked} values" if checked else "the document exists"
    return CitationResult(
        claim, CitationStatus.SUPPORTED, scope, f"{reason}; the wording was not compared", document_id
    )


def _check_quote(claim: SourceClaim, text: str, document_id: str, documents: DocumentSet) -> CitationResult:
    if len(text) > MAX_QUOTE_CHARS:
        return _too_long(claim, text, document_id)
    document = documents.sequence(document_id)
    passages: list[_Passage] = []
    start_token = 0
    fragments = _fragments(text)
    for quote, quote_range in fragments:
        passage = _find_exact(quote, quote_range, document, start_token) or _align(
            quote, quote_range, document, documents.words
        )
        if passage is None:
            reason = f"the document does not contain {_shortened(quote, quote_range)!r} or a similar passage"
            return CitationResult(claim, CitationStatus.UNSUPPORTED, CitationScope.QUOTE, reason, document_id)
        passages.append(passage)
        start_token = passage.tokens[1]
    if not passages:
        return CitationResult(
            claim, CitationStatus.UNSUPPORTED, CitationScope.QUOTE, "the quote contains no word", document_id
        )
    differences = [difference for passage in passages for difference in passage.differences]
    differences += _elided_negations([passage.tokens for passage in passages], document)
    order = list(DifferenceKind)
    differences.sort(key=lambda each: order.index(each.kind))
    first = min(passage.tokens[0] for passage in passages)
    last = max(passage.tokens[1] for passage in passages)
    status = CitationStatus.ALTERED if differences else CitationStatus.SUPPORTED
    reason = str(differences[0]) if differences else "the document contains the quote"
    return CitationResult(
        claim, status, CitationScope.QUOTE, reason, document_id, document.span(first, last), tuple(differences)
    )


def _too_long(claim: SourceClaim, text: str, document_id: str | None = None) -> CitationResult:
    reason = f"the quote has {len(text):,} characters; at most {MAX_QUOTE_CHARS:,} are compared"
    return CitationResult(claim, CitationStatus.UNSUPPORTED, CitationScope.QUOTE, reason, document_id)


def _fragments(text: str) -> list[tuple[TokenSequence, tuple[int, int]]]:
    """Split a quote at its ellipses, and long pieces by their number of tokens."""
    return [
        (sequence, (first, min(first + _FRAGMENT_TOKENS, len(sequence.tokens))))
        for sequence in map(TokenSequence, _ELLIPSIS.split(text))
        for first in range(0, len(sequence.tokens), _FRAGMENT_TOKENS)
    ]


def _find_exact(
    quote: TokenSequence, quote_range: tuple[int, int], document: TokenSequence, start_token: int
) -> _Passage | None:
    """Search the keys of a fragment, first after the previous fragment and then in the whole document."""
    keys = f" {quote.keys_between(*quote_range)[0]} "
    tokens = document.find(keys, start_token) or document.find(keys)
    return None if tokens is None else _Passage(tokens, ())


def _align(
    quote: TokenSequence, quote_range: tuple[int, int], document: TokenSequence, words: frozenset[str]
) -> _Passage | None:
    """Return the most similar passage; None if none is similar enough."""
    if not document.tokens:
        return None
    length = quote_range[1] - quote_range[0]
    margin = 10 + length // 4
    comparison = QuoteComparison(quote, document, words)
    keys = quote.keys_between(*quote_range)[0]
    best: tuple[tuple[int, float], _Passage] | None = None
    for start in document.likely_starts(quote.tokens[slice(*quote_range)], _MAX_PLACES):
        first = min(max(0, start - margin), len(document.tokens) - 1)
        last = min(len(document.tokens), start + length + margin + 10)
        if last <= first:
            continue
        aligned = _most_similar_range(keys, document, first, last)
        if aligned is None:
            continue
        # The alignment may cut words off that differ.
        for extension in (0, 2):
            passage = max(first, aligned[0] - extension), min(last, aligned[1] + extension)
            differences, tokens, equal = comparison.differences(quote_range, passage)
            is_other = equal < MIN_EQUAL and (length > _SHORT_TOKENS or bool(differences))
            if is_other or len(differences) > 1 + MAX_DIFFERENT * length:
                continue
            rank = (len(differences), -equal)
            if best is None or rank < best[0]:
                best = rank, _Passage(tokens if tokens[0] < tokens[1] else passage, tuple(differences))
    return None if best is None else best[1]


def _most_similar_range(keys: str, document: TokenSequence, first: int, last: int) -> tuple[int, int] | None:
    """Return the tokens of a section that are most similar to a quote; None if they are not similar enough."""
    if len(keys) > _MAX_ALIGNED_CHARS:
        return first, last
    section, section_start = document.keys_between(first, last)
    alignment = fuzz.partial_ratio_alignment(keys, section, score_cutoff=MIN_SCORE)
    if alignment is None:
        return None
    if len(keys) > len(section):
        return first, last
    end = max(alignment.dest_start, alignment.dest_end - 1)
    return document.token_at(section_start + alignment.dest_start), document.token_at(section_start + end) + 1


def _elided_negations(ranges: Sequence[tuple[int, int]], document: TokenSequence) -> list[QuoteDifference]:
    """Return negations that an ellipsis leaves out of one sentence."""
    differences = []
    for (_, end), (start, _) in pairwise(ranges):
        if not end < start <= end + _MAX_ELISION_TOKENS:
            continue
        elided = document.tokens[end:start]
        text = document.original[document.tokens[end - 1].end : document.tokens[start].start]
        negations = [token for token in elided if token.key in vocabulary.NEGATIONS]
        if negations and not _SENTENCE_END.search(text):
            differences.append(QuoteDifference(DifferenceKind.NEGATION, "…", text.strip()))
    return differences


def _shortened(quote: TokenSequence, quote_range: tuple[int, int]) -> str:
    start, end = quote.span(*quote_range)
    text = quote.original[start:end]
    return text if len(text) <= 60 else text[:59] + "…"
