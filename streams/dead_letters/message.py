"""Rejected events as Kafka messages: reason and position in the headers, the original bytes without text as value.

Contracts allow such text in raw predictions only. Bytes that cannot be read, and may contain it, are not kept.
"""

import io
import json
from typing import Any

import pyarrow as pa
from barograph.events import CONTEXT
from barograph.text.content import TEXT_MEMBERS

from barograph_server.streams.events.arrow_message import open_table
from barograph_server.streams.events.batch import RejectedEvent

MAX_DETAIL_CHARS = 300


def dead_message(event: RejectedEvent, source_topic: str, replay_of: str = "") -> dict[str, Any]:
    """Return the keyword arguments of `Producer.produce` for a dead letter.

    Args:
        replay_of: name of the dead letter that was replayed as this event, if any. It links a dead letter that is
            rejected again to its predecessor.
    """
    return {
        "value": without_text(event.value),
        "headers": [
            ("reason", event.reason.encode()),
            ("source-topic", source_topic.encode()),
            ("source-partition", str(event.partition).encode()),
            ("source-offset", str(event.offset).encode()),
            ("index", str(event.index).encode()),
            ("detail", event.detail[:MAX_DETAIL_CHARS].encode("utf-8", "replace")),
            ("model", event.model.encode("utf-8", "replace")),
            *([("replay-of", replay_of.encode("utf-8", "replace"))] if replay_of else []),
        ],
    }


_ARROW_START = b"\xff\xff\xff\xff"
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
"""Encodings of JSON, by its first standard. Events must be UTF-8, but what is rejected may be in any of them."""
_NAMES = tuple(name.encode(encoding) for name in TEXT_MEMBERS for encoding in _ENCODINGS)
_ESCAPES = tuple("\\u".encode(encoding) for encoding in _ENCODINGS)
"""JSON may write any character of a name as an escape."""
_COLUMNS = frozenset((CONTEXT, *(f"{CONTEXT}.{name}" for name in TEXT_MEMBERS)))


def without_text(value: bytes) -> bytes:
    """Return the bytes of an event without `context.prompt_text` and `context.answer_text`.

    Bytes without these names are returned as they are. Bytes that contain a name and cannot be read are replaced by
    none.

    Args:
        value: a JSON message, or an Arrow stream.
    """
    is_arrow = value.startswith(_ARROW_START)
    if not any(name in value for name in _NAMES) and (is_arrow or not any(escape in value for escape in _ESCAPES)):
        return value
    return _arrow_without_text(value) if is_arrow else _json_without_text(value)


def _json_without_text(value: bytes) -> bytes:
    may_contain_text = any(name in value for name in _NAMES)
    try:
        event = json.loads(value)
    except (ValueError, RecursionError):
        return b"" if may_contain_text else value
    context = (event.get(CONTEXT) or {}) if isinstance(event, dict) else None
    if not isinstance(context, dict):
        return b"" if may_contain_text else value
    if not may_contain_text and not any(name in context for name in TEXT_MEMBERS):
        return value
    # Written again even if nothing is removed here: a repeated member hides the first one.
    event[CONTEXT] = {name: each for name, each in context.items() if name not in TEXT_MEMBERS}
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")


def _arrow_without_text(value: bytes) -> bytes:
    try:
        table = open_table(value)
        table = table.select([name for name in table.column_names if name not in _COLUMNS])
        table = table.replace_schema_metadata(None)
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()
    except (ValueError, pa.ArrowException, MemoryError):
        return b""
