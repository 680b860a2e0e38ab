"""Which incarnation of a topic raw rows were read from: the column `epoch` of their sorting key.

A topic that was deleted and created again counts its offsets from 0 anew, so a position alone would let new rows
replace old ones. Every incarnation that is ever read leaves a row of its own in the table `topics`, named
`TOPIC@TOPIC_ID` (no topic's name holds an @), before its first raw row is written; its epoch is how many such rows
are older. Readers that meet a new incarnation at once write the same row and then count the same.
"""

from __future__ import annotations

from datetime import datetime

from warehouse import queries
from warehouse.client import Client
from warehouse.tables import insert_rows


def epoch_of(client: Client, topic: str, topic_id: str, partitions: int, now_ms: int) -> int:
    """Find the epoch of a topic's present incarnation, and record the incarnation where it is new.

    Args:
        client: the warehouse.
        topic: the topic's name.
        topic_id: Kafka's id of it.
        partitions: how many it has.
        now_ms: Unix milliseconds, for a new incarnation.

    Raises:
        WarehouseBusy: ClickHouse cannot tell now.
        WarehouseError: the table `topics` is missing.
    """
    name = f"{topic}@{topic_id}"
    seen = _incarnations(client, topic)
    if name not in seen:
        # A clock that runs behind must not put this incarnation before an older one.
        after_ms = max((round(moment.timestamp() * 1000) for moment in seen.values()), default=0) + 1
        row = {"name": name, "topic_id": topic_id, "partitions": partitions, "recorded_at": max(now_ms, after_ms)}
        insert_rows(client, "topics", [row])
        seen = _incarnations(client, topic)
    return sorted(seen, key=lambda each: (seen[each], each)).index(name)


def known_epoch(client: Client, topic: str, topic_id: str) -> int | None:
    """Find the epoch of a topic's incarnation without recording it; None where none of its rows were ever written.

    Raises:
        WarehouseBusy: ClickHouse cannot tell now.
        WarehouseError: the table `topics` is missing.
    """
    seen = _incarnations(client, topic)
    name = f"{topic}@{topic_id}"
    return sorted(seen, key=lambda each: (seen[each], each)).index(name) if name in seen else None


def _incarnations(client: Client, topic: str) -> dict[str, datetime]:
    queries.sync_replicas(client, "topics")
    return {row.name: row.recorded_at for row in queries.topics(client) if row.name.startswith(f"{topic}@")}
