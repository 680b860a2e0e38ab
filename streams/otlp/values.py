"""Values of attributes: one reader per form of the table of conventions."""

import math
import ntpath
import re
from functools import lru_cache
from typing import Any

import msgspec

from barograph_server.streams.events.event_time import parse_time_ms
from barograph_server.streams.otlp.conventions import Form, Unit
from barograph_server.streams.otlp.rejection import ValueReason
from barograph_server.streams.otlp.span import MAX_JSON_TEXT, OTHER

MAX_TOKENS = 10_000_000
"""Largest count of tokens of one call that is believed; no model's context is longer."""
MAX_DURATION_MS = 86_400_000.0
"""Longest duration of one call that is believed: a day."""
MAX_COST_USD = 1_000_000.0
MAX_TEXT_CHARS = 200
"""Longest name; panes count longer versions as `other`."""
MAX_FINISH_REASONS = 8
"""Most different finish reasons of one call; it has one per choice."""
_MAX_PATH_CHARS = 1_000
_NAME = re.compile(r"[\w.:/@+=#~-]{1,200}")
_TITLE = re.compile(r"[\w.:/@+=#~-]+(?: [\w.:/@+=#~-]+)*")
_ABSOLUTE_PATH = re.compile(r"/|[A-Za-z]:[\\/]|\\\\|file:")
_ENUM = "FinishReason."
_FLAGS = {"true": True, "false": False}


class UnreadableValue(Exception):
    """A value that cannot be used, and why."""

    def __init__(self, reason: ValueReason) -> None:
        super().__init__(reason)
        self.reason = reason


def member_of(value: Any, member: str) -> Any:
    """Return a member of a JSON text by its path, or the whole for an empty one; None if the member is missing.

    Of a list, such as MLflow's linked prompts, the first element counts.

    Raises:
        UnreadableValue: the value is not a JSON text, or a very long one.
    """
    if not isinstance(value, str) or len(value) > MAX_JSON_TEXT:
        raise UnreadableValue(ValueReason.WRONG_TYPE)
    try:
        parsed = msgspec.json.decode(value)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise UnreadableValue(ValueReason.WRONG_TYPE) from None
    if not member:
        return parsed
    if isinstance(parsed, list):
        parsed = parsed[0] if parsed else {}
    if not isinstance(parsed, dict):
        raise UnreadableValue(ValueReason.WRONG_TYPE)
    for name in member.split("."):
        parsed = parsed.get(name) if isinstance(parsed, dict) else None
    return parsed


def read_value(form: Form, unit: Unit, value: Any) -> Any:
    """Return a value in the form that the table declares; times in milliseconds.

    Raises:
        UnreadableValue: it does not fit.
    """
    match form:
        case "count":
            return read_count(value)
        case "number":
            return read_number(value, unit)
        case "name" | "title":
            return _read_text(value, _NAME if form == "name" else _TITLE)
        case "model":
            return read_model(value)
        case "names":
            return _read_names(value)
        case "flag":
            return _read_flag(value)
        case "time":
            at_ms = parse_time_ms(value.strip('"')) if isinstance(value, str) else None
            if at_ms is None:
                raise UnreadableValue(ValueReason.WRONG_TYPE)
            return at_ms
        case "evidence":
            return value


@lru_cache(maxsize=4096)
def read_known_text(form: Form, text: str) -> Any:
    """Read a text as `read_value` does, and remember the result: names of models and operations repeat.

    Raises:
        UnreadableValue: it does not fit.
    """
    return read_value(form, "", text)


def read_count(value: Any) -> int:
    """Return a count of tokens.

    Raises:
        UnreadableValue: it is not a whole number from 0 to `MAX_TOKENS`.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnreadableValue(ValueReason.NOT_FINITE)
        if not value.is_integer():
            raise UnreadableValue(ValueReason.WRONG_TYPE)
        value = int(value)
    if type(value) is not int:
        raise UnreadableValue(ValueReason.WRONG_TYPE)
    if value < 0:
        raise UnreadableValue(ValueReason.NEGATIVE)
    if value > MAX_TOKENS:
        raise UnreadableValue(ValueReason.TOO_LARGE)
    return value


def read_number(value: Any, unit: Unit) -> float:
    """Return a cost in US dollars, or a time in milliseconds.

    Raises:
        UnreadableValue: it is not a number, negative, or too large to be believed.
    """
    if type(value) not in (int, float):
        raise UnreadableValue(ValueReason.WRONG_TYPE)
    number = float(value)
    if not math.isfinite(number):
        raise UnreadableValue(ValueReason.NOT_FINITE)
    if number < 0:
        raise UnreadableValue(ValueReason.NEGATIVE)
    limit = MAX_COST_USD
    if unit == "s":
        number, limit = number * 1000, MAX_DURATION_MS
    if number > limit:
        raise UnreadableValue(ValueReason.TOO_LARGE)
    return number


def is_name(text: str) -> bool:
    """Return whether a text looks like a name: at most 200 characters, and no spaces."""
    return len(text) <= MAX_TEXT_CHARS and _matches(_NAME, text)


@lru_cache(maxsize=4096)
def _matches(pattern: re.Pattern[str], text: str) -> bool:
    return pattern.fullmatch(text) is not None


def read_model(value: Any) -> str:
    """Return a model's name. Of a path, which servers without an alias report, the file's name.

    Raises:
        UnreadableValue: it is not text, or does not look like a name.
    """
    if isinstance(value, str) and len(value) <= _MAX_PATH_CHARS and _ABSOLUTE_PATH.match(value):
        value = ntpath.basename(value.rstrip("/\\"))
    return _read_text(value, _NAME)


def _read_text(value: Any, pattern: re.Pattern[str]) -> str:
    if type(value) is int:
        value = str(value)
    elif isinstance(value, str) and value.startswith("<class '"):  # so Semantic Kernel writes kinds of errors
        value = value[len("<class '") :].removesuffix("'>")
    if not isinstance(value, str):
        raise UnreadableValue(ValueReason.WRONG_TYPE)
    if len(value) > MAX_TEXT_CHARS or not _matches(pattern, value):
        raise UnreadableValue(ValueReason.NOT_A_NAME)
    return value


def _read_names(value: Any) -> str:
    """Join different names by commas. The value is a list, a JSON text of a list, or one name."""
    if isinstance(value, str):
        value = member_of(value, "") if value.startswith("[") else [value]
    if not isinstance(value, list):
        raise UnreadableValue(ValueReason.WRONG_TYPE)
    texts = tuple(dict.fromkeys([each for each in value if isinstance(each, str) and each]))
    if not texts:
        raise UnreadableValue(ValueReason.WRONG_TYPE)
    return _joined_names(texts[:MAX_FINISH_REASONS])


@lru_cache(maxsize=1024)
def _joined_names(texts: tuple[str, ...]) -> str:
    # Semantic Kernel writes members of an enumeration: FinishReason.STOP.
    names = (text.removeprefix(_ENUM).lower() if text.startswith(_ENUM) else text for text in texts)
    return ",".join(dict.fromkeys(name if is_name(name) and len(name) <= 64 else OTHER for name in names))


def _read_flag(value: Any) -> bool:
    if isinstance(value, str):
        value = _FLAGS.get(value.lower())
    if not isinstance(value, bool):
        raise UnreadableValue(ValueReason.WRONG_TYPE)
    return value
