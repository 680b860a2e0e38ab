"""The farewell of a process: a prediction that was not delivered, sent at the end with the last sequence number."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, encode_arrow


class Farewell(NamedTuple):
    """A message of one event."""

    value: bytes
    headers: list[tuple[str, bytes]]


def renumber(value: bytes, seq: int) -> Farewell | None:
    """Return the last prediction of a message with another sequence number; None for labels, which have none.

    Args:
        value: A message of the publisher: a JSON event or an Arrow batch.
        seq: The sequence number.
    """
    if value.startswith(b"{"):
        event = msgspec.json.decode(value)
        return Farewell(msgspec.json.encode({**event, "seq": seq}), []) if "seq" in event else None
    import pyarrow as pa  # serving publishes single events, which need no Arrow

    rows = pa.ipc.open_stream(value).read_all().slice(-1)
    position = rows.schema.get_field_index("seq")
    if position < 0:
        return None
    row = rows.set_column(position, "seq", pa.array([seq], pa.int64()))
    return Farewell(encode_arrow(row), [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)])
