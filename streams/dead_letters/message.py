"""Events that were put aside, as messages: reason and position in the headers, the original bytes as value."""

from __future__ import annotations

from typing import Any

from streams.events.batch import RejectedEvent

MAX_DETAIL_CHARS = 300


def dead_message(dead: RejectedEvent, source_topic: str, replay_of: str = "") -> dict[str, Any]:
    """Keyword arguments of `Producer.produce` for a dead letter.

    Args:
        dead: the event.
        source_topic: where it came from.
        replay_of: the dead letter that was replayed as this event, where it was: so a letter that comes back is linked
            to the one before.
    """
    return {
        "value": dead.value,
        "headers": [
            ("reason", dead.reason.encode()),
            ("source-topic", source_topic.encode()),
            ("source-partition", str(dead.partition).encode()),
            ("source-offset", str(dead.offset).encode()),
            ("index", str(dead.index).encode()),
            ("detail", dead.detail[:MAX_DETAIL_CHARS].encode("utf-8", "replace")),
            ("model", dead.model.encode("utf-8", "replace")),
            *([("replay-of", replay_of.encode("utf-8", "replace"))] if replay_of else []),
        ],
    }
