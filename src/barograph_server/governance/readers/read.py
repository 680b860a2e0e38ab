"""Reads all readers from Kafka, ClickHouse and Grafana, and stores them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from barograph.contract import Contract

from barograph_server.governance.readers.callers import read_callers
from barograph_server.governance.readers.comparison import ConsumerReport, Reader, compare_readers
from barograph_server.governance.readers.grafana_readers import read_grafana
from barograph_server.governance.readers.kafka_groups import read_groups
from barograph_server.grafana.client import Grafana
from barograph_server.settings import Settings
from barograph_server.terminal import listed
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.query_log import QueryLogMissing, read_users, roles_note
from barograph_server.warehouse.tables import insert_rows


def read_consumers(
    settings: Settings, client: Client, contracts: Sequence[Contract], since: datetime
) -> ConsumerReport:
    """Read who reads, and compare with the contracts.

    Args:
        settings: where Kafka, ClickHouse and Grafana are.
        client: the connection to ClickHouse.
        since: start of the range of queries.
    """
    observed, notes = read_groups(settings.processor())
    try:
        observed += (
            Reader(
                "user", each.user, each.tables, each.columns, each.first, each.last, each.queries, listed(each.origins)
            )
            for each in read_users(client, since)
        )
    except QueryLogMissing as error:
        notes.append(str(error))
    else:
        notes += filter(None, (roles_note(client),))
    if settings.grafana is None:
        notes.append("No Grafana is set, so dashboards and rules that read tables are unknown: set grafana.url.")
    else:
        with Grafana(settings.grafana) as grafana:
            observed += (
                Reader(each.kind, each.uid, each.tables, origin=each.title) for each in read_grafana(grafana, client)
            )
    callers, unnamed = read_callers(client, contracts, since)
    observed += callers
    notes += unnamed
    return compare_readers(contracts, observed, notes)


UNKNOWN = datetime.fromtimestamp(0, UTC)


def store_readers(client: Client, report: ConsumerReport, now: datetime) -> None:
    """Write all observed readers as one observation."""
    # Several contracts may declare one reader: its rows have the same key and replace each other.
    observed = [(each.observed, True) for each in report.declared if each.observed is not None]
    observed += [(reader, False) for reader in report.undeclared]
    insert_rows(
        client,
        "readers",
        [
            {
                "observed_at": now,
                "kind": reader.kind,
                "name": reader.name,
                "reads": list(reader.reads),
                "columns": list(reader.columns),
                "first": reader.first or UNKNOWN,
                "last": reader.last or UNKNOWN,
                "volume": reader.volume,
                "origin": reader.origin,
                "is_declared": is_declared,
            }
            for reader, is_declared in observed
        ],
    )
