"""Answers of language models, as events of the topic `predictions` contain them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec
from barograph.text.content import ANSWER_TEXT, CUT, PROMPT_TEXT

from streams.events.arrow_message import open_table
from streams.events.event_time import parse_time_ms

_ANSWER_BYTES = ANSWER_TEXT.encode()
_COLUMNS = ("model", "version", "id", "at", "role", "arm")
_CONTEXT = "context."


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with its text."""

    model: str
    version: str
    id: str
    at_ms: int
    """Event time, Unix milliseconds."""
    text: str
    question: str | None = None
    arm: str | None = None
    context: dict[str, str] = field(default_factory=dict)
    """Further members of `context`, as the event has them."""

    @property
    def is_cut(self) -> bool:
        """Whether the text was cut when it was published."""
        return self.text.endswith(CUT)


class _AnswerEvent(msgspec.Struct):
    model: str
    version: str
    id: str
    at: Any
    context: dict[str, Any]
    arm: str | None = None
    role: str | None = None
    error: str | None = None


_decode = msgspec.json.Decoder(_AnswerEvent).decode


def read_answers(value: bytes | None, models: Collection[str], *, is_arrow: bool = False) -> list[Answer]:
    """Read the answers with text of some models from one message.

    What is not such an event gives none: the sketcher reports invalid events.

    Args:
        value: the message.
        models: the models.
        is_arrow: whether it is an Arrow batch.
    """
    if not value or _ANSWER_BYTES not in value:
        return []
    events = _arrow_events(value) if is_arrow else _json_events(value)
    return [answer for event in events if event.model in models and (answer := _answer(event)) is not None]


def _json_events(value: bytes) -> list[_AnswerEvent]:
    try:
        return [_decode(value)]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return []


def _arrow_events(value: bytes) -> list[_AnswerEvent]:
    try:
        table = open_table(value)
        names = [name for name in table.column_names if name in _COLUMNS or name.startswith(_CONTEXT)]
        rows = table.select(names).to_pylist()
    except (ValueError, TypeError, ArithmeticError, LookupError):
        return []
    events = []
    for row in rows:
        context = {name.removeprefix(_CONTEXT): row[name] for name in names if name.startswith(_CONTEXT)}
        plain = {name: row.get(name) for name in _COLUMNS if name != "at"}
        at = row.get("at")
        at_ms = round(at.timestamp() * 1000) if hasattr(at, "timestamp") else at
        try:
            events.append(msgspec.convert({**plain, "at": at_ms, "context": context}, _AnswerEvent))
        except msgspec.ValidationError:
            continue
    return events


def _answer(event: _AnswerEvent) -> Answer | None:
    text, at_ms = event.context.get(ANSWER_TEXT), parse_time_ms(event.at)
    if not isinstance(text, str) or not text or at_ms is None or event.role == "shadow" or event.error is not None:
        return None
    question = event.context.get(PROMPT_TEXT)
    context = {
        name: each
        for name, each in event.context.items()
        if isinstance(each, str) and name not in (PROMPT_TEXT, ANSWER_TEXT)
    }
    return Answer(
        event.model,
        event.version,
        event.id,
        at_ms,
        text,
        question if isinstance(question, str) else None,
        event.arm,
        context,
    )
