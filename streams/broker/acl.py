"""The Kafka ACLs of each user: one definition for the processors, `plan --acls`, the docs and the tests.

They are minimal: Kafka's own rules make Read, Write and Alter on a resource imply Describe, AlterConfigs imply
DescribeConfigs, and Write on a topic imply idempotent writes.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation

from barograph_server.streams.broker.client import TIMEOUT_S, Admin, explain
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import Topics

KafkaRole = Literal[
    "publisher",
    "sketcher",
    "recorder",
    "monitor",
    "guard",
    "otlp",
    "otlp-http",
    "evaluator",
    "evaluations",
    "review",
    "drill",
    "serving",
    "dead-letters",
    "rebuild",
    "prompts",
    "apply",
]
Resource = Literal["topic", "group", "transactional-id"]
Operation = Literal["Read", "Write", "Create", "Alter", "AlterConfigs"]

LEADER = "leader"
"""Last part of the transactional id of all writers of a topic that has one writer at any time."""

PROCESSORS: tuple[KafkaRole, ...] = ("sketcher", "recorder", "monitor", "guard")
"""The processors that use Kafka; the scorer does not."""

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
class Acl:
    """One entry of Kafka's access control lists."""

    operation: Operation
    resource: Resource
    name: str
    prefixed: bool = False
    """Whether `name` is a prefix."""

    def __str__(self) -> str:
        kind = "transactional id" if self.resource == "transactional-id" else self.resource
        return f"{self.operation} on {kind} {self.name}{'*' if self.prefixed else ''}"


def required_acls(user: KafkaRole, topics: Topics) -> tuple[Acl, ...]:
    """Return the ACLs that a user needs, and no more."""
    match user:
        case "publisher":
            return (_write(topics.predictions), _write(topics.labels))
        case "sketcher":
            outputs = (topics.partials, topics.predictions_dead)
            inputs = (topics.predictions, topics.dead_letters)
            return (*map(_read, inputs), *map(_write, outputs), *_member("sketcher", topics, transactions=True))
        case "recorder":
            outputs = (topics.partials, topics.labels_dead)
            sources = (topics.predictions, topics.labels, topics.dead_letters)
            return (*map(_read, sources), *map(_write, outputs), *_member("recorder", topics, transactions=True))
        case "monitor":
            return (
                _read(topics.partials),
                _write(topics.partials_dead),
                *_member("monitor", topics, transactions=False),
            )
        case "guard":
            health = topics.model_health
            return (
                *(_read(health), _write(health), *_member("guard", topics, transactions=True)),
                *required_acls("prompts", topics),
            )
        case "evaluator":
            own = topics.predictions, topics.waiting_answers
            return (*map(_read, own), *map(_write, own), *_member("evaluator", topics, transactions=True))
        case "evaluations":
            # One command queues answers at any time, under one transactional id. It reads how far both groups are.
            groups = tuple(Acl("Read", "group", f"{topics.prefix}{group}") for group in ("evaluator", "recorder"))
            transactional = Acl("Write", "transactional-id", f"{topics.prefix}evaluations-{LEADER}")
            inputs = topics.predictions, topics.waiting_answers
            return (*map(_read, inputs), _write(topics.waiting_answers), *groups, transactional)
        case "otlp":
            # Read on the topics of the Collector, whose names only the settings have, is granted beside these.
            return (_write(topics.predictions), *_member("otlp", topics, transactions=True))
        case "otlp-http":
            return (_write(topics.predictions),)
        case "review":
            return (_write(topics.labels),)
        case "drill":
            return (
                *map(_write, (topics.predictions, topics.labels)),
                _read(topics.model_health),
                _write(topics.model_health),
            )
        case "serving":
            return (_read(topics.model_health), _read(topics.prompts))
        case "dead-letters":
            dead = (topics.predictions_dead, topics.labels_dead, topics.partials_dead)
            replayed = (topics.dead_letters, topics.predictions, topics.labels)
            # Only one replay runs in the whole cluster, under one transactional id.
            transactional = Acl("Write", "transactional-id", f"{topics.dead_letters}-all")
            return (*map(_read, (*dead, topics.dead_letters)), *map(_write, replayed), transactional)
        case "rebuild":
            counted = (topics.predictions, topics.labels, topics.partials, topics.predictions_dead)
            # Read on a group includes resetting its offsets.
            groups = tuple(Acl("Read", "group", f"{topics.prefix}{group}") for group in ("monitor", "recorder"))
            return (*map(_read, counted), *groups)
        case "prompts":
            # One command, or the guard, writes at any time, under one transactional id.
            transactional = Acl("Write", "transactional-id", f"{topics.prompts}-{LEADER}")
            return (_read(topics.prompts), _write(topics.prompts), transactional)
        case "apply":
            return tuple(Acl(operation, "topic", name) for name in topics.all for operation in _APPLY)


