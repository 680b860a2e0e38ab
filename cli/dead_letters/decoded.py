"""The bytes of a dead letter as people read them, personal data masked.

What the contract marks as personal is masked even though the publisher hashed or cut it: a letter may come from a
program that did not. Without a contract nobody knows what is personal, so every value is masked but those that
Barograph needs itself. Bytes that are no event keep their shape alone: letters become x, digits 9, and what is wrong
with their quotes and braces can still be seen.
"""

from __future__ import annotations

import json
import re
from typing import Any

from barograph.contract import Contract

from streams.dead_letters.dead_letter import DeadLetter
from streams.events.arrow_message import open_table
from streams.records import Partial, RecordError, Tally, decode

MAX_CHARS = 4_000
"""Of one letter as it is shown; the rest is counted."""
MAX_ROWS = 5
"""Of an Arrow batch."""
_OWN = frozenset({"model", "version", "at", "seq", "producer"})
"""Members that are never personal; `id`, `arm` and the rest may be."""


def readable(letter: DeadLetter, contract: Contract | None, *, partials_topic: str, unmasked: bool = False) -> str:
    """Write a letter's bytes as text.

    Args:
        letter: the letter.
        contract: of its model, None where there is none or it cannot be read.
        partials_topic: the name of `partials`, whose records are no events.
        unmasked: show every value as it is.
    """
    if letter.source_topic == partials_topic:
        return _record(letter.value)
    if not letter.value:
        return "(no bytes)" if letter.has_bytes else "(its bytes were not kept: they are in the message at its source)"
    mask = _Mask(None if unmasked else contract, nothing=unmasked)
    if letter.is_arrow:
        try:
            return _cut(_rows(letter.value, mask))
        except ValueError:
            return _cut(_shape(letter.value, unmasked=unmasked))
    try:
        tree = json.loads(letter.value)
    except (ValueError, RecursionError):
        return _cut(_shape(letter.value, unmasked=unmasked))
    if not isinstance(tree, dict):
        return _cut(_shape(letter.value, unmasked=unmasked))
    return _cut(_dump({name: mask.member(name, value) for name, value in tree.items()}))


class _Mask:
    def __init__(self, contract: Contract | None, *, nothing: bool) -> None:
        self._nothing = nothing
        self._known = contract is not None
        self._personal = {field.source for field in contract.fields if field.pii != "keep"} if contract else set()

    def member(self, name: str, value: Any) -> Any:
        """A member of an event, or the members of one of its maps."""
        if self._nothing or name in _OWN:
            return value
        if isinstance(value, dict):
            return {inner: self._value(f"{name}.{inner}", each) for inner, each in value.items()}
        return self._value(name, value)

    def column(self, name: str, values: list[Any]) -> list[Any]:
        """The values of an Arrow column, named `MAP.KEY` or as a member is."""
        if self._nothing or name in _OWN:
            return values
        return [self._value(name, value) for value in values]

    def _value(self, source: str, value: Any) -> Any:
        if self._known and source not in self._personal:
            return value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return f"‹text of {len(value)}›"
        if isinstance(value, int | float):
            return "‹number›"
        return f"‹{type(value).__name__} of {len(value)}›" if isinstance(value, list | dict) else "‹value›"


def _rows(value: bytes, mask: _Mask) -> str:
    table = open_table(value)
    shown = table.slice(0, MAX_ROWS)
    columns = {name: mask.column(name, shown.column(name).to_pylist()) for name in shown.column_names}
    lines = [_dump({name: values[i] for name, values in columns.items()}) for i in range(shown.num_rows)]
    more = table.num_rows - shown.num_rows
    return "\n".join([f"Arrow, {table.num_rows} rows", *lines, *([f"… and {more} rows more"] if more else [])])


def _record(value: bytes) -> str:
    """A record of `partials`: what it is of; the numbers in it are nobody's."""
    try:
        found = decode(value)
    except RecordError as error:
        return f"{len(value)} bytes that are no record: {error}"
    ranges = ", ".join(f"{r.partition}: [{r.start}, {r.end})" for r in found.ranges) or "none"
    if isinstance(found, Partial):
        return (
            f"part of {found.model} {found.version}, baseline {found.baseline_id}, pane {found.pane_start_s}, "
            f"offsets {ranges}"
        )
    if isinstance(found, Tally):
        return f"tally of {found.model or 'no model'}, offsets {ranges}"
    return f"progress of {found.instance}, offsets {ranges}"


def _shape(value: bytes, *, unmasked: bool) -> str:
    text = "".join(c if c.isprintable() else "·" for c in value.decode("utf-8", "replace"))
    if unmasked:
        return text
    return re.sub(r"\d", "9", re.sub(r"[^\W\d_]", "x", text))


def _dump(value: Any) -> str:
    # ASCII would hide names; what cannot be printed must not reach a terminal as it is.
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}… and {len(text) - MAX_CHARS} characters more"
