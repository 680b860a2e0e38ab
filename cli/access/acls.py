"""The least access control lists of Kafka, as commands of `kafka-acls.sh`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from barograph.contract import Contract

from streams.broker.acl import PROCESSORS, Right, Who, rights_of
from streams.topics import Topics

USER_PREFIX = "barograph-"


@dataclass(frozen=True, slots=True)
class Grant:
    """One user and what it needs."""

    user: str
    what: str
    """Who the user is, for people."""
    rights: tuple[Right, ...]


def grants(topics: Topics, contracts: Iterable[Contract] = ()) -> tuple[Grant, ...]:
    """What every user needs: `apply`, the processors, and the publishers.

    With contracts each model's publisher is a user of its own, which writes labels only where the model has any;
    without, one publisher does both.
    """
    found = [_grant("apply", "`barograph apply` and `plan`", topics)]
    found += [_grant(who, f"the {who}", topics) for who in PROCESSORS]
    found.append(_grant("dead-letters", "`barograph dead-letters`, whose `replay` writes to the sources", topics))
    found.append(_grant("rebuild", "`barograph rebuild`", topics))
    models = sorted(contracts, key=lambda contract: contract.model)
    if not models:
        return (*found, _grant("publisher", "publishers, `barograph load` among them", topics))
    for contract in models:
        rights = tuple(
            right
            for right in rights_of("publisher", topics)
            if right.name != topics.labels or contract.label is not None
        )
        labels = " and of its labels" if contract.label is not None else ""
        name = f"{USER_PREFIX}publisher-{contract.model}"
        found.append(Grant(name, f"the publisher of predictions of {contract.model}{labels}", rights))
    return tuple(found)


def _grant(who: Who, what: str, topics: Topics) -> Grant:
    return Grant(f"{USER_PREFIX}{who}", what, rights_of(who, topics))


def acl_lines(found: Sequence[Grant], bootstrap_servers: str) -> list[str]:
    """The commands, each user's below a comment that says who it is; a shell runs them as they are."""
    lines = ["# Names of users are yours to choose; with mTLS they are what ssl.principal.mapping.rules makes of them."]
    servers = shlex.quote(bootstrap_servers) if bootstrap_servers else '"$KAFKA"'
    start = f"kafka-acls.sh --bootstrap-server {servers} --command-config admin.properties --add --allow-principal"
    for grant in found:
        # A comment ends with its line, and a model's name has no line breaks: its contract would be refused.
        lines += ["", f"# {grant.user}: {grant.what}"]
        lines += [f"{start} {shlex.quote(f'User:{grant.user}')} {options}" for options in _options(grant.rights)]
    return lines


def _options(rights: Sequence[Right]) -> list[str]:
    """What grants them, resources of the same operations together."""
    operations: dict[tuple[str, str, bool], tuple[str, ...]] = {}
    for right in rights:
        key = right.resource, right.name, right.prefixed
        operations[key] = (*operations.get(key, ()), right.operation)
    alike: dict[tuple[str, bool, tuple[str, ...]], list[str]] = {}
    for (resource, name, prefixed), together in operations.items():
        alike.setdefault((resource, prefixed, together), []).append(name)
    lines = []
    for (resource, prefixed, together), names in alike.items():
        words = [f"--operation {operation}" for operation in together]
        words += ["--resource-pattern-type prefixed"] if prefixed else []
        words += [f"--{resource} {shlex.quote(name)}" for name in names]
        lines.append(" ".join(words))
    return lines
