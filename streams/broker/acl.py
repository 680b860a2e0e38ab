"""Who needs which right in Kafka: one definition for the processors, `plan --acls`, the docs and the tests.

They are the least: Kafka's own rules make Read, Write and Alter on a resource imply Describe, AlterConfigs imply
DescribeConfigs, and Write on a topic the right to write it idempotently.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation

from streams.broker.client import TIMEOUT_S, Admin, explain
from streams.errors import ProcessorError
from streams.settings import ProcessorSettings
from streams.topics import Topics

Who = Literal["publisher", "sketcher", "recorder", "monitor", "dead-letters", "rebuild", "apply"]
Resource = Literal["topic", "group", "transactional-id"]
Operation = Literal["Read", "Write", "Create", "Alter", "AlterConfigs"]

PROCESSORS: tuple[Who, ...] = ("sketcher", "recorder", "monitor")
"""Those that need Kafka; the scorer does not."""

_OPERATIONS: dict[Operation, AclOperation] = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Alter": AclOperation.ALTER,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
}
_APPLY: tuple[Operation, ...] = ("Create", "Alter", "AlterConfigs")
DENIALS = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


@dataclass(frozen=True, slots=True)
class Right:
    """One right of Kafka's access control lists."""

    operation: Operation
    resource: Resource
    name: str
    prefixed: bool = False
    """Whether it holds for every name that begins so."""

    def __str__(self) -> str:
        kind = "transactional id" if self.resource == "transactional-id" else self.resource
        return f"{self.operation} on {kind} {self.name}{'*' if self.prefixed else ''}"


def rights_of(who: Who, topics: Topics) -> tuple[Right, ...]:
    """The rights that somebody needs, and no more."""
    match who:
        case "publisher":
            return (_write(topics.predictions), _write(topics.labels))
        case "sketcher":
            written = (topics.partials, topics.predictions_dead)
            return (_read(topics.predictions), *map(_write, written), *_member("sketcher", topics, transactions=True))
        case "recorder":
            read, written = (topics.predictions, topics.labels), (topics.partials, topics.labels_dead)
            return (*map(_read, read), *map(_write, written), *_member("recorder", topics, transactions=True))
        case "monitor":
            return (
                _read(topics.partials),
                _write(topics.partials_dead),
                *_member("monitor", topics, transactions=False),
            )
        case "dead-letters":
            dead = (topics.predictions_dead, topics.labels_dead, topics.partials_dead)
            settled = (topics.dead_letters, topics.predictions, topics.labels)
            # Whoever settles letters is one in the whole cluster, so this is no beginning of names.
            settles = Right("Write", "transactional-id", f"{topics.dead_letters}-all")
            return (*map(_read, (*dead, topics.dead_letters)), *map(_write, settled), settles)
        case "rebuild":
            counted = (topics.predictions, topics.labels, topics.partials, topics.predictions_dead)
            # Whoever may read as a group may set back its offsets.
            groups = tuple(Right("Read", "group", f"{topics.prefix}{group}") for group in ("monitor", "recorder"))
            return (*map(_read, counted), *groups)
        case "apply":
            return tuple(Right(operation, "topic", name) for name in topics.all for operation in _APPLY)


def _read(topic: str) -> Right:
    return Right("Read", "topic", topic)


def _write(topic: str) -> Right:
    return Right("Write", "topic", topic)


def _member(group: str, topics: Topics, *, transactions: bool) -> tuple[Right, ...]:
    name = f"{topics.prefix}{group}"
    reads = Right("Read", "group", name)
    return (reads, Right("Write", "transactional-id", f"{name}-", prefixed=True)) if transactions else (reads,)


def missing_rights(settings: ProcessorSettings, who: Who) -> list[Right]:
    """Ask the broker which rights on topics and groups the processor's user lacks.

    Brokers do not tell of transactional ids, nor of groups that nobody has joined yet beyond whether they may be
    seen: these show when the processor starts to use them.

    Raises:
        ProcessorError: no broker answers, or it does not let the user in.
    """
    admin = Admin(settings.bootstrap_servers, settings.kafka)
    needed = rights_of(who, settings.topics)
    names = sorted({right.name for right in needed if right.resource == "topic"})
    groups = sorted({right.name for right in needed if right.resource == "group"})
    allowed: dict[tuple[Resource, str], set[AclOperation] | None] = {}
    topics = admin.client.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=TIMEOUT_S
    )
    for name in names:
        allowed["topic", name] = _allowed(admin, topics[name])
    if groups:
        found = admin.client.describe_consumer_groups(
            groups, include_authorized_operations=True, request_timeout=TIMEOUT_S
        )
        for name in groups:
            allowed["group", name] = _allowed(admin, found[name])
    missing = []
    for right in needed:
        operations = allowed.get((right.resource, right.name))
        if operations is not None and _OPERATIONS[right.operation] not in operations:
            missing.append(right)
    return missing


def _allowed(admin: Admin, future: Future[Any]) -> set[AclOperation] | None:
    """What may be done with one resource; None where the broker does not tell."""
    try:
        described = admin.result(future, "tell this user's rights")
    except KafkaException as error:
        return set() if error.args[0].code() in DENIALS else None
    operations = described.authorized_operations
    return set(operations) if operations else None


def require_rights(settings: ProcessorSettings, who: Who) -> None:
    """Stop before anything is read where the processor could not write what becomes of it.

    Raises:
        ProcessorError: a right is missing; it says which.
    """
    missing = missing_rights(settings, who)
    if missing:
        raise ProcessorError(_sentence(settings, who, missing))


def denied(settings: ProcessorSettings, who: Who, error: KafkaException, action: str) -> ProcessorError:
    """Say which right was missing when Kafka refused something; `explain` where it was none."""
    code = error.args[0].code()
    needed = rights_of(who, settings.topics)
    if code == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return ProcessorError(_sentence(settings, who, [r for r in needed if r.resource == "transactional-id"]))
    if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return ProcessorError(_sentence(settings, who, [r for r in needed if r.resource == "group"]))
    # An idempotent producer without a right to write anywhere fails for good, and its messages tell no more than that.
    missing = missing_rights(settings, who) if code in (*DENIALS, KafkaError._FATAL) else []
    return ProcessorError(_sentence(settings, who, missing)) if missing else explain(error, action)


def _sentence(settings: ProcessorSettings, who: Who, missing: list[Right]) -> str:
    user = settings.kafka.get("sasl.username")
    return (
        f"Kafka does not let this {who} do its work: the user{f' {user}' if user else ''} lacks "
        f"{', '.join(map(str, missing))}. `barograph plan --acls` prints the commands that grant what it needs."
    )
