"""Rejected events as Kafka messages: reason and position in the headers, the original bytes without text as value."""

from __future__ import annotations

from typing import Any

from barograph_server.streams.dead_letters.text_removal import without_text
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
