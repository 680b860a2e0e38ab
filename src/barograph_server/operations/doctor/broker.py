"""Checks of the Kafka brokers: whether they answer, support transactions, and have a safe configuration."""

from collections.abc import Collection, Iterator, Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from barograph_server.finding import Finding, error, ok, unknown, warning
from barograph_server.settings import Settings
from barograph_server.streams.broker.client import Admin
from barograph_server.terminal import plural

COMPONENT = "Kafka"
TIMEOUT_S = 5.0
"""Time limit of one request to Kafka, in seconds."""
WEEK_MINUTES = 7 * 24 * 60
TRANSACTIONS_TOPIC, OFFSETS_TOPIC = "__transaction_state", "__consumer_offsets"


class Broker:
    """A connection to Kafka, with the metadata of its first answer."""

    def __init__(self, settings: Settings) -> None:
        self.address = settings.bootstrap_servers
        self.admin = Admin(self.address, settings.kafka)
        try:
            self.metadata = self.admin.client.list_topics(timeout=TIMEOUT_S)
        except KafkaException as cause:
            raise self.admin.explain(cause, f"answer at {self.address}") from cause

    @property
    def n_brokers(self) -> int:
        return len(self.metadata.brokers)

    def config(self, broker_id: int) -> Mapping[str, str]:
        resource = ConfigResource(ResourceType.BROKER, str(broker_id))
        future = self.admin.client.describe_configs([resource], request_timeout=TIMEOUT_S)[resource]
        entries = self.admin.result(future, f"describe the configuration of {broker_id}")
        return {key: str(entry.value) for key, entry in entries.items()}


def check_brokers(broker: Broker, transaction_timeout_s: float) -> Iterator[Finding]:
    """Check the brokers and the two internal topics that transactions need."""
    brokers = sorted(broker.metadata.brokers)
    yield ok(COMPONENT, f"{plural(broker.n_brokers, 'broker')} at {broker.address}.")
    for name in (TRANSACTIONS_TOPIC, OFFSETS_TOPIC):
        yield from _check_internal_topic(broker, name)
    try:
        config = broker.config(brokers[0])
    except KafkaException as cause:
        failure = cause.args[0]
        is_denied = isinstance(failure, KafkaError) and "AUTHORIZATION" in str(failure.name())
        text = failure.str() if isinstance(failure, KafkaError) else str(failure)
        yield unknown(
            COMPONENT,
            f"Kafka did not return the configuration of broker {brokers[0]}: {text}.",
            "Grant this user DescribeConfigs on the cluster to enable the check." if is_denied else "",
        )
        return
    yield from check_broker_config(config, broker.n_brokers, broker.metadata.topics.keys(), transaction_timeout_s)


def _check_internal_topic(broker: Broker, name: str) -> Iterator[Finding]:
    topic = broker.metadata.topics.get(name)
    if topic is None:
        return
    leaderless = [p for p, partition in topic.partitions.items() if partition.leader < 0]
    if leaderless:
        yield error(
            COMPONENT,
            f"{plural(len(leaderless), 'partition')} of {name} without a leader: their groups and transactions are "
            "stalled.",
            "Restart the brokers that hold their replicas, and check the brokers' logs.",
        )


def check_broker_config(
    config: Mapping[str, str], n_brokers: int, topics: Collection[str], transaction_timeout_s: float
) -> Iterator[Finding]:
    """Check a broker's configuration for values that cost data or prevent transactions."""
    max_timeout_s = int(config.get("transaction.max.timeout.ms", 900_000)) / 1000
    if max_timeout_s < transaction_timeout_s:
        yield error(
            COMPONENT,
            f"Brokers allow transactions of at most {max_timeout_s:g} s, and processors request "
            f"{transaction_timeout_s:g} s: brokers reject sketcher and recorder.",
            f"Set transaction.max.timeout.ms to {transaction_timeout_s * 1000:.0f} or more.",
        )
    for name, key in (
        (TRANSACTIONS_TOPIC, "transaction.state.log.replication.factor"),
        (OFFSETS_TOPIC, "offsets.topic.replication.factor"),
    ):
        replicas = int(config.get(key, 1))
        if name not in topics and replicas > n_brokers:
            yield error(
                COMPONENT,
                f"{name} needs {plural(replicas, 'replica')}, and there are only {plural(n_brokers, 'broker')}: it "
                "cannot be created, and no transaction can start.",
                f"Set {key} to at most {n_brokers}, or add brokers.",
            )
    retention_min = int(config.get("offsets.retention.minutes", WEEK_MINUTES))
    if retention_min < WEEK_MINUTES:
        yield warning(
            COMPONENT,
            f"Kafka deletes the offsets of a stopped group after {retention_min} minutes. Its processors then start at "
            "the beginning of the log, and counted events arrive again as re-sketches.",
            f"Set offsets.retention.minutes to {WEEK_MINUTES} or more.",
        )
    if config.get("auto.create.topics.enable") == "true":
        yield warning(
            COMPONENT,
            "Brokers create any topic that a client names: a misspelled prefix creates topics without the settings "
            "that correct counts need.",
            "Set auto.create.topics.enable to false.",
        )
