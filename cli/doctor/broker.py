"""Kafka itself: whether it answers, whether transactions work, what of its configuration costs data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from cli.doctor.finding import Finding, look, ok, unknown, wrong
from cli.settings import Settings
from streams.broker.client import Admin

PART = "Kafka"
REACH_S = 5.0
WEEK_MINUTES = 7 * 24 * 60
TRANSACTIONS, OFFSETS = "__transaction_state", "__consumer_offsets"


class Broker:
    """A connection to Kafka, and what it said of itself at the first answer."""

    def __init__(self, settings: Settings) -> None:
        """Connect.

        Raises:
            ProcessorError: no broker answers, or it refuses; the sentence says what to do.
        """
        self.where = settings.bootstrap_servers
        self.admin = Admin(self.where, settings.kafka)
        try:
            self.metadata = self.admin.client.list_topics(timeout=REACH_S)
        except KafkaException as error:
            raise self.admin.explain(error, f"answer at {self.where}") from error

    @property
    def n_brokers(self) -> int:
        """How many brokers there are."""
        return len(self.metadata.brokers)

    def config(self, kind: Any, name: str) -> Mapping[str, str]:
        """The configuration of a broker or a topic.

        Raises:
            KafkaException: it is not told.
        """
        resource = ConfigResource(kind, name)
        asked = self.admin.client.describe_configs([resource], request_timeout=REACH_S)[resource]
        found = self.admin.result(asked, f"tell the configuration of {name}")
        return {key: str(entry.value) for key, entry in found.items()}


def check_broker(broker: Broker, transaction_timeout_s: float) -> Iterator[Finding]:
    """Look at the brokers and at the two topics that transactions rest on."""
    brokers = sorted(broker.metadata.brokers)
    yield ok(PART, f"{broker.n_brokers} {'broker' if broker.n_brokers == 1 else 'brokers'} at {broker.where}.")
    for name in (TRANSACTIONS, OFFSETS):
        yield from _internal(broker, name)
    try:
        config = broker.config(ResourceType.BROKER, str(brokers[0]))
    except KafkaException as error:
        yield _not_told(error, f"the configuration of broker {brokers[0]}", "DescribeConfigs on the cluster")
        return
    yield from _configured(config, broker.n_brokers, broker.metadata.topics.keys(), transaction_timeout_s)


def _internal(broker: Broker, name: str) -> Iterator[Finding]:
    topic = broker.metadata.topics.get(name)
    if topic is None:
        return
    leaderless = [p for p, partition in topic.partitions.items() if partition.leader < 0]
    if leaderless:
        yield wrong(
            PART,
            f"{len(leaderless)} partitions of {name} have no leader: groups or transactions there stand still.",
            "Bring the brokers back that held them, and look at their logs.",
        )


def _configured(
    config: Mapping[str, str], n_brokers: int, topics: Any, transaction_timeout_s: float
) -> Iterator[Finding]:
    longest_s = int(config.get("transaction.max.timeout.ms", 900_000)) / 1000
    if longest_s < transaction_timeout_s:
        yield wrong(
            PART,
            f"Brokers allow transactions of {longest_s:g} s at most, and processors ask for {transaction_timeout_s:g} "
            "s: sketcher and recorder are refused.",
            f"Set transaction.max.timeout.ms to {transaction_timeout_s * 1000:.0f} or more.",
        )
    for name, factor in (
        (TRANSACTIONS, "transaction.state.log.replication.factor"),
        (OFFSETS, "offsets.topic.replication.factor"),
    ):
        copies = int(config.get(factor, 1))
        if name not in topics and copies > n_brokers:
            yield wrong(
                PART,
                f"{name} is to have {copies} copies and there are {n_brokers} brokers: it cannot be made, and no "
                "transaction begins.",
                f"Set {factor} to {n_brokers} at most, or add brokers.",
            )
    kept = int(config.get("offsets.retention.minutes", WEEK_MINUTES))
    if kept < WEEK_MINUTES:
        yield look(
            PART,
            f"Offsets of a group whose processors are stopped are forgotten after {kept} minutes; they then begin at "
            "the start of the log, and what was counted comes again as re-sketch.",
            f"Set offsets.retention.minutes to {WEEK_MINUTES} or more.",
        )
    if config.get("auto.create.topics.enable") == "true":
        yield look(
            PART,
            "Brokers create any topic that somebody names: a misspelt prefix makes topics without the settings that "
            "counting rests on.",
            "Set auto.create.topics.enable to false.",
        )


def _not_told(error: KafkaException, what: str, right: str) -> Finding:
    cause = error.args[0]
    denied = isinstance(cause, KafkaError) and "AUTHORIZATION" in str(cause.name())
    todo = f"Grant this user {right} to have it looked at." if denied else ""
    text = cause.str() if isinstance(cause, KafkaError) else str(cause)
    return unknown(PART, f"Kafka does not tell {what}: {text}.", todo)
