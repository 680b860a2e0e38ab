"""Runs all checks. A component that does not answer does not prevent the other checks."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

from barograph.contract import Contract

from barograph_server.finding import Finding, ok, warning
from barograph_server.finding import error as error_finding
from barograph_server.operations.doctor import broker as kafka
from barograph_server.operations.doctor import clickhouse, clocks, contracts, events, topics
from barograph_server.operations.doctor.grafana import check_grafana
from barograph_server.provisioning import catalogue
from barograph_server.settings import Settings
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.events.native_reader import describe
from barograph_server.streams.unencrypted import unencrypted_connections
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.queries import TopicRow

TIMEOUT_S = 20
"""Time limit of one query to ClickHouse, in seconds."""


def run_checks(settings: Settings, *, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Check everything that the settings configure, and yield each finding at once. No component's failure raises."""
    for connection in unencrypted_connections(settings.bootstrap_servers, settings.kafka, settings.warehouse):
        yield warning(connection.server, connection.message, connection.action)
    yield ok("JSON", f"Processors on this machine read it by {describe(requested=settings.processor().native)}.")
    with ExitStack() as stack:
        client = None
        try:
            client = stack.enter_context(connect(settings.warehouse, timeout_s=TIMEOUT_S))
        except (WarehouseBusy, WarehouseError) as error:
            yield error_finding(clickhouse.COMPONENT, str(error))
        yield from _check_kafka(settings, None if client is None else _read_topics(client), clock)
        in_force = None
        if client is not None:
            checks: tuple[tuple[str, Callable[[Client], Iterator[Finding]]], ...] = (
                (clickhouse.COMPONENT, clickhouse.check_clickhouse),
                (contracts.COMPONENT, contracts.check_contracts),
                (contracts.PROCESSORS, contracts.check_processors),
                (events.COMPONENT, lambda each: events.check_events(each, clock)),
                (clocks.COMPONENT, lambda each: clocks.check_warehouse_clock(each, clock)),
            )
            for component, check in checks:
                yield from _catch_errors(component, check, client)
            in_force = _read_contracts(client)
        yield from check_grafana(settings, in_force)


def _check_kafka(
    settings: Settings, recorded: Mapping[str, TopicRow] | None, clock: Callable[[], float]
) -> Iterator[Finding]:
    try:
        broker = kafka.Broker(settings)
        yield from kafka.check_brokers(broker, settings.processor().transaction_timeout_s)
        yield from topics.check_topics(settings, broker, recorded)
        yield from topics.check_groups(settings, broker)
        yield from clocks.check_broker_clock(settings, broker.admin.client, clock)
    except ProcessorError as error:
        yield error_finding(kafka.COMPONENT, str(error))


def _catch_errors(component: str, check: Callable[[Client], Iterator[Finding]], client: Client) -> Iterator[Finding]:
    """Run a check of ClickHouse, and turn its error into a finding."""
    try:
        yield from check(client)
    except (WarehouseBusy, WarehouseError) as error:
        if error.code in clickhouse.DENIED_CODES:
            yield clickhouse.not_permitted(component, error)
        else:
            yield error_finding(clickhouse.COMPONENT, str(error))


def _read_topics(client: Client) -> Mapping[str, TopicRow] | None:
    try:
        return {row.name: row for row in queries.topics(client)}
    except (WarehouseBusy, WarehouseError):
        # The checks of ClickHouse report the error.
        return None


def _read_contracts(client: Client) -> Mapping[str, Contract] | None:
    try:
        stored = catalogue.read_catalogue(client)
    except (WarehouseBusy, WarehouseError):
        return None
    return {model: contract for model, (_, contract) in stored.contracts.items() if contract is not None}
