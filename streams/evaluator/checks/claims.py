"""What an answer claims about its sources: quotes, and references to documents."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from barograph_server.streams.evaluator.checks.documents import DocumentSet
from barograph_server.streams.evaluator.checks.errors import MAX_ANSWER_CHARS, AnswerCheckError
from barograph_server.streams.evaluator.checks.tokens import tokenize

MAX_CLAIMS = 200
"""Claims of an answer that are read."""
MAX_QUOTE_CHARS = 10_000
"""Characters of a quote that is compared."""
MIN_UNATTRIBUTED_TOKENS = 5
"""A shorter quote without a document is a name or an emphasis."""
_MAX_GAP_CHARS = 60
"""Characters between a quote and its reference."""
_MAX_STATEMENT_CHARS = 1_000
_ID_KEYS = ("document", "document_id", "doc_id", "source", "id")
_QUOTE_KEYS = ("quote", "text", "passage")

# Of any length: a quote that is too long to compare is a claim all the same. No form contains its own delimiters, so
# the search takes time in proportion to the text.
_QUOTE = re.compile(r"“([^“”]+)”|„([^„“”]+)[“”]|«([^«»]+)»|\"([^\"]+)\"")
_REFERENCE = re.compile(r"\[([^\[\]\n]{1,200})\](?!\()|\(([^()\n]{1,200})\)|【([^【】\n]{1,200})】")
_ID = re.compile(r"[\w][\w.:/#-]*")
_SENTENCE_END = re.compile(r"[.!?。！？][\"”»)\]]*\s+|\n")


@dataclass(frozen=True)
class SourceClaim:
    """A claim that a document says something."""

    document_id: str | None
    """The document as the answer names it; None for a quote without a reference."""
    quote: str | None
    """The quoted text; None if the answer only refers to the document."""
    start: int = 0
    """Position of the claim's first character in the answer."""
    end: int = 0
    """Position after the claim's last character in the answer."""
    statement: str = ""
    """The sentence that refers to the document, if it does not quote it."""


@dataclass(frozen=True)
class ExtractedClaims:
    """The claims of an answer."""

    claims: tuple[SourceClaim, ...]
    """The claims in their order."""
    omitted: int = 0
    """Claims that were not read: after the first `MAX_CLAIMS`, or of a list with more than `MAX_ANSWER_CHARS`."""
    unread_chars: int = 0
    """Characters after the first `MAX_ANSWER_CHARS`, which were not read."""


@dataclass(frozen=True)
class _DocumentReference:
    ids: tuple[str, ...]
    start: int
    end: int


def claims_of_answer(answer: str, documents: DocumentSet) -> ExtractedClaims:
    """Read the claims of an answer.

    They are quotes in double quotation marks with a reference `[doc-3]` or `(doc-3)` in the same line, references
    without a quote, and quotes of five words and more without a reference. In round brackets an id counts if a document
    has it, if it has the form of one that a document has (`doc-99` beside `doc-3`), or directly after a quote.
    """
    text = answer[:MAX_ANSWER_CHARS]
    quotes = list(_QUOTE.finditer(text))
    references = _references(text, quotes, documents)
    claims = sorted(_attribute(text, quotes, references), key=lambda claim: claim.start)
    return ExtractedClaims(
        tuple(claims[:MAX_CLAIMS]), max(0, len(claims) - MAX_CLAIMS), max(0, len(answer) - MAX_ANSWER_CHARS)
    )


def claims_of_list(citations: Sequence[object]) -> ExtractedClaims:
    """Read a list of citations, such as the structured output of a model.

    Args:
        citations: Objects with the document's id as `document`, `document_id`, `doc_id`, `source` or `id`, and the
            quote, if there is one, as `quote`, `text` or `passage`; or ids alone.

    Raises:
        AnswerCheckError: An entry has another form.
    """
    claims: list[SourceClaim] = []
    chars = 0
    for index, entry in enumerate(citations[:MAX_CLAIMS]):
        claim = _claim_of_entry(entry, f"citations[{index}]")
        chars += len(claim.quote or "")
        if chars > MAX_ANSWER_CHARS:
            break
        claims.append(claim)
    return ExtractedClaims(tuple(claims), len(citations) - len(claims))


