"""Labels as JSON events."""

from __future__ import annotations

from barograph.events import MAX_EVENT_BYTES, Label, encode_json, label_key
from barograph.publisher.outbox import Outbox


def send_label(outbox: Outbox, topic: str, label: Label) -> bool:
    """Queue one label as JSON and return whether it was accepted."""
    data = encode_json(label)
    if len(data) > MAX_EVENT_BYTES:
        return outbox.drop("too-large", 1, f"a label has {len(data):,} bytes; at most {MAX_EVENT_BYTES:,} are sent")
    return outbox.send(topic, data, key=label_key(label.model, label.id))
