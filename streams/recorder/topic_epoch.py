"""Epoch of a topic's incarnation: part of the sorting key of raw rows.

A topic that is deleted and recreated counts its offsets from 0 again, so without an epoch new rows would replace old
ones. The recorder writes a row for each incarnation to the table `topics`, named `TOPIC@TOPIC_ID` (no topic name
contains an @), before its first raw row. The epoch is the number of older rows of the topic. Recorders that meet a new
incarnation at the same time write the same row and compute the same epoch.
"""

from datetime import datetime

from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows


def epoch_of(client: Client, topic: str, topic_id: str, partitions: int, now_ms: int) -> int:
    """Return the epoch of a topic's current incarnation, and record a new incarnation.

    Args:
        topic_id: Kafka's id of the topic.
        now_ms: Unix milliseconds, for a new incarnation.
    """
    name = f"{topic}@{topic_id}"
    incarnations = _incarnations(client, topic)
    if name not in incarnations:
        # A slow clock must not put this incarnation before an older one.
        after_ms = max((round(moment.timestamp() * 1000) for moment in incarnations.values()), default=0) + 1
        row = {"name": name, "topic_id": topic_id, "partitions": partitions, "recorded_at": max(now_ms, after_ms)}
        insert_rows(client, "topics", [row])
        incarnations = _incarnations(client, topic)
    return _epoch(incarnations, name)


def known_epoch(client: Client, topic: str, topic_id: str) -> int | None:
    """Return the epoch of a topic's incarnation, or None if the recorder never wrote a row of it."""
    incarnations = _incarnations(client, topic)
    name = f"{topic}@{topic_id}"
    return _epoch(incarnations, name) if name in incarnations else None


def _epoch(incarnations: dict[str, datetime], name: str) -> int:
    return sorted(incarnations, key=lambda each: (incarnations[each], each)).index(name)


def _incarnations(client: Client, topic: str) -> dict[str, datetime]:
    """Return when each incarnation of a topic was recorded, by name."""
    queries.sync_replicas(client, "topics")
    return {row.name: row.recorded_at for row in queries.topics(client) if row.name.startswith(f"{topic}@")}
