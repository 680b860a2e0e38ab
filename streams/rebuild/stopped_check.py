"""Checks that processors are stopped before their rows or offsets are changed.

Processors are static group members, so that a restarted one gets its partitions back at once. Kafka lists a stopped
member until its session times out. The reports in ClickHouse show whether it still runs: a running processor keeps
writing them.
"""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaException

from barograph_server.streams.broker.client import Admin, explain, is_transient
from barograph_server.streams.runtime.backoff import Backoff
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.processor_reports import last_reports

POLL_INTERVAL_S = 0.5
MARGIN_S = 30.0
"""Wait beyond the session time-out: the broker checks for expired sessions only now and then."""
COORDINATOR_S = 15.0
"""How long requests are retried while a group's coordinator starts or moves."""


def wait_until_stopped(
    settings: ProcessorSettings,
    client: Client,
    groups: Iterable[str],
    on_step: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until the consumer groups of stopped processors are empty.

    Args:
        groups: the groups' names without the prefix, which are also the kinds of processors.
    """
    kinds = sorted(groups)
    admin = Admin(settings.bootstrap_servers, settings.kafka)
    deadline_s = clock() + settings.session_timeout_s + MARGIN_S
    initial = last_reports(client, kinds)
    while True:
        members = {kind: _member_count(admin, f"{settings.topics.prefix}{kind}") for kind in kinds}
        occupied = {kind: n for kind, n in members.items() if n}
        if not occupied:
            return
        reports = last_reports(client, kinds)
        running = sorted(
            name for name, at_ms in reports.items() if at_ms > initial.get(name, at_ms - 1) and name[0] in occupied
        )
        if running or clock() > deadline_s:
            names = ", ".join(f"{kind} {instance}" for kind, instance in running) or ", ".join(occupied)
            raise RebuildError(
                f"Running: {names}. It would overwrite the result with its state in memory: stop it, run this again, "
                "and start it afterwards."
            )
        on_step(f"waiting for the sessions of {', '.join(occupied)} to expire")
        sleep(POLL_INTERVAL_S)


def _member_count(admin: Admin, group: str) -> int:
    backoff = Backoff(0.1, 1.0, max_elapsed_s=COORDINATOR_S)
    try:
        return backoff.retry(lambda: admin.members(group), is_transient)
    except KafkaException as error:
        raise explain(error, f"describe the group {group}") from error


class RebuildError(Exception):
    """The range cannot be rebuilt exactly, or not now. The message says why and what to do."""
