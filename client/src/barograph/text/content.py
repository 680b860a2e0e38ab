"""Content of prompts and answers in events, as contracts say: dropped, hashed, redacted or kept."""

from __future__ import annotations

import unicodedata

from barograph.contract import Contract
from barograph.publisher.pii import FieldHash
from barograph.sampling import is_in_share
from barograph.text.redaction import redact

PROMPT_TEXT, ANSWER_TEXT = "prompt_text", "answer_text"
"""Members of `context` that hold text. They reach raw predictions only: dead letters are written without them."""
PROMPT_HASH, ANSWER_HASH = "prompt_hash", "answer_hash"
SAMPLE = "text_sample"
"""Member of `context`: the probability with which the text of this generation was published."""
TEXT_MEMBERS = (PROMPT_TEXT, ANSWER_TEXT)
MAX_CHARS = 8_000
"""Characters of one text that are published."""
CUT = " <cut>"
"""Ends a text that was cut."""
_READ_CHARS = 4 * MAX_CHARS
"""Characters that are redacted; of a longer text, the last ones might be half of a secret."""
_TAIL_CHARS = 4_096
"""Characters before `_READ_CHARS` that are not published of a longer text: no secret that a pattern finds is longer."""


class ContentPolicy:
    """Turns texts into members of `context`."""

    def __init__(self, contract: Contract, key: bytes) -> None:
        """Prepare the policy of a contract.

        Args:
            contract: With a section `text`; without one, nothing is published.
            key: The secret for hashes; empty if there is none, and then hashes are left out.
        """
        text = contract.text
        self._mode = "drop" if text is None else text.content
        self._sample = 0.0 if text is None else text.sample
        self._hashes: dict[str, FieldHash] = {}
        if self._mode == "hash" and key:
            self._hashes = {
                name: FieldHash(key, contract.model, f"context.{name}") for name in (PROMPT_HASH, ANSWER_HASH)
            }

    def members(self, event_id: str, prompt: str | None, answer: str | None) -> dict[str, str]:
        """Return the members of `context` for the texts of one generation.

        Args:
            event_id: The prediction's id, which decides whether the generation is in the sample.
            prompt: The last message of the user; None if it is not known.
            answer: The answer; None if it is not known.
        """
        if self._mode == "drop":
            return {}
        if self._mode == "hash":
            pairs = ((PROMPT_HASH, prompt), (ANSWER_HASH, answer))
            return {name: self._hashes[name](normalize(text)) for name, text in pairs if text and name in self._hashes}
        if not is_sampled(event_id, self._sample):
            return {}
        read = _redacted if self._mode == "redact" else _cut
        texts = {name: read(text) for name, text in ((PROMPT_TEXT, prompt), (ANSWER_TEXT, answer)) if text}
        return texts | {SAMPLE: f"{self._sample:g}"} if texts else {}


def is_sampled(event_id: str, share: float) -> bool:
    """Return whether a prediction is in the sample of a share: the first 8 bytes of SHA-256 of `text` and its id."""
    return is_in_share(share, "text", event_id)


def normalize(text: str) -> str:
    """Return a text in which capitals, white space and compatible forms of characters make no difference."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else text[:MAX_CHARS] + CUT


def _redacted(text: str) -> str:
    if len(text) <= _READ_CHARS:
        return _cut(redact(text))
    # What is published ends before the part of the text that ends in the middle of something.
    redacted = redact(text[:_READ_CHARS])
    return redacted[: max(0, min(MAX_CHARS, len(redacted) - _TAIL_CHARS))] + CUT
