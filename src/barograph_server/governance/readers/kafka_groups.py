"""Consumer groups that read the topics of Barograph."""

from __future__ import annotations

from typing import Any, get_args

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from barograph_server.governance.readers.comparison import Reader
from barograph_server.streams.broker.acl import KafkaRole, required_acls
from barograph_server.streams.broker.client import TIMEOUT_S, Admin
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import Topics
from barograph_server.terminal import listed


def own_groups(topics: Topics) -> frozenset[str]:
    """Return the groups of the processors."""
    return frozenset(
        acl.name for role in get_args(KafkaRole) for acl in required_acls(role, topics) if acl.resource == "group"
    )


def read_groups(settings: ProcessorSettings) -> tuple[list[Reader], list[str]]:
    """Read which other groups have committed offsets of the topics, or have their partitions assigned.

    Returns:
        The groups, and a note if none of the topics exists.
    """
    admin = Admin(settings.bootstrap_servers, settings.kafka)
    existing = admin.client.list_topics(timeout=TIMEOUT_S).topics
    partitions = [
        (name, number) for name in settings.topics.all if name in existing for number in existing[name].partitions
    ]
    if not partitions:
        prefix = f" with the prefix {settings.topics.prefix}" if settings.topics.prefix else ""
        return [], [f"No topic of Barograph{prefix} exists, so groups are unknown: set topic_prefix, or run apply."]
    begins = _first_offsets(admin, partitions)
    groups = admin.result(admin.client.list_consumer_groups(request_timeout=TIMEOUT_S), "list consumer groups")
    if groups.errors:
        # Of a broker that does not answer, all groups would be missing.
        raise admin.explain(groups.errors[0], "list consumer groups")
    readers = []
    own = own_groups(settings.topics)
    for group in sorted(each.group_id for each in groups.valid if each.group_id not in own):
        described = admin.client.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group]
        members = admin.result(described, f"describe group {group}").members
        assigned = {
            (each.topic, each.partition)
            for member in members
            for each in (member.assignment.topic_partitions if member.assignment is not None else ())
        }
        committed = {
            (each.topic, each.partition): each.offset for each in admin.committed(group, partitions) if each.offset >= 0
        }
        reads = sorted({topic for topic, _ in assigned & set(partitions)} | {topic for topic, _ in committed})
        if not reads:
            continue
        origins = sorted({f"{member.client_id} at {member.host.lstrip('/')}" for member in members})
        volume = sum(max(0, offset - begins.get(partition, 0)) for partition, offset in committed.items())
        readers.append(Reader("group", group, tuple(reads), volume=volume, origin=listed(origins) or "no member now"))
    return readers, []


def _first_offsets(admin: Admin, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
    earliest: Any = OffsetSpec.earliest  # its stub has no types
    requested = {TopicPartition(*partition): earliest() for partition in partitions}
    futures = admin.client.list_offsets(requested, request_timeout=TIMEOUT_S)
    return {
        (partition.topic, partition.partition): admin.result(future, "list the first offsets").offset
        for partition, future in futures.items()
    }
