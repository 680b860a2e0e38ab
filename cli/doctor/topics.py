"""The topics: whether they have the partitions, settings and copies that counting rests on; and the groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from cli.apply.topics import TopicAdmin, TopicSpec, TopicState, compare, topic_specs
from cli.doctor.broker import REACH_S, Broker
from cli.doctor.finding import Finding, look, ok, unknown, wrong
from cli.settings import Settings
from streams.broker.client import explain
from warehouse.queries import TopicRow

PART, GROUPS = "Topics", "Groups"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
APPLY = "Run `barograph apply`."
_READ_BY = {"sketcher": ("predictions",), "recorder": ("predictions", "labels"), "monitor": ("partials",)}


def check_topics(settings: Settings, broker: Broker, recorded: Mapping[str, TopicRow] | None) -> Iterator[Finding]:
    """Look at every topic.

    Args:
        settings: names and partitions.
        broker: the connection.
        recorded: the topics as `apply` recorded them; None where the warehouse does not tell.

    Raises:
        ProcessorError: Kafka refuses to tell.
    """
    specs = topic_specs(settings)
    states = TopicAdmin(settings).read([spec.name for spec in specs])
    good = 0
    for spec in specs:
        found = [*_topic(spec, states.get(spec.name), broker)]
        if recorded is not None and spec.name in states:
            found += _recorded(settings, spec, states[spec.name], recorded.get(spec.name))
        good += not found
        yield from found
    if good:
        yield ok(PART, f"{good} of {len(specs)} topics are as they should be.")


def _topic(spec: TopicSpec, state: TopicState | None, broker: Broker) -> Iterator[Finding]:
    name = spec.name
    change = compare(spec, state)
    if state is None:
        yield wrong(PART, f"The topic {name} is missing.", APPLY)
        return
    for key, (now, wanted) in ((change and change.settings) or {}).items():
        yield wrong(PART, f"The topic {name} has {key}={now} and needs {wanted}: {_WHY.get(key, 'see apply')}.", APPLY)
    if change is not None and change.grow_from is not None:
        yield look(
            PART, f"The topic {name} has {state.partitions} partitions, the settings ask for {spec.partitions}.", APPLY
        )
    yield from _kept(name, state.config)
    yield from _copies(name, state.config, broker)


_WHY = {
    "message.timestamp.type": "windows rest on when Kafka took an event, not on what a producer says",
    "cleanup.policy": "compaction would delete events that share a key",
    "max.message.bytes": "larger messages would be refused",
}


def _kept(name: str, config: Mapping[str, str]) -> Iterator[Finding]:
    kept_ms = int(config.get("retention.ms", -1))
    if 0 <= kept_ms < DAY_MS:
        told = f"The topic {name} is kept for {kept_ms / HOUR_MS:.3g} h: a processor that is away longer loses events."
        todo = f"Set retention.ms of {name} to {DAY_MS} or more, better a week."
        yield (wrong if kept_ms < HOUR_MS else look)(PART, told, todo)
    if int(config.get("retention.bytes", -1)) >= 0:
        yield look(
            PART,
            f"The topic {name} is kept up to {config['retention.bytes']} bytes per partition: how long that is goes by "
            "the traffic.",
            f"Set retention.bytes of {name} to -1, or know that it is enough for the longest outage.",
        )


def _copies(name: str, config: Mapping[str, str], broker: Broker) -> Iterator[Finding]:
    partitions = broker.metadata.topics[name].partitions if name in broker.metadata.topics else {}
    least = int(config.get("min.insync.replicas", 1))
    leaderless = sorted(p for p, found in partitions.items() if found.leader < 0)
    short = sorted(p for p, found in partitions.items() if found.leader >= 0 and len(found.isrs) < least)
    behind = sorted(p for p, found in partitions.items() if len(found.isrs) < len(found.replicas) and p not in short)
    alone = [p for p, found in partitions.items() if len(found.replicas) == 1]
    if leaderless:
        yield wrong(PART, f"{_named(name, leaderless)} without a leader: nothing is read or written there.", _BROKERS)
    if short:
        yield wrong(
            PART, f"{_named(name, short)} with fewer than {least} copies in sync: writes are refused.", _BROKERS
        )
    if behind:
        yield look(PART, f"{_named(name, behind)} with copies that are behind.", _BROKERS)
    if alone and broker.n_brokers > 1:
        yield look(
            PART,
            f"The topic {name} has one copy although there are {broker.n_brokers} brokers: one lost broker loses it.",
            "Add copies with kafka-reassign-partitions.sh, and set the brokers' default.replication.factor.",
        )
    if config.get("unclean.leader.election.enable") == "true":
        yield wrong(
            PART,
            f"The topic {name} lets a copy that is behind lead: what Kafka acknowledged may vanish without a word.",
            f"Set unclean.leader.election.enable of {name} to false.",
        )


_BROKERS = "Bring the brokers back that hold the copies, and look at their logs."


def _named(name: str, partitions: list[int]) -> str:
    listed = ", ".join(map(str, partitions[:5])) + (", …" if len(partitions) > 5 else "")
    return f"The topic {name} has partitions ({listed})"


def _recorded(settings: Settings, spec: TopicSpec, state: TopicState, row: TopicRow | None) -> Iterator[Finding]:
    if spec.name == settings.topics.partials:
        wanted = row.partitions if row is not None and row.topic_id == state.topic_id else settings.partials_partitions
        if state.partitions != wanted:
            yield wrong(
                PART,
                f"The topic {spec.name} has {state.partitions} partitions and should have {wanted}: parts of one model "
                "would lie on two, and processors stop.",
                "Stop the processors, delete the topic and run `barograph apply`; what was in it is recorded as lost.",
            )
            return
    if row is None or row.topic_id != state.topic_id:
        yield look(
            PART, f"The topic {spec.name} is not recorded as it is: it was made, or made anew, by somebody else.", APPLY
        )


def check_groups(settings: Settings, broker: Broker) -> Iterator[Finding]:
    """Look at what each group has committed, and whether anybody is in it."""
    for group, labels in _READ_BY.items():
        topics = [getattr(settings.topics, label) for label in labels]
        places = [
            (topic, p)
            for topic in topics
            if topic in broker.metadata.topics
            for p in broker.metadata.topics[topic].partitions
        ]
        if not places:
            continue
        try:
            yield from _group(settings, broker, group, places)
        except KafkaException as error:
            yield unknown(GROUPS, str(explain(error, f"tell of the group {settings.topic_prefix}{group}")))


def _group(settings: Settings, broker: Broker, group: str, places: list[tuple[str, int]]) -> Iterator[Finding]:
    name = f"{settings.topic_prefix}{group}"
    committed = broker.admin.committed(name, places, timeout_s=REACH_S)
    members = broker.admin.members(name, timeout_s=REACH_S)
    consumer = Consumer({"bootstrap.servers": broker.where, "group.id": name, "log_level": 0, **settings.kafka})
    behind, overtaken = 0, False
    try:
        for tp in committed:
            low, high = consumer.get_watermark_offsets(TopicPartition(tp.topic, tp.partition), timeout=REACH_S)
            if 0 <= tp.offset < low:
                overtaken = True
                yield wrong(
                    GROUPS,
                    f"The group {name} has read {tp.topic} {tp.partition} up to {tp.offset}, and Kafka holds it from "
                    f"{low} on: {low - tp.offset} offsets were deleted before they were read.",
                    f"Start the {group}, which records them as lost and goes on; keep the topic for longer.",
                )
            behind += max(0, high - max(tp.offset, low))
    finally:
        consumer.close()
    if not members:
        yield look(
            GROUPS,
            f"No {group} is in the group {name}; {behind:,} messages wait.",
            f"Start one: `barograph run {group}`.",
        )
    elif not overtaken:
        yield ok(GROUPS, f"{members} in the group {name}, {behind:,} messages behind.")
