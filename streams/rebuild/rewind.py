"""Consumer groups set back to where restored tables end, so that what came since the backup is read again.

Kafka keeps the offsets of monitors and recorders, ClickHouse what they made of them. After a restore the tables are
older than the offsets: what lies between would never be read again. Reading more than that is harmless, since both
write rows whose keys and `record_seq` make repeats converge; so each group is set back a little further than its rows end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from streams.broker.client import TIMEOUT_S, Admin, TopicMetadata, consumer_config, explain, offset_since
from streams.monitor.app import GROUP as MONITOR
from streams.monitor.state.offset_ledger import SEQ_EPOCH_BITS
from streams.monitor.state.store import WarehouseStore
from streams.rebuild.stopped_check import wait_stopped
from streams.recorder.recorder import GROUP as RECORDER
from streams.recorder.topic_epoch import known_epoch
from streams.settings import ProcessorSettings
from warehouse.client import Client, connect

MARGIN_MS = 15 * 60 * 1000
"""How long before the end of the rows reading begins: what awaits a revision, or was half inserted, is newer."""


@dataclass(frozen=True, slots=True)
class Move:
    """One partition of one group."""

    group: str
    topic: str
    partition: int
    committed: int
    """Where the group would go on."""
    target: int
    """Where it is set to; as `committed` where the tables are not older."""
    gone: int
    """Offsets before the target that the tables lack and the log holds no more."""


def rewind(
    settings: ProcessorSettings, *, dry_run: bool = False, on_step: Callable[[str], None] = lambda _: None
) -> list[Move]:
    """Set the groups of monitors and recorders back to where the tables end.

    Raises:
        RebuildError: a processor of a group that must move is running.
        ProcessorError: Kafka does not answer.
        WarehouseError: ClickHouse refuses.
        WarehouseBusy: ClickHouse cannot answer now.
    """
    with connect(settings.warehouse) as client:
        if not dry_run:
            wait_stopped(settings, client, [MONITOR, RECORDER], on_step)
        ends = {
            MONITOR: _ledger_ends(settings, client),
            RECORDER: {**_raw_ends(settings, client, "predictions"), **_raw_ends(settings, client, "labels")},
        }
    admin = Admin(settings.bootstrap_servers, settings.kafka, log_level=3)
    consumer = Consumer(consumer_config(settings, "rebuild"))
    moves: list[Move] = []
    try:
        for group, by_place in ends.items():
            name = f"{settings.topics.prefix}{group}"
            moves += _moves(admin, consumer, name, by_place)
        if not dry_run:
            for name in sorted({move.group for move in moves if move.target < move.committed}):
                _set(admin, name, [move for move in moves if move.group == name and move.target < move.committed])
    except KafkaException as error:
        raise explain(error, "set back the offsets of a group") from error
    finally:
        consumer.close()
    return moves


def _ledger_ends(settings: ProcessorSettings, client: Client) -> dict[tuple[str, int], int]:
    """Of each partition of `partials`, the first offset that is not in the offset ledger."""
    topic = settings.topics.partials
    topic_id, partitions = TopicMetadata(settings).describe(topic)
    store = WarehouseStore(client)
    ends = {}
    for partition in range(partitions):
        ledger, epoch = store.load_ledger(partition, topic_id)
        record_seq = ledger.newest_record_seq()
        same = record_seq >= 0 and record_seq >> SEQ_EPOCH_BITS == epoch
        ends[topic, partition] = (record_seq & ((1 << SEQ_EPOCH_BITS) - 1)) + 1 if same else 0
    return ends


def _raw_ends(settings: ProcessorSettings, client: Client, table: str) -> dict[tuple[str, int], int]:
    """Of each partition of a source topic, the first offset after the last raw row."""
    topic = getattr(settings.topics, table)
    topic_id, partitions = TopicMetadata(settings).describe(topic)
    epoch = known_epoch(client, topic, topic_id)
    sql = f"SELECT partition, max(offset) FROM {table} WHERE epoch = {{epoch:UInt16}} GROUP BY partition"  # noqa: S608
    found = {} if epoch is None else dict(client.rows(sql, {"epoch": epoch}))
    return {
        (topic, partition): int(found[partition]) + 1 if partition in found else 0 for partition in range(partitions)
    }


def _moves(admin: Admin, consumer: Consumer, group: str, ends: dict[tuple[str, int], int]) -> list[Move]:
    moves = []
    for place in admin.committed(group, ends):
        end = ends[place.topic, place.partition]
        if place.offset < 0:
            continue
        low, high = consumer.get_watermark_offsets(
            TopicPartition(place.topic, place.partition), timeout=TIMEOUT_S, cached=False
        )
        target = max(low, min(place.offset, _before(consumer, place.topic, place.partition, end, low, high)))
        moves.append(Move(group, place.topic, place.partition, place.offset, target, max(0, low - end)))
    return sorted(moves, key=lambda move: (move.group, move.topic, move.partition))


def _before(consumer: Consumer, topic: str, partition: int, end: int, low: int, high: int) -> int:
    """The offset that lies `MARGIN_MS` before the record at `end`."""
    if end <= low or low >= high:
        return end
    consumer.assign([TopicPartition(topic, partition, min(max(low, end - 1), high - 1))])
    message = consumer.poll(TIMEOUT_S)
    consumer.unassign()
    if message is None or message.error() is not None:
        return low
    found = offset_since(consumer, topic, partition, message.timestamp()[1] - MARGIN_MS)
    return end if found is None else min(end, found)


def _set(admin: Admin, group: str, moves: list[Move]) -> None:
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(m.topic, m.partition, m.target) for m in moves])
    asked = admin.client.alter_consumer_group_offsets([wanted], request_timeout=TIMEOUT_S)[group]
    done = admin.result(asked, f"set back the offsets of the group {group}")
    for place in done.topic_partitions:
        if place.error is not None:
            raise KafkaException(place.error)
