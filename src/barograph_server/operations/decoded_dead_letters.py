"""Decodes the bytes of a dead letter for people, with personal data masked.

Values that the contract marks as personal data are masked even if the publisher hashes or truncates them: the event may
come from another program. Without a contract all values are masked except those that Barograph itself needs. Of bytes
that are no event only the shape is shown: alphabetic characters become x and digits 9, so faults in quotes and braces
stay visible.
"""

import json
import re
from typing import Any

from barograph.contract import Contract

from barograph_server.streams.dead_letters.dead_letter import DeadLetter
from barograph_server.streams.events.arrow_message import open_table
from barograph_server.streams.records import Partial, RecordError, Tally, decode

MAX_CHARS = 4_000
"""Characters shown of one dead letter."""
MAX_ROWS = 5
"""Rows shown of an Arrow batch."""
_NOT_PERSONAL = frozenset({"model", "version", "at", "seq", "producer"})
"""Members of an event that never hold personal data; `id`, `arm` and others may."""


def decode_text(
    dead_letter: DeadLetter, contract: Contract | None, *, partials_topic: str, unmasked: bool = False
) -> str:
    """Decode the bytes of a dead letter as text.

    Args:
        contract: the contract of its model; None if there is none or it cannot be read.
        partials_topic: the name of the topic `partials`, whose records are not events.
    """
    if dead_letter.source_topic == partials_topic:
        return _describe_record(dead_letter.value)
    if not dead_letter.value:
        return "(no bytes)" if dead_letter.has_bytes else "(bytes not stored here: see the message in the source topic)"
    mask = _Mask(None if unmasked else contract, is_off=unmasked)
    try:
        if dead_letter.is_arrow:
            return _truncate(_rows(dead_letter.value, mask))
        tree = json.loads(dead_letter.value)
    except (ValueError, RecursionError):
        tree = None
    if isinstance(tree, dict):
        return _truncate(_dump({name: mask.member(name, value) for name, value in tree.items()}))
    return _truncate(_shape(dead_letter.value, unmasked=unmasked))


class _Mask:
    """Replaces values that may be personal data by their type and length."""

    def __init__(self, contract: Contract | None, *, is_off: bool) -> None:
        self._is_off = is_off
        self._has_contract = contract is not None
        self._personal = {field.source for field in contract.fields if field.pii != "keep"} if contract else set()

    def member(self, name: str, value: Any) -> Any:
        """Mask a member of an event, or the members of one of its maps."""
        if self._is_off or name in _NOT_PERSONAL:
            return value
        if isinstance(value, dict):
            return {key: self._value(f"{name}.{key}", item) for key, item in value.items()}
        return self._value(name, value)

    def column(self, name: str, values: list[Any]) -> list[Any]:
        """Mask the values of an Arrow column, named `MAP.KEY` or like a member."""
        if self._is_off or name in _NOT_PERSONAL:
            return values
        return [self._value(name, value) for value in values]

    def _value(self, source: str, value: Any) -> Any:
        if self._has_contract and source not in self._personal:
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
    head = table.slice(0, MAX_ROWS)
    columns = {name: mask.column(name, head.column(name).to_pylist()) for name in head.column_names}
    lines = [_dump({name: values[i] for name, values in columns.items()}) for i in range(head.num_rows)]
    more = table.num_rows - head.num_rows
    return "\n".join([f"Arrow, {table.num_rows} rows", *lines, *([f"… {more} more rows"] if more else [])])


def _describe_record(value: bytes) -> str:
    """Describe a record of `partials`; its counts are not personal data."""
    try:
        record = decode(value)
    except RecordError as error:
        return f"{len(value)} bytes that are not a record: {error}"
    ranges = ", ".join(f"{r.partition}: [{r.start}, {r.end})" for r in record.ranges) or "none"
    if isinstance(record, Partial):
        return (
            f"partial of {record.model} {record.version}, baseline {record.baseline_id}, pane {record.pane_start_s}, "
            f"offsets {ranges}"
        )
    if isinstance(record, Tally):
        return f"tally of {record.model or 'no model'}, offsets {ranges}"
    return f"progress of {record.instance}, offsets {ranges}"


def _shape(value: bytes, *, unmasked: bool) -> str:
    text = "".join(c if c.isprintable() else "·" for c in value.decode("utf-8", "replace"))
    if unmasked:
        return text
    return re.sub(r"\d", "9", re.sub(r"[^\W\d_]", "x", text))


def _dump(value: Any) -> str:
    # ASCII escapes would hide names; characters that are not printable must not reach a terminal.
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}… {len(text) - MAX_CHARS} more characters"
