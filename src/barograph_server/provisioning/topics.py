"""Kafka topics: their specifications, the differences from the broker, and the changes that `apply` makes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from barograph.events import MAX_MESSAGE_BYTES
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, ResourceType

from barograph_server.errors import ApplyError
from barograph_server.settings import Settings
from barograph_server.streams.broker.client import Admin, explain

TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
"""Time limit of the broker's first answer, in seconds."""

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
# A dead letter has the whole message and the reason; a partial has its own framing.
_INTERNAL_MAX_BYTES = 2 * MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class TopicSpec:
    name: str
    partitions: int
    enforced: Mapping[str, str]
    """Settings that the processors rely on; `apply` resets them if they differ."""
    initial: Mapping[str, str]
    """Settings at creation, which the operator of the broker may change."""
    can_grow: bool = False
    """Whether partitions may be added; not for `labels` and `partials`, whose keys are bound to a partition."""


@dataclass(frozen=True, slots=True)
class TopicState:
    topic_id: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicChange:
    """Changes to one topic; an empty member means no such change."""

    spec: TopicSpec
    create: bool = False
    grow_from: int | None = None
    settings: Mapping[str, tuple[str, str]] | None = None
    """Setting → current value, new value."""


def topic_specs(settings: Settings) -> tuple[TopicSpec, ...]:
    topics = settings.topics
    source = {
        # Windows depend on the time when Kafka received an event, so producers must not set it.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "cleanup.policy": "delete",
    }
    # The monitor compares the times that a sketcher reports with the time when Kafka received the record, and readers
    # of compacted topics compare the number of a record with it.
    timed = {"message.timestamp.type": "LogAppendTime"}
    inner = {"max.message.bytes": str(_INTERNAL_MAX_BYTES), "cleanup.policy": "delete"}
    week, month = {"retention.ms": str(7 * _DAY_MS)}, {"retention.ms": str(30 * _DAY_MS)}
    return (
        TopicSpec(topics.predictions, settings.predictions_partitions, source, week, can_grow=True),
        TopicSpec(topics.labels, settings.labels_partitions, source, month),
        TopicSpec(topics.partials, settings.partials_partitions, inner | timed, week),
        TopicSpec(topics.predictions_dead, 1, inner, month),
        TopicSpec(topics.labels_dead, 1, inner, month),
        TopicSpec(topics.partials_dead, 1, inner, month),
        # A resolution must outlive its dead letter, which a topic may keep for longer than a month: so this topic is
        # compacted, and its records do not expire.
        TopicSpec(topics.dead_letters, 1, {"cleanup.policy": "compact"}, {}),
        # The partition's owner is the guard that leads: one partition, one leader. Only the newest record of a model
        # counts, and the topic holds one for every ten seconds, so compaction runs hourly.
        TopicSpec(topics.model_health, 1, {"cleanup.policy": "compact", **timed}, {"segment.ms": str(_HOUR_MS)}),
        # A change of a label whose row ClickHouse did not receive stays for a week, until a command adds the row.
        TopicSpec(
            topics.prompts, 1, {"cleanup.policy": "compact", **timed}, {"min.compaction.lag.ms": str(7 * _DAY_MS)}
        ),
        # Their text is kept for no longer than they may wait (`evaluator.lag_s`), and a day more.
        TopicSpec(
            topics.waiting_answers,
            settings.predictions_partitions,
            inner,
            {"retention.ms": str(2 * _DAY_MS)},
            can_grow=True,
        ),
    )


def compare(spec: TopicSpec, state: TopicState | None) -> TopicChange | None:
    """Compare a topic with its specification; None if no change is needed."""
    if state is None:
        return TopicChange(spec, create=True)
    grow_from = None if is_ready(spec, state) else state.partitions
    differing = {
        key: (state.config.get(key, ""), value)
        for key, value in spec.enforced.items()
        if state.config.get(key) != value
    }
    if grow_from is None and not differing:
        return None
    return TopicChange(spec, grow_from=grow_from, settings=differing or None)


class TopicAdmin:
    """Reads and changes topics; raises `ProcessorError` with a readable text."""

    def __init__(self, settings: Settings) -> None:
        self._where = settings.bootstrap_servers
        # `Admin` silences the library's own log, which would repeat the error text.
        self._admin = Admin(settings.bootstrap_servers, settings.kafka)

    def read(self, names: Sequence[str]) -> dict[str, TopicState]:
        try:
            known = self._admin.client.list_topics(timeout=CONNECT_TIMEOUT_S).topics
            present = [name for name in names if name in known]
            described = {name: self._describe(name) for name in present}
            configs = self._configs(present)
        except KafkaException as error:
            raise self._admin.explain(error, f"answer at {self._where}") from error
        return {name: TopicState(*described[name], configs[name]) for name in present}

    def create(self, spec: TopicSpec) -> None:
        """Create a topic with the broker's default replication factor, unless it exists by now."""
        new = NewTopic(
            spec.name, num_partitions=spec.partitions, replication_factor=-1, config={**spec.enforced, **spec.initial}
        )
        with self._explained(f"create topic {spec.name}", KafkaError.TOPIC_ALREADY_EXISTS) as action:
            self._admin.result(self._admin.client.create_topics([new], request_timeout=TIMEOUT_S)[spec.name], action)

    def grow(self, name: str, partitions: int) -> None:
        """Add partitions until the topic has `partitions` of them."""
        expected = [NewPartitions(name, partitions)]
        with self._explained(f"add partitions to topic {name}") as action:
            self._admin.result(self._admin.client.create_partitions(expected, request_timeout=TIMEOUT_S)[name], action)

    def configure(self, name: str, values: Mapping[str, str]) -> None:
        """Set some settings of a topic; the others stay unchanged."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        with self._explained(f"change the settings of topic {name}") as action:
            requested = self._admin.client.incremental_alter_configs([resource], request_timeout=TIMEOUT_S)[resource]
            self._admin.result(requested, action)

    @contextmanager
    def _explained(self, action: str, expected: int | None = None) -> Iterator[str]:
        """Give the action, and convert errors of Kafka other than the expected one."""
        try:
            yield action
        except KafkaException as error:
            if error.args[0].code() != expected:
                raise explain(error, action) from error

    def wait(self, specs: Sequence[TopicSpec]) -> dict[str, TopicState]:
        """Wait until the broker's metadata shows all topics, and return their states.

        Raises:
            ApplyError: a topic is missing or too small after half a minute.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            result = self.read([spec.name for spec in specs])
            missing = [spec.name for spec in specs if not is_ready(spec, result.get(spec.name))]
            if not missing:
                return result
            if time.monotonic() > deadline:
                raise ApplyError(
                    f"Kafka at {self._where} does not show the changes of {', '.join(missing)} after {TIMEOUT_S:.0f} "
                    "s: check the broker's log, then run `barograph apply` again."
                )
            time.sleep(0.05)

    def _describe(self, name: str) -> tuple[str, int]:
        requested = self._admin.client.describe_topics(TopicCollection([name]), request_timeout=TIMEOUT_S)[name]
        result = self._admin.result(requested, f"describe topic {name}")
        return str(result.topic_id), len(result.partitions)

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._admin.client.describe_configs(resources, request_timeout=TIMEOUT_S)
        return {
            resource.name: {
                key: str(entry.value)
                for key, entry in self._admin.result(answer, f"read the settings of topic {resource.name}").items()
            }
            for resource, answer in answers.items()
        }


def is_ready(spec: TopicSpec, state: TopicState | None) -> bool:
    """Whether a topic exists and has no partitions to add."""
    return state is not None and not (spec.can_grow and state.partitions < spec.partitions)
