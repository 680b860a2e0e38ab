"""Checks of topics (partitions, settings, replicas) and of consumer groups."""

from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from barograph_server.finding import Finding, error, ok, unknown, warning
from barograph_server.operations.doctor.broker import TIMEOUT_S, Broker
from barograph_server.provisioning.topics import TopicAdmin, TopicSpec, TopicState, compare, topic_specs
from barograph_server.settings import Settings
from barograph_server.streams.broker.client import explain
from barograph_server.terminal import plural
from barograph_server.warehouse.queries import TopicRow

COMPONENT, GROUPS = "Topics", "Groups"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
APPLY = "Run `barograph apply`."
_TOPICS_OF_GROUP = {"sketcher": ("predictions",), "recorder": ("predictions", "labels"), "monitor": ("partials",)}
_REASONS = {
    "message.timestamp.type": "the time at which Kafka received an event counts, not the producer's",
    "cleanup.policy": "compaction would delete events that share a key",
    "max.message.bytes": "brokers would reject larger messages",
}
"""Why a topic needs a setting."""
_RESTART_BROKERS = "Restart the brokers that hold the replicas, and check their logs."


def check_topics(settings: Settings, broker: Broker, recorded: Mapping[str, TopicRow] | None) -> Iterator[Finding]:
    """Check every topic, and against what `apply` recorded; None if ClickHouse did not return it."""
    specs = topic_specs(settings)
    states = TopicAdmin(settings).read([spec.name for spec in specs])
    n_valid = 0
    for spec in specs:
        findings = [*_check_topic(spec, states.get(spec.name), broker)]
        if recorded is not None and spec.name in states:
            findings += _check_record(settings, spec, states[spec.name], recorded.get(spec.name))
        n_valid += not findings
        yield from findings
    if n_valid:
        yield ok(COMPONENT, f"{n_valid} of {plural(len(specs), 'topic')} correct.")


def _check_topic(spec: TopicSpec, state: TopicState | None, broker: Broker) -> Iterator[Finding]:
    name = spec.name
    change = compare(spec, state)
    if state is None:
        yield error(COMPONENT, f"The topic {name} is missing.", APPLY)
        return
    for key, (current, expected) in ((change and change.settings) or {}).items():
        reason = _REASONS.get(key, "see apply")
        yield error(COMPONENT, f"The topic {name} has {key}={current} and needs {expected}: {reason}.", APPLY)
    if change is not None and change.grow_from is not None:
        yield warning(
            COMPONENT,
            f"The topic {name} has {plural(state.partitions, 'partition')}, and the settings require "
            f"{spec.partitions}.",
            APPLY,
        )
    yield from _check_retention(name, state.config)
    yield from _check_replicas(name, state.config, broker)


def _check_retention(name: str, config: Mapping[str, str]) -> Iterator[Finding]:
    retention_ms = int(config.get("retention.ms", -1))
    if 0 <= retention_ms < DAY_MS:
        report = error if retention_ms < HOUR_MS else warning
        yield report(
            COMPONENT,
            f"The topic {name} retains events for {retention_ms / HOUR_MS:.3g} h: a processor that is down longer "
            "loses events.",
            f"Set retention.ms of {name} to {DAY_MS} or more, better a week.",
        )
    if int(config.get("retention.bytes", -1)) >= 0:
        yield warning(
            COMPONENT,
            f"The topic {name} retains {config['retention.bytes']} bytes per partition: the time that covers depends "
            "on the traffic.",
            f"Set retention.bytes of {name} to -1, or make sure that it covers the longest outage.",
        )