def _claim_of_entry(entry: object, where: str) -> SourceClaim:
    if isinstance(entry, str):
        return SourceClaim(entry, None)
    if not isinstance(entry, Mapping):
        raise AnswerCheckError(f"{where} is {type(entry).__name__}; write an id, or an object with document and quote")
    document = next((entry[key] for key in _ID_KEYS if entry.get(key) is not None), None)
    quote = next((entry[key] for key in _QUOTE_KEYS if entry.get(key) is not None), None)
    if not isinstance(document, str | int) or isinstance(document, bool):
        raise AnswerCheckError(f"{where} names no document; write its id as {' or '.join(_ID_KEYS)}")
    if quote is not None and not isinstance(quote, str):
        raise AnswerCheckError(f"{where} has a quote of type {type(quote).__name__}; write text")
    return SourceClaim(str(document), quote)


def _references(text: str, quotes: Sequence[re.Match[str]], documents: DocumentSet) -> list[_DocumentReference]:
    shapes = {_shape(document_id) for document_id in documents.ids}
    starts = [quote.start() for quote in quotes]
    references = []
    for match in _REFERENCE.finditer(text):
        index = bisect_right(starts, match.start()) - 1
        if index >= 0 and match.start() < quotes[index].end():
            continue
        content = next(group for group in match.groups() if group is not None)
        after_quote = index >= 0 and not text[quotes[index].end() : match.start()].strip(" .,")
        ids = _ids(content, documents, shapes, is_certain=match[2] is None or after_quote)
        if ids:
            references.append(_DocumentReference(ids, match.start(), match.end()))
    return references


def _ids(content: str, documents: DocumentSet, shapes: set[str], *, is_certain: bool) -> tuple[str, ...]:
    """Return the ids that brackets contain; none if they contain something else."""
    if documents.id_of(content) is not None:
        return (content.strip(),)
    parts = [part.strip() for part in re.split(r"[,;]", content)]
    if not all(_ID.fullmatch(part) for part in parts):
        return ()
    if any(documents.id_of(part) is not None or _has_shape(part, shapes) for part in parts):
        return tuple(parts)
    # A mark of a list, and `[sic]`, are no ids.
    return tuple(parts) if is_certain and parts[0].casefold() not in ("x", "sic", "...") else ()


def _shape(document_id: str) -> str:
    return re.sub(r"\d+", "0", document_id.strip().casefold())


def _has_shape(part: str, shapes: set[str]) -> bool:
    """Return whether an id differs from that of a document in its digits only. Digits alone may be a year."""
    shape = _shape(part)
    return shape in shapes and "0" in shape and shape.strip("0.") != ""


def _attribute(
    text: str, quotes: Sequence[re.Match[str]], references: Sequence[_DocumentReference]
) -> Iterator[SourceClaim]:
    starts = [reference.start for reference in references]
    used: set[int] = set()
    for index, quote in enumerate(quotes):
        following = bisect_right(starts, quote.end() - 1)
        quote_end = quotes[index + 1].start() if index + 1 < len(quotes) else len(text)
        chosen = None
        if following < len(references) and references[following].start < quote_end:
            chosen = following if _is_near(text, quote.end(), references[following].start) else None
        quote_start = quotes[index - 1].end() if index else 0
        if chosen is None and following and references[following - 1].start >= quote_start:
            is_free = following - 1 not in used
            chosen = following - 1 if is_free and _is_near(text, references[following - 1].end, quote.start()) else None
        content = next(group for group in quote.groups() if group is not None)
        if chosen is not None:
            used.add(chosen)
            for document_id in references[chosen].ids:
                yield SourceClaim(document_id, content, quote.start(), quote.end())
        elif len(tokenize(content[:1_000])) >= MIN_UNATTRIBUTED_TOKENS:
            yield SourceClaim(None, content, quote.start(), quote.end())
    for index, reference in enumerate(references):
        if index not in used:
            statement = _sentence_before(text, reference.start)
            for document_id in reference.ids:
                yield SourceClaim(document_id, None, reference.start, reference.end, statement)


def _is_near(text: str, start: int, end: int) -> bool:
    return end - start <= _MAX_GAP_CHARS and "\n" not in text[start:end]


def _sentence_before(text: str, end: int) -> str:
    window = text[max(0, end - _MAX_STATEMENT_CHARS) : end].rstrip()
    starts = [match.end() for match in _SENTENCE_END.finditer(window)]
    return window[starts[-1] if starts else 0 :]
