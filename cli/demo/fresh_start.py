"""A clean start for every run: a database of the demo's own, made empty, and topics under a new name."""

from __future__ import annotations

from datetime import UTC, datetime

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from cli.settings import Settings
from local.stack import StackAddresses
from warehouse.client import Address, connect

DATABASE = "barograph_demo"
"""Apart from the database of `barograph dev`, which shares the stack."""
TOPIC_PREFIX = "demo-"
POLL_S = 1.0
"""How soon processors take up what is applied."""
PACES = {"flush_s": 1.0, "write_s": 2.0, "score_s": 5.0, "report_s": 1.0, "registry_poll_s": POLL_S}
"""A replay is over in a minute: every second verdicts, and what the board shows."""
TIMEOUT_S = 30.0


def fresh_settings(addresses: StackAddresses) -> Settings:
    """The settings of one run: what another one left cannot be met."""
    run = datetime.now(UTC).strftime("%Y%m%dt%H%M%S")
    return Settings(
        bootstrap_servers=addresses.bootstrap_servers,
        warehouse=Address(addresses.clickhouse_host, addresses.clickhouse_port, DATABASE),
        topic_prefix=f"{TOPIC_PREFIX}{run}-",
        # Panes are sealed when every partition has events beyond them, and a day of flights is one message or two: with
        # more partitions an act of the replay would end with one of them weeks behind.
        predictions_partitions=1,
        labels_partitions=2,
        partials_partitions=1,
        clock="replay",
        processor_overrides=PACES,
    )


def wipe(addresses: StackAddresses) -> None:
    """Delete what earlier runs left: the demo's database and topics.

    Raises:
        WarehouseBusy, WarehouseError: ClickHouse cannot do it.
    """
    with connect(Address(addresses.clickhouse_host, addresses.clickhouse_port, "default")) as client:
        client.command(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")
    admin = AdminClient({"bootstrap.servers": addresses.bootstrap_servers, "log_level": 2})
    try:
        old = [name for name in admin.list_topics(timeout=TIMEOUT_S).topics if name.startswith(TOPIC_PREFIX)]
        for done in admin.delete_topics(old, operation_timeout=TIMEOUT_S).values() if old else ():
            done.result(TIMEOUT_S)
    except KafkaException:
        # Old topics cost disk space and nothing else: this run's have other names.
        return
