"""A clean start for every run: an empty database, and topics with a new name."""

from datetime import UTC, datetime
from typing import Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from barograph_server.local.stack import StackAddresses
from barograph_server.settings import Settings
from barograph_server.warehouse.client import connect

POLL_S = 1.0
"""How often processors poll contracts and baselines."""
PACES = {"flush_s": 1.0, "write_s": 2.0, "score_s": 5.0, "report_s": 1.0, "registry_poll_s": POLL_S}
"""Short intervals, because the replay takes a minute: verdicts and progress appear every second."""
TIMEOUT_S = 30.0


def database_of(demo: str) -> str:
    """Return the database of a demo, so that the data of the others and of `barograph dev` stay."""
    return f"barograph_{demo.replace('-', '_')}"


def fresh_settings(
    addresses: StackAddresses, demo: str = "demo", clock: Literal["replay", "live"] = "replay"
) -> Settings:
    """Settings of one run; its topic names differ from those of earlier runs."""
    run = datetime.now(UTC).strftime("%Y%m%dt%H%M%S")
    return Settings(
        bootstrap_servers=addresses.bootstrap_servers,
        warehouse=addresses.clickhouse(database_of(demo)),
        topic_prefix=f"{demo}-{run}-",
        # A pane is sealed when every partition has later events, and a day of flights is one or two messages. With more
        # partitions, one of them would be weeks behind at the end of a phase.
        predictions_partitions=1,
        labels_partitions=2,
        partials_partitions=1,
        clock=clock,
        processor_overrides=PACES,
    )


def wipe(addresses: StackAddresses, demo: str = "demo") -> None:
    """Delete the database and topics of earlier runs of one demo.

    Raises:
        WarehouseBusy, WarehouseError: ClickHouse cannot drop the database.
    """
    with connect(addresses.clickhouse("default")) as client:
        client.command(f"DROP DATABASE IF EXISTS {database_of(demo)} SYNC")
    admin = AdminClient({"bootstrap.servers": addresses.bootstrap_servers, "log_level": 2})
    try:
        old = [name for name in admin.list_topics(timeout=TIMEOUT_S).topics if name.startswith(f"{demo}-")]
        for done in admin.delete_topics(old, operation_timeout=TIMEOUT_S).values() if old else ():
            done.result(TIMEOUT_S)
    except KafkaException:
        # Old topics only cost disk space: this run uses other names.
        return
