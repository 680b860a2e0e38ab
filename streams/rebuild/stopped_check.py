"""Making sure that processors are stopped before their rows or offsets are changed under them.

A member of a group is known by its instance's name and does not leave when it stops, so that it takes its place again
at once: Kafka lists it until its session has timed out. Whether it runs is told by its reports, which go on or do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaException

from streams.broker.client import Admin, explain
from streams.rebuild.errors import RebuildError
from streams.settings import ProcessorSettings
from warehouse.client import Client

LOOK_S = 0.5
SLACK_S = 30.0
"""Beyond the longest session: the broker looks for dead members now and then."""


def wait_stopped(
    settings: ProcessorSettings, client: Client, groups: Iterable[str], on_step: Callable[[str], None]
) -> None:
    """Wait until Kafka has let go of stopped processors.

    Args:
        settings: where Kafka is; their session time-out bounds the waiting.
        client: where reports are.
        groups: the groups by their names without the prefix, which are also the kinds of the processors.
        on_step: told what is waited for.

    Raises:
        RebuildError: one of them goes on reporting, or stays in its group.
        ProcessorError: Kafka does not answer.
    """
    kinds = sorted(groups)
    admin = Admin(settings.bootstrap_servers, settings.kafka, log_level=3)
    deadline = time.monotonic() + settings.session_timeout_s + SLACK_S
    reported = _reports(client, kinds)
    while True:
        members = {kind: _members(admin, f"{settings.topics.prefix}{kind}") for kind in kinds}
        left = {kind: n for kind, n in members.items() if n}
        if not left:
            return
        now = _reports(client, kinds)
        going_on = sorted(name for name, at in now.items() if at > reported.get(name, at - 1) and name[0] in left)
        if going_on or time.monotonic() > deadline:
            names = ", ".join(f"{kind} {instance}" for kind, instance in going_on) or ", ".join(left)
            raise RebuildError(
                f"Running: {names}. It holds state in memory that it would write over what is done here: stop it, run "
                "this again, and start it afterwards."
            )
        on_step(f"waiting until Kafka has let go of {', '.join(left)} (a session, at most)")
        time.sleep(LOOK_S)


def _members(admin: Admin, group: str) -> int:
    try:
        return admin.members(group)
    except KafkaException as error:
        raise explain(error, f"describe the group {group}") from error


def _reports(client: Client, kinds: list[str]) -> dict[tuple[str, str], int]:
    """When each processor reported last, in Unix ms by its own clock."""
    found = client.rows(
        "SELECT kind, instance, toUnixTimestamp64Milli(max(at)) FROM processors WHERE kind IN {kinds:Array(String)} "
        "GROUP BY kind, instance",
        {"kinds": kinds},
    )
    return {(str(kind), str(instance)): int(at) for kind, instance, at in found}
