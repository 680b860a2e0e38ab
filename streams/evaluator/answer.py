"""Answers of language models, as events of the topic `predictions` contain them."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
from barograph.text.content import ANSWER_TEXT, CUT, PROMPT_TEXT
from barograph.values import text_of

from barograph_server.streams.events.arrow_message import COLUMN_ERRORS, open_table
from barograph_server.streams.events.event_time import arrow_to_ms, parse_time_ms
from barograph_server.streams.recorder.arrow_values import plain_column, to_text

MAX_ID_CHARS = 10_000
"""A longer id would make an evaluation too large for Kafka; the answer is left out, and the log says so."""
_ANSWER_BYTES = ANSWER_TEXT.encode()
_COLUMNS = ("model", "version", "id", "role", "arm", "error")
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

    @property
    def has_whole_question(self) -> bool:
        """Whether the text of the prompt was published, and not cut."""
        return self.question is not None and not self.question.endswith(CUT)


class _AnswerEvent(msgspec.Struct):
    model: str
    version: str
    id: str
    at: Any
    context: dict[str, Any]
    arm: Any = None
    role: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_AnswerEvent).decode


def read_answers(value: bytes | None, models: Collection[str], *, is_arrow: bool = False) -> list[Answer]:
    """Read the answers with text of some models from one message.

    What is not such an event gives none: the sketcher reports invalid events.
    """
    if not value or _ANSWER_BYTES not in value:
        return []
    events = _arrow_events(value) if is_arrow else _json_events(value)
    return [answer for event in events if event.model in models and (answer := _answer(event)) is not None]


def _json_events(value: bytes) -> list[_AnswerEvent]:
    try:
        return [_decode(value)]
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    # Lone surrogates and numbers that are not finite, which other processors read.
    try:
        return [msgspec.convert(json.loads(value), _AnswerEvent)]
    except (ValueError, RecursionError):
        return []


def _arrow_events(value: bytes) -> list[_AnswerEvent]:
    try:
        table = open_table(value)
        at_ms = arrow_to_ms(table.column("at"))
        plain = {name: _texts(table, name) for name in _COLUMNS}
        names = [name for name in table.column_names if name.startswith(_CONTEXT)]
        context = {name.removeprefix(_CONTEXT): _texts(table, name) for name in names}
    except COLUMN_ERRORS:
        return []
    if at_ms is None:
        return []
    events = []
    for row, at in enumerate(at_ms.to_pylist()):
        members = {name: texts[row] for name, texts in plain.items()}
        own = {name: texts[row] for name, texts in context.items()}
        model, version, own_id = members["model"], members["version"], members["id"]
        if model is not None and version is not None and own_id is not None:
            rest = {name: members[name] for name in ("arm", "role", "error")}
            events.append(_AnswerEvent(model=model, version=version, id=own_id, at=at, context=own, **rest))
    return events


def _texts(table: pa.Table, name: str) -> list[str | None]:
    texts: list[str | None] = to_text(plain_column(table, name)).to_pylist()
    return texts


def _answer(event: _AnswerEvent) -> Answer | None:
    text, at_ms = event.context.get(ANSWER_TEXT), parse_time_ms(event.at)
    if not isinstance(text, str) or not text or at_ms is None or event.role == "shadow" or event.error is not None:
        return None
    question = event.context.get(PROMPT_TEXT)
    context = {name: text_of(each) for name, each in event.context.items() if name not in (PROMPT_TEXT, ANSWER_TEXT)}
    return Answer(
        event.model,
        _valid(event.version),
        _valid(event.id),
        at_ms,
        _valid(text),
        _valid(question) if isinstance(question, str) else None,
        None if event.arm is None else _valid(text_of(event.arm) or ""),
        {name: _valid(each) for name, each in context.items() if each is not None},
    )


def _valid(text: str) -> str:
    """Return a text in which lone surrogates, which UTF-8 cannot hold, are replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