def _read(topic: str) -> Acl:
    return Acl("Read", "topic", topic)


def _write(topic: str) -> Acl:
    return Acl("Write", "topic", topic)


def _member(group: str, topics: Topics, *, transactions: bool) -> tuple[Acl, ...]:
    name = f"{topics.prefix}{group}"
    reads = Acl("Read", "group", name)
    return (reads, Acl("Write", "transactional-id", f"{name}-", prefixed=True)) if transactions else (reads,)


def missing_acls(settings: ProcessorSettings, user: KafkaRole) -> list[Acl]:
    """Query which ACLs on topics and groups the processor's user lacks.

    Brokers do not report permissions on transactional ids, and of groups without members only whether they are
    visible. Missing ACLs on those show when the processor first uses them.
    """
    admin = Admin(settings.bootstrap_servers, settings.kafka)
    needed = required_acls(user, settings.topics)
    names = sorted({acl.name for acl in needed if acl.resource == "topic"})
    groups = sorted({acl.name for acl in needed if acl.resource == "group"})
    allowed: dict[tuple[Resource, str], set[AclOperation] | None] = {}
    topics = admin.client.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=TIMEOUT_S
    )
    for name in names:
        allowed["topic", name] = _allowed(admin, topics[name])
    if groups:
        descriptions = admin.client.describe_consumer_groups(
            groups, include_authorized_operations=True, request_timeout=TIMEOUT_S
        )
        for name in groups:
            allowed["group", name] = _allowed(admin, descriptions[name])
    missing = []
    for acl in needed:
        operations = allowed.get((acl.resource, acl.name))
        if operations is not None and _OPERATIONS[acl.operation] not in operations:
            missing.append(acl)
    return missing


def _allowed(admin: Admin, future: Future[Any]) -> set[AclOperation] | None:
    """Return the operations allowed on one resource; None if the broker does not report them."""
    try:
        described = admin.result(future, "report this user's permissions")
    except KafkaException as error:
        return set() if error.args[0].code() in DENIALS else None
    operations = described.authorized_operations
    return set(operations) if operations else None


def require_acls(settings: ProcessorSettings, user: KafkaRole) -> None:
    """Stop before anything is read if the processor could not write its results."""
    missing = missing_acls(settings, user)
    if missing:
        raise ProcessorError(_missing_sentence(settings, user, missing))


def denied(settings: ProcessorSettings, user: KafkaRole, error: KafkaException, action: str) -> ProcessorError:
    """Return an error that names the ACLs missing for a rejected action, or `explain` if none is missing."""
    code = error.args[0].code()
    needed = required_acls(user, settings.topics)
    if code == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return ProcessorError(
            _missing_sentence(settings, user, [acl for acl in needed if acl.resource == "transactional-id"])
        )
    if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return ProcessorError(_missing_sentence(settings, user, [acl for acl in needed if acl.resource == "group"]))
    # An idempotent producer without Write on any topic fails fatally, and its messages do not name the cause.
    missing = missing_acls(settings, user) if code in (*DENIALS, KafkaError._FATAL) else []
    return ProcessorError(_missing_sentence(settings, user, missing)) if missing else explain(error, action)


def _missing_sentence(settings: ProcessorSettings, user: KafkaRole, missing: list[Acl]) -> str:
    name = settings.kafka.get("sasl.username")
    return (
        f"Kafka rejects this {user}: its user{f' {name}' if name else ''} lacks "
        f"{', '.join(map(str, missing))}. `barograph plan --acls` prints the commands that grant them."
    )
