"""Lengths of prompts and answers: what remains of their text if no contract reads it."""

from __future__ import annotations

from typing import Any

import msgspec

from barograph_server.streams.otlp.conventions import ContentForm

_TEXT_MEMBERS = ("content", "text")


def parse_messages(value: Any) -> Any:
    """Return the lists and maps of a JSON text of messages; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return value


def count_chars(form: ContentForm, value: Any) -> int | None:
    """Count the characters of a content attribute; None if it does not count.

    Args:
        form: of the attribute. Of `messages` only the texts count, not roles, types and JSON's own characters.
        value: text, or lists and maps of texts; of `messages` what `parse_messages` returns.
    """
    if form in ("dropped", "role"):
        return None
    if form == "text":
        return len(value) if isinstance(value, str) else None
    if isinstance(value, str):
        return len(value)
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
