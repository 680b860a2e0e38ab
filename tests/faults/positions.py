"""Where each consumer group of a run stands, for a run whose data did not arrive."""

from collections.abc import Iterable

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

TIMEOUT_S = 10.0


def positions(bootstrap: str, prefix: str) -> list[str]:
    """Return a line for each group and partition of topics with a prefix: committed, last stable and end offsets."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = admin.list_topics(timeout=TIMEOUT_S).topics
    partitions = [TopicPartition(name, p) for name in sorted(topics) for p in topics[name].partitions]
    partitions = [each for each in partitions if each.topic.startswith(prefix)]
    stable = _offsets(admin, partitions, IsolationLevel.READ_COMMITTED)
    end = _offsets(admin, partitions, IsolationLevel.READ_UNCOMMITTED)
    lines = [f"{t} {p}: stable to {stable[t, p]}, end {end[t, p]}" for t, p in stable if stable[t, p] != end[t, p]]
    groups = [each.group_id for each in admin.list_consumer_groups(request_timeout=TIMEOUT_S).result().valid]
    for group in sorted(name for name in groups if name.startswith(prefix)):
        described = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result()
        members = {
            f"{each.group_instance_id or each.client_id}": [
                (p.topic, p.partition) for p in (each.assignment.topic_partitions if each.assignment else [])
            ]
            for each in described.members
        }
        lines.append(f"group {group}: {described.state.name.lower()}, members {members}")
        request = ConsumerGroupTopicPartitions(group)
        committed = admin.list_consumer_group_offsets([request], request_timeout=TIMEOUT_S)[group].result()
        lines += [
            f"group {group}: {each.topic} {each.partition} committed {each.offset} of {end[each.topic, each.partition]}"
            for each in sorted(committed.topic_partitions)
            if (each.topic, each.partition) in end and each.offset < end[each.topic, each.partition]
        ]
    return lines


def _offsets(
    admin: AdminClient, partitions: Iterable[TopicPartition], isolation: IsolationLevel
) -> dict[tuple[str, int], int]:
    latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    queries = dict.fromkeys(partitions, latest)
    futures = admin.list_offsets(queries, isolation_level=isolation, request_timeout=TIMEOUT_S)
    return {(each.topic, each.partition): future.result().offset for each, future in futures.items()}
