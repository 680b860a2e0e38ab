"""The Kafka topics as `apply` wants them: what is missing, too small or set otherwise, and its mending."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from barograph.events import MAX_MESSAGE_BYTES
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from cli.errors import ApplyError
from cli.settings import Settings
from streams.broker.client import Admin, explain

TIMEOUT_S = 30.0
REACH_S = 5.0
"""How long the first answer of a broker is awaited."""

_DAY_MS = 86_400_000
# A dead letter holds the whole message and why it was put aside; a part its own frame.
_ROOMY_BYTES = 2 * MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it should be."""

    name: str
    partitions: int
    fixed: Mapping[str, str]
    """Settings that the rest relies on: set again where they differ."""
    initial: Mapping[str, str]
    """Settings given at creation; whoever runs the broker may change them."""
    growth: bool = False
    """Whether partitions may be added; of `labels` and `partials` each has its keys for good."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as it is."""

    topic_id: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicChange:
    """What is to be done to one topic; the members that are empty are not."""

    spec: TopicSpec
    create: bool = False
    grow_from: int | None = None
    settings: Mapping[str, tuple[str, str]] | None = None
    """Setting → value now, value wanted."""


def topic_specs(settings: Settings) -> tuple[TopicSpec, ...]:
    """The topics that the settings ask for."""
    topics = settings.topics
    source = {
        # Windows rest on when Kafka took an event, so no producer may say so itself.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "cleanup.policy": "delete",
    }
    # What a sketcher says of the time is held against when Kafka took its record.
    timed = {"message.timestamp.type": "LogAppendTime"}
    inner = {"max.message.bytes": str(_ROOMY_BYTES), "cleanup.policy": "delete"}
    week, month = {"retention.ms": str(7 * _DAY_MS)}, {"retention.ms": str(30 * _DAY_MS)}
    return (
        TopicSpec(topics.predictions, settings.predictions_partitions, source, week, growth=True),
        TopicSpec(topics.labels, settings.labels_partitions, source, month),
        TopicSpec(topics.partials, settings.partials_partitions, inner | timed, week),
        TopicSpec(topics.predictions_dead, 1, inner, month),
        TopicSpec(topics.labels_dead, 1, inner, month),
        TopicSpec(topics.partials_dead, 1, inner, month),
        # A mark must outlive its letter, whose topic may keep it longer than a month: marks are compacted, not deleted.
        TopicSpec(topics.dead_letters, 1, {"cleanup.policy": "compact"}, {}),
    )


def compare(spec: TopicSpec, state: TopicState | None) -> TopicChange | None:
    """Find what is to be done to one topic; None where nothing is."""
    if state is None:
        return TopicChange(spec, create=True)
    grow_from = state.partitions if spec.growth and state.partitions < spec.partitions else None
    differing = {
        key: (state.config.get(key, ""), value) for key, value in spec.fixed.items() if state.config.get(key) != value
    }
    if grow_from is None and not differing:
        return None
    return TopicChange(spec, grow_from=grow_from, settings=differing or None)


class TopicAdmin:
    """Reads and changes topics; every error is a `ProcessorError` with a sentence."""

    def __init__(self, settings: Settings) -> None:
        self._where = settings.bootstrap_servers
        # The library's own log would say the same beside the sentence.
        self._admin = Admin(settings.bootstrap_servers, settings.kafka)

    def read(self, names: Sequence[str]) -> dict[str, TopicState]:
        """Read those of the topics that exist."""
        try:
            known = self._admin.client.list_topics(timeout=REACH_S).topics
            present = [name for name in names if name in known]
            described = {name: self._describe(name) for name in present}
            configs = self._configs(present)
        except KafkaException as error:
            raise self._admin.explain(error, f"answer at {self._where}") from error
        return {name: TopicState(*described[name], configs[name]) for name in present}

    def create(self, spec: TopicSpec) -> None:
        """Create a topic with the broker's own replication factor; nothing where it exists by now."""
        new = NewTopic(
            spec.name, num_partitions=spec.partitions, replication_factor=-1, config={**spec.fixed, **spec.initial}
        )
        action = f"create topic {spec.name}"
        try:
            self._admin.result(self._admin.client.create_topics([new], request_timeout=TIMEOUT_S)[spec.name], action)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise explain(error, action) from error

    def grow(self, name: str, partitions: int) -> None:
        """Add partitions up to a number."""
        action, expected = f"add partitions to topic {name}", [NewPartitions(name, partitions)]
        try:
            self._admin.result(self._admin.client.create_partitions(expected, request_timeout=TIMEOUT_S)[name], action)
        except KafkaException as error:
            raise explain(error, action) from error

    def configure(self, name: str, values: Mapping[str, str]) -> None:
        """Set settings of a topic; the others stay."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        action = f"change the settings of topic {name}"
        try:
            requested = self._admin.client.incremental_alter_configs([resource], request_timeout=TIMEOUT_S)[resource]
            self._admin.result(requested, action)
        except KafkaException as error:
            raise explain(error, action) from error

    def wait(self, specs: Sequence[TopicSpec]) -> dict[str, TopicState]:
        """Read the topics when every broker's metadata may still be on its way.

        Raises:
            ApplyError: one is still missing after half a minute.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            result = self.read([spec.name for spec in specs])
            missing = [spec.name for spec in specs if not _is_there(spec, result.get(spec.name))]
            if not missing:
                return result
            if time.monotonic() > deadline:
                raise ApplyError(
                    f"Kafka at {self._where} does not show {', '.join(missing)} as asked for after {TIMEOUT_S:.0f} s: "
                    "look at the broker's log, then run `barograph apply` again."
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
                for key, entry in self._admin.result(answer, f"tell the settings of topic {resource.name}").items()
            }
            for resource, answer in answers.items()
        }


def _is_there(spec: TopicSpec, state: TopicState | None) -> bool:
    return state is not None and not (spec.growth and state.partitions < spec.partitions)
