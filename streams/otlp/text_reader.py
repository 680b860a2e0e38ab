"""Reads the user's last message and the answer from content attributes of a span."""

import re
from collections.abc import Iterator
from typing import Any

from barograph_server.streams.otlp.conventions import Attribute
from barograph_server.streams.otlp.media import mark_of, replace_media
from barograph_server.streams.otlp.span import SpanText

_USERS = ("user", "human")
_TEXT_TYPES = (None, "text", "input_text", "output_text")
"""Types of parts of a message that are text; others are calls of tools, their results, reasoning, images."""
_NUMBER = re.compile(r"\.(\d{1,6})\.")
_INPUT = "input_chars"


class TextReader:
    """Collects the texts of one span."""

    __slots__ = ("_answers", "_inputs", "_numbered", "_roles")

    def __init__(self) -> None:
        self._inputs: list[str] = []
        """Prompts of attributes that hold a whole conversation, or one text."""
        self._answers: list[str] = []
        self._numbered: dict[int, list[str]] = {}
        """Texts of attributes with the number of a message."""
        self._roles: dict[int, str] = {}

    def add(self, name: str, attribute: Attribute, tree: Any) -> None:
        """Add a content attribute.

        Args:
            tree: text, or lists and maps of texts; of messages what `parse_messages` returns.
        """
        form, is_input = attribute.content_form, attribute.content == _INPUT
        if form in ("dropped", "unread"):
            return
        number = _NUMBER.search(name)
        if form == "text" and isinstance(tree, list):
            tree = "\n".join(_texts(tree))
        if form == "messages":
            texts = [_last_user_text(tree)] if is_input else [*_texts(tree)]
            (self._inputs if is_input else self._answers).extend(text for text in texts if text)
        elif not isinstance(tree, str) or not tree:
            return
        elif number is None or not is_input:
            (self._inputs if is_input else self._answers).append(replace_media(tree))
        elif form == "role":
            self._roles[int(number[1])] = tree.lower()
        else:
            self._numbered.setdefault(int(number[1]), []).append(replace_media(tree))

    def text(self) -> SpanText | None:
        """Return the texts; None if there are none."""
        prompt = self._inputs[-1] if self._inputs else self._last_numbered()
        # Several attributes may repeat an answer.
        answer = "\n".join(dict.fromkeys(self._answers)) or None
        return None if prompt is None and answer is None else SpanText(prompt, answer)

    def _last_numbered(self) -> str | None:
        users = [number for number, role in self._roles.items() if role in _USERS]
        candidates = users if self._roles else list(self._numbered)
        last = max((number for number in candidates if number in self._numbered), default=None)
        return None if last is None else "\n".join(self._numbered[last])


def _last_user_text(tree: Any) -> str | None:
    """Return the text of the last message whose role is the user's; of messages without roles, of the last one."""
    if isinstance(tree, str):
        return replace_media(tree)
    if isinstance(tree, dict):
        nested = tree.get("messages")
        return _last_user_text(nested if isinstance(nested, list) else [tree])
    if not isinstance(tree, list):
        return None
    messages = [message for message in tree if isinstance(message, dict)]
    if not messages:
        texts = [text for text in tree if isinstance(text, str)]
        return replace_media(texts[-1]) if texts else None
    has_roles = any(isinstance(message.get("role"), str) for message in messages)
    for message in reversed(messages):
        role = message.get("role")
        if not has_roles or (isinstance(role, str) and role.lower() in _USERS):
            text = "\n".join(_texts(message))
            if text:
                return text
    return None


def _texts(tree: Any, depth: int = 0) -> Iterator[str]:
    """Return the texts of messages and their parts, in their order, and marks of media."""
    if isinstance(tree, str):
        yield replace_media(tree)
    elif isinstance(tree, list):
        for each in tree:
            if isinstance(each, str | dict):
                yield from _texts(each, depth)
    elif isinstance(tree, dict) and (mark := mark_of(tree)) is not None:
        yield mark
    elif isinstance(tree, dict) and depth < 4 and tree.get("type") in (*_TEXT_TYPES, "message"):
        for name in ("content", "parts", "text", "messages", "message"):
            value = tree.get(name)
            if isinstance(value, str | list | dict):
                yield from _texts(value, depth + 1)
