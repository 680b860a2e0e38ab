"""Resets consumer groups to the end of restored tables, so that messages since the backup are read again.

Kafka stores the offsets of monitors and recorders; ClickHouse stores their results. After a restore the tables are
older than the offsets, and the messages in between would never be read again. Rereading more than that is harmless:
rows are idempotent by their keys and `record_seq`. So each group is reset to a little before the end of its rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from barograph_server.streams.broker.client import (
    TIMEOUT_S,
    Admin,
    TopicMetadata,
    consumer_config,
    explain,
    offset_since,
)
from barograph_server.streams.monitor.app import GROUP as MONITOR
from barograph_server.streams.monitor.state.offset_ledger import SEQ_EPOCH_BITS, offset_of
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.rebuild.stopped_check import wait_until_stopped
from barograph_server.streams.recorder.recorder import GROUP as RECORDER
from barograph_server.streams.recorder.recorder import known_epoch
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.history.raw_rows import newest_offsets

MARGIN_MS = 15 * 60 * 1000
"""Margin before the end of the rows. Rows that await a revision or were partly inserted are newer."""


@dataclass(frozen=True, slots=True)
class OffsetReset:
    """The reset of one partition of one consumer group."""

    group: str
    topic: str
    partition: int
    committed: int
    """Committed offset before the reset."""
    target: int
    """Committed offset after the reset; equal to `committed` if the tables are not older."""
    lost: int
    """Offsets that the tables lack and that retention has deleted from the log."""


def rewind(
    settings: ProcessorSettings, *, dry_run: bool = False, on_step: Callable[[str], None] = lambda _: None
) -> list[OffsetReset]:
    """Reset the groups of monitors and recorders to the end of the tables, unless `dry_run`."""
    with connect(settings.warehouse) as client:
        if not dry_run:
            wait_until_stopped(settings, client, [MONITOR, RECORDER], on_step)
        ends = {
            MONITOR: _ledger_ends(settings, client),
            RECORDER: {**_raw_ends(settings, client, "predictions"), **_raw_ends(settings, client, "labels")},
        }
    admin = Admin(settings.bootstrap_servers, settings.kafka)
    consumer = Consumer(consumer_config(settings, "rebuild"))
    resets: list[OffsetReset] = []
    try:
        for group, group_ends in ends.items():
            name = f"{settings.topics.prefix}{group}"
            resets += _plan_resets(admin, consumer, name, group_ends)
        if not dry_run:
            needed = [reset for reset in resets if reset.target < reset.committed]
            for name in sorted({reset.group for reset in needed}):
                _commit(admin, name, [reset for reset in needed if reset.group == name])
    except KafkaException as error:
        raise explain(error, "reset the offsets of a group") from error
    finally:
        consumer.close()
    return resets


def _ledger_ends(settings: ProcessorSettings, client: Client) -> dict[tuple[str, int], int]:
    """Return the first offset of each partition of `partials` that is not in the offset ledger."""
    topic = settings.topics.partials
    topic_id, partitions = TopicMetadata(settings).describe(topic)
    store = WarehouseStore(client)
    ends = {}
    for partition in range(partitions):
        ledger, epoch = store.load_ledger(partition, topic_id)
        record_seq = ledger.newest_record_seq()
        is_current = record_seq >= 0 and record_seq >> SEQ_EPOCH_BITS == epoch
        ends[topic, partition] = offset_of(record_seq) + 1 if is_current else 0
    return ends


def _raw_ends(settings: ProcessorSettings, client: Client, table: str) -> dict[tuple[str, int], int]:
    """Return the first offset after the last raw row, for each partition of a source topic."""
    topic = getattr(settings.topics, table)
    topic_id, partitions = TopicMetadata(settings).describe(topic)
    epoch = known_epoch(client, topic, topic_id)
    newest = {} if epoch is None else newest_offsets(client, table, epoch)
    return {(topic, partition): newest[partition] + 1 if partition in newest else 0 for partition in range(partitions)}


def _plan_resets(admin: Admin, consumer: Consumer, group: str, ends: dict[tuple[str, int], int]) -> list[OffsetReset]:
    resets = []
    for position in admin.committed(group, ends):
        end = ends[position.topic, position.partition]
        if position.offset < 0:
            continue
        low, high = consumer.get_watermark_offsets(
            TopicPartition(position.topic, position.partition), timeout=TIMEOUT_S, cached=False
        )
        target = max(
            low, min(position.offset, _offset_before(consumer, position.topic, position.partition, end, low, high))
        )
        resets.append(
            OffsetReset(group, position.topic, position.partition, position.offset, target, max(0, low - end))
        )
    return sorted(resets, key=lambda reset: (reset.group, reset.topic, reset.partition))


def _offset_before(consumer: Consumer, topic: str, partition: int, end: int, low: int, high: int) -> int:
    """Return the offset `MARGIN_MS` before the record at `end`."""
    if end <= low or low >= high:
        return end
    consumer.assign([TopicPartition(topic, partition, min(max(low, end - 1), high - 1))])
    message = consumer.poll(TIMEOUT_S)
    consumer.unassign()
    if message is None or message.error() is not None:
        return low
    start = offset_since(consumer, topic, partition, message.timestamp()[1] - MARGIN_MS)
    return end if start is None else min(end, start)


def _commit(admin: Admin, group: str, resets: list[OffsetReset]) -> None:
    request = ConsumerGroupTopicPartitions(
        group, [TopicPartition(each.topic, each.partition, each.target) for each in resets]
    )
    future = admin.client.alter_consumer_group_offsets([request], request_timeout=TIMEOUT_S)[group]
    result = admin.result(future, f"reset the offsets of the group {group}")
    for position in result.topic_partitions:
        if position.error is not None:
            raise KafkaException(position.error)