def _check_replicas(name: str, config: Mapping[str, str], broker: Broker) -> Iterator[Finding]:
    partitions = broker.metadata.topics[name].partitions if name in broker.metadata.topics else {}
    min_isr = int(config.get("min.insync.replicas", 1))
    leaderless = sorted(p for p, state in partitions.items() if state.leader < 0)
    below_min = sorted(p for p, state in partitions.items() if state.leader >= 0 and len(state.isrs) < min_isr)
    lagging = sorted(p for p, state in partitions.items() if len(state.isrs) < len(state.replicas))
    lagging = [p for p in lagging if p not in below_min]
    unreplicated = [p for p, state in partitions.items() if len(state.replicas) == 1]
    if leaderless:
        yield error(
            COMPONENT,
            f"{_listed(name, leaderless)} without a leader: they accept no reads or writes.",
            _RESTART_BROKERS,
        )
    if below_min:
        yield error(
            COMPONENT,
            f"{_listed(name, below_min)} with fewer than {plural(min_isr, 'replica')} in sync: brokers reject writes.",
            _RESTART_BROKERS,
        )
    if lagging:
        yield warning(COMPONENT, f"{_listed(name, lagging)} with replicas out of sync.", _RESTART_BROKERS)
    if unreplicated and broker.n_brokers > 1:
        yield warning(
            COMPONENT,
            f"The topic {name} has one replica although there are {broker.n_brokers} brokers: losing one broker loses "
            "it.",
            "Add replicas with kafka-reassign-partitions.sh, and set the brokers' default.replication.factor.",
        )
    if config.get("unclean.leader.election.enable") == "true":
        yield error(
            COMPONENT,
            f"The topic {name} allows a replica that is out of sync to become leader: acknowledged events may be lost "
            "silently.",
            f"Set unclean.leader.election.enable of {name} to false.",
        )


def _listed(name: str, partitions: list[int]) -> str:
    numbers = ", ".join(map(str, partitions[:5])) + (", …" if len(partitions) > 5 else "")
    return f"The topic {name} has partitions ({numbers})"


def _check_record(settings: Settings, spec: TopicSpec, state: TopicState, row: TopicRow | None) -> Iterator[Finding]:
    """Compare a topic with the record of the last `apply`."""
    if spec.name == settings.topics.partials:
        is_recorded = row is not None and row.topic_id == state.topic_id
        expected = row.partitions if row is not None and is_recorded else settings.partials_partitions
        if state.partitions != expected:
            yield error(
                COMPONENT,
                f"The topic {spec.name} has {plural(state.partitions, 'partition')} and should have {expected}: the "
                "partials of one model would be on two partitions, and processors stop.",
                "Stop the processors, delete the topic and run `barograph apply`; its content is recorded as lost.",
            )
            return
    if row is None or row.topic_id != state.topic_id:
        yield warning(
            COMPONENT, f"The topic {spec.name} was not created by `barograph apply`, or was recreated since.", APPLY
        )


def check_groups(settings: Settings, broker: Broker) -> Iterator[Finding]:
    """Check the committed offsets and the members of each consumer group."""
    for group, labels in _TOPICS_OF_GROUP.items():
        known, topics = broker.metadata.topics, (getattr(settings.topics, label) for label in labels)
        partitions = [(topic, p) for topic in topics if topic in known for p in known[topic].partitions]
        if not partitions:
            continue
        try:
            yield from _check_group(settings, broker, group, partitions)
        except KafkaException as cause:
            yield unknown(GROUPS, str(explain(cause, f"describe the group {settings.topic_prefix}{group}")))


def _check_group(
    settings: Settings, broker: Broker, group: str, partitions: list[tuple[str, int]]
) -> Iterator[Finding]:
    name = f"{settings.topic_prefix}{group}"
    committed = broker.admin.committed(name, partitions, timeout_s=TIMEOUT_S)
    members = broker.admin.members(name, timeout_s=TIMEOUT_S)
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": name, "log_level": 0, **settings.kafka})
    lag, has_losses = 0, False
    try:
        for tp in committed:
            low, high = consumer.get_watermark_offsets(TopicPartition(tp.topic, tp.partition), timeout=TIMEOUT_S)
            if 0 <= tp.offset < low:
                has_losses = True
                yield error(
                    GROUPS,
                    f"The group {name} has read {tp.topic} partition {tp.partition} up to offset {tp.offset}, and "
                    f"Kafka retains it from {low}: {plural(low - tp.offset, 'offset')} deleted before being read.",
                    f"Start the {group}, which records them as lost and continues; increase the topic's retention.",
                )
            lag += max(0, high - max(tp.offset, low))
    finally:
        consumer.close()
    if not members:
        yield warning(
            GROUPS,
            f"No {group} is in the group {name}; its lag is {plural(lag, 'offset')}.",
            f"Start one: `barograph run {group}`.",
        )
    elif not has_losses:
        yield ok(GROUPS, f"{plural(members, 'member')} in the group {name}, lag {plural(lag, 'offset')}.")
