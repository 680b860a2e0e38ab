"""Lengths of prompts and answers: what remains of their text if no contract reads it."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.otlp.conventions import ContentForm

MAX_JSON_CONTENT = 5 << 20
"""Longest JSON text of messages, in characters, that is parsed: that of a request."""
_TEXT_MEMBERS = ("content", "text")


def count_chars(form: ContentForm, value: Any) -> int | None:
    """Count the characters of a content attribute; None if it does not count.

    Args:
        form: of the attribute. Of `messages` only the texts count, not roles, types and JSON's own characters.
        value: text, or lists and maps of texts.
    """
    if form in ("dropped", "role"):
        return None
    if form == "text":
        return len(value) if isinstance(value, str) else None
    if isinstance(value, str):
        try:
            parsed = msgspec.json.decode(value)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return len(value)
        return _count_texts(parsed) if isinstance(parsed, list | dict) else len(value)
    return _count_texts(value) if isinstance(value, list | dict) else None


def _count_texts(tree: Any) -> int:
    total, pending = 0, [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            for name, value in node.items():
                if isinstance(value, list | dict):
                    pending.append(value)
                elif name in _TEXT_MEMBERS and isinstance(value, str):
                    total += len(value)
        else:
            for value in node:
                if isinstance(value, list | dict):
                    pending.append(value)
                elif isinstance(value, str):
                    total += len(value)
    return total
