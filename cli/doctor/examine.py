"""The doctor's round: one part after another, and one that does not answer keeps no other from being looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

from barograph.contract import Contract

from cli.apply import catalogue
from cli.doctor import broker as kafka
from cli.doctor import clickhouse, clocks, contracts, topics
from cli.doctor.finding import Finding, wrong
from cli.doctor.grafana import check_grafana
from cli.settings import Settings
from streams.errors import ProcessorError
from warehouse import queries
from warehouse.client import Client, connect
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.queries import TopicRow

PATIENCE_S = 20
"""How long one answer of ClickHouse is awaited."""


def examine(settings: Settings, *, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Look at everything that the settings name.

    Args:
        settings: of the installation.
        clock: this machine's, Unix seconds.

    Returns:
        Findings, each as soon as it is known. No failure of a part raises.
    """
    with ExitStack() as opened:
        client = None
        try:
            client = opened.enter_context(connect(settings.warehouse, timeout_s=PATIENCE_S))
        except (WarehouseBusy, WarehouseError) as error:
            yield wrong(clickhouse.PART, str(error))
        yield from _kafka(settings, None if client is None else _recorded(client), clock)
        in_force = None
        if client is not None:
            for check in (clickhouse.examine, contracts.check_contracts, contracts.check_processors):
                yield from _guarded(check, client)
            yield from _guarded(lambda each: clocks.check_warehouse(each, clock), client)
            in_force = _in_force(client)
        yield from check_grafana(settings, in_force)


def _kafka(
    settings: Settings, recorded: Mapping[str, TopicRow] | None, clock: Callable[[], float]
) -> Iterator[Finding]:
    try:
        broker = kafka.Broker(settings)
        yield from kafka.check_broker(broker, settings.processor().transaction_timeout_s)
        yield from topics.check_topics(settings, broker, recorded)
        yield from topics.check_groups(settings, broker)
        yield from clocks.check_broker(settings, broker.admin.client, clock)
    except ProcessorError as error:
        yield wrong(kafka.PART, str(error))


def _guarded(check: Callable[[Client], Iterator[Finding]], client: Client) -> Iterator[Finding]:
    try:
        yield from check(client)
    except (WarehouseBusy, WarehouseError) as error:
        yield wrong(clickhouse.PART, str(error))


def _recorded(client: Client) -> Mapping[str, TopicRow] | None:
    try:
        return {row.name: row for row in queries.topics(client)}
    except (WarehouseBusy, WarehouseError):
        # What is wrong is told where the warehouse itself is looked at.
        return None


def _in_force(client: Client) -> Mapping[str, Contract] | None:
    try:
        stored = catalogue.read_stored(client)
    except (WarehouseBusy, WarehouseError):
        return None
    return {model: contract for model, (_, contract) in stored.contracts.items() if contract is not None}
