"""The minimal ACLs of Kafka as `kafka-acls.sh` commands: `plan --acls`."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from barograph.contract import Contract

from barograph_server.streams.broker.acl import PROCESSORS, Acl, KafkaRole, required_acls
from barograph_server.streams.topics import Topics

USER_PREFIX = "barograph-"


@dataclass(frozen=True, slots=True)
class UserAcl:
    """A Kafka user and the permissions that it needs."""

    user: str
    role: str
    """What the user is for, for the comment above its commands."""
    rights: tuple[Acl, ...]


def user_acls(topics: Topics, contracts: Iterable[Contract] = ()) -> tuple[UserAcl, ...]:
    """List the permissions of every user: `apply`, processors, serving systems, commands, and the publishers.

    With contracts each model's publisher is a user of its own, which may write labels only if the model has labels.
    Without contracts one publisher may write both topics. The topic prefix is part of every user's name, so that the
    installations of one cluster have no user in common.
    """
    users: dict[KafkaRole, str] = {
        "apply": "`barograph apply` and `plan`",
        **{processor: f"the {processor}" for processor in PROCESSORS},
        "otlp": "`barograph run otlp` with `otlp.topics`: also grant Read on these topics",
        "otlp-http": "`barograph run otlp` without `otlp.topics`",
        "evaluator": "`barograph run evaluator`",
        "evaluations": "`barograph evaluations run`",
        "review": "`barograph review`, which sends labels of people",
        "drill": "`barograph drill run --live`, and `drill clean` after it",
        "serving": "serving systems that use `Guard` or `Prompts`",
        "dead-letters": "`barograph dead-letters`; `replay` writes to the source topics",
        "rebuild": "`barograph rebuild`",
        "prompts": "`barograph prompts`",
    }
    acls = [_user_acl(user, role, topics) for user, role in users.items()]
    models = sorted(contracts, key=lambda contract: contract.model)
    if not models:
        return (*acls, _user_acl("publisher", "publishers, including `barograph load`", topics))
    for contract in models:
        rights = tuple(
            right
            for right in required_acls("publisher", topics)
            if right.name != topics.labels or contract.label is not None
        )
        labels = " and of its labels" if contract.label is not None else ""
        name = f"{USER_PREFIX}{topics.prefix}publisher-{contract.model}"
        acls.append(UserAcl(name, f"the publisher of predictions of {contract.model}{labels}", rights))
    return tuple(acls)


def _user_acl(who: KafkaRole, role: str, topics: Topics) -> UserAcl:
    return UserAcl(f"{USER_PREFIX}{topics.prefix}{who}", role, required_acls(who, topics))


def acl_lines(acls: Sequence[UserAcl], bootstrap_servers: str) -> list[str]:
    """Write a shell script that grants the permissions, with each user's commands below a comment."""
    lines = ["# You may choose other user names; with mTLS, ssl.principal.mapping.rules derives them."]
    servers = shlex.quote(bootstrap_servers) if bootstrap_servers else '"$KAFKA"'
    start = f"kafka-acls.sh --bootstrap-server {servers} --command-config admin.properties --add --allow-principal"
    for acl in acls:
        # A model's name has no line breaks, which its contract would reject, so it cannot end the comment.
        lines += ["", f"# {acl.user}: {acl.role}"]
        lines += [f"{start} {shlex.quote(f'User:{acl.user}')} {options}" for options in _options(acl.rights)]
    return lines


def _options(rights: Sequence[Acl]) -> list[str]:
    """Write the options of the commands, one command for all resources with the same operations."""
    operations_of: dict[tuple[str, str, bool], tuple[str, ...]] = {}
    for right in rights:
        key = right.resource, right.name, right.prefixed
        operations_of[key] = (*operations_of.get(key, ()), right.operation)
    names_of: dict[tuple[str, bool, tuple[str, ...]], list[str]] = {}
    for (resource, name, prefixed), operations in operations_of.items():
        names_of.setdefault((resource, prefixed, operations), []).append(name)
    lines = []
    for (resource, prefixed, operations), names in names_of.items():
        options = [f"--operation {operation}" for operation in operations]
        options += ["--resource-pattern-type prefixed"] if prefixed else []
        options += [f"--{resource} {shlex.quote(name)}" for name in names]
        lines.append(" ".join(options))
    return lines
