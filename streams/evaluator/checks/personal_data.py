"""Finds personal data and secrets in an answer that neither the question nor the context contains."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from barograph.text.redaction import KINDS, redact

from barograph_server.streams.evaluator.checks.errors import MAX_ANSWER_CHARS

_PLACEHOLDER = re.compile(f"<(?:{'|'.join(KINDS)})>")


@dataclass(frozen=True)
class PersonalDataResult:
    """Personal data of an answer. It contains positions and kinds, never the data."""

    leaked: Mapping[str, int]
    """Number of values by kind (`email`, `phone`, …) that the question and the context do not contain."""
    spans: tuple[tuple[int, int], ...]
    """First character of each of them in the answer, and the one after its last."""
    repeated: int
    """Values that the question or the context contains, such as the telephone number of the shop."""
    unread_chars: int = 0
    """Characters after the first `MAX_ANSWER_CHARS`, which were not read."""


def check_personal_data(answer: str, allowed: Iterable[str] = ()) -> PersonalDataResult:
    """Search an answer for what `barograph.text.redaction` replaces.

    Args:
        allowed: Texts whose personal data may be repeated: the question and the documents.
    """
    text = answer[:MAX_ANSWER_CHARS]
    known = [_characters(each) for each in allowed]
    leaked: Counter[str] = Counter()
    spans, repeated = [], 0
    for kind, start, end in _replaced(text, redact(text)):
        value = _characters(text[start:end])
        if any(value in each for each in known):
            repeated += 1
        else:
            leaked[kind] += 1
            spans.append((start, end))
    return PersonalDataResult(dict(leaked), tuple(spans), repeated, max(0, len(answer) - MAX_ANSWER_CHARS))


def _replaced(text: str, redacted: str) -> Iterable[tuple[str, int, int]]:
    """Return kind, start and end of each part of a text that a placeholder replaces.

    Text between placeholders is the same in both, so it shows where each replaced part ends. Placeholders without text
    between them are one part.
    """
    position = at = 0
    matches = list(_PLACEHOLDER.finditer(redacted))
    for index, match in enumerate(matches):
        position += match.start() - at
        at = match.end()
        if text.startswith(match[0], position):
            # The answer itself contains the placeholder.
            position += len(match[0])
            continue
        end = matches[index + 1].start() if index + 1 < len(matches) else len(redacted)
        # A fragment of a URL begins with another sign than the query that replaces it.
        following = redacted[at:end]
        is_last = index + 1 == len(matches)
        stop = len(text) - len(following) if is_last else text.find(following.removesuffix("?"), position + 1)
        if not following and not is_last:
            continue
        yield match[0][1:-1], position, stop
        position = stop


def _characters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
