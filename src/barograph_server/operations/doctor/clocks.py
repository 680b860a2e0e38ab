"""Checks of clocks: this machine's compared with those of the broker and of ClickHouse.

Windows use the time at which Kafka received an event. A sketcher that has read a partition to its end seals up to its
own clock, but never later than the time of Kafka's record. So a sketcher whose clock is behind seals late by that
difference, and a broker whose clock is wrong causes valid events to be dead-lettered.
"""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.finding import Finding, error, ok, unknown, warning
from barograph_server.settings import Settings
from barograph_server.streams.broker.client import explain
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.server import server_clock_ms

COMPONENT = "Clocks"
WARNING_S, ERROR_S = 1.0, 10.0
"""Differences in seconds that are a warning and an error. Verdicts are late by the difference, and by default events
are late after three minutes."""
TIMEOUT_S = 20.0
"""Time limit of one request to Kafka, in seconds."""
SYNCHRONIZE = "Synchronize both machines by NTP (`timedatectl`, chrony)."


def check_warehouse_clock(client: Client, clock: Callable[[], float]) -> Iterator[Finding]:
    """Compare this machine's clock with that of ClickHouse."""
    before_s = clock()
    server_ms = server_clock_ms(client)
    yield compare_clocks(f"ClickHouse at {client.where}", server_ms / 1000, before_s, clock())


def check_broker_clock(settings: Settings, admin: AdminClient, clock: Callable[[], float]) -> Iterator[Finding]:
    """Compare this machine's clock with the broker's, and check that transactions work.

    Kafka exposes its clock only as the timestamp of a message, so the check creates a temporary topic and deletes it.
    """
    topic = f"{settings.topic_prefix}doctor-{uuid.uuid4().hex[:8]}"
    config = {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"}
    try:
        created = admin.create_topics([NewTopic(topic, 1, -1, config=config)], operation_timeout=TIMEOUT_S)
        created[topic].result(TIMEOUT_S)
    except KafkaException as cause:
        yield unknown(
            COMPONENT,
            f"The broker's clock and transactions were not checked: the topic {topic} could not be created "
            f"({cause.args[0].str()}).",
            "Run the doctor as the user of `barograph apply`, which may create topics.",
        )
        return
    try:
        yield from _send_and_compare(settings, topic, clock)
    except KafkaException as cause:
        yield error("Kafka", str(explain(cause, "commit a transaction")))
    finally:
        for future in admin.delete_topics([topic], operation_timeout=TIMEOUT_S).values():
            try:
                future.result(TIMEOUT_S)
            except KafkaException:
                yield warning("Kafka", f"The temporary topic {topic} could not be deleted.", "Delete it by hand.")


def _send_and_compare(settings: Settings, topic: str, clock: Callable[[], float]) -> Iterator[Finding]:
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "transactional.id": topic,
            "transaction.timeout.ms": int(TIMEOUT_S * 1000),
            "linger.ms": 0,
            "log_level": 0,
            **settings.kafka,
        }
    )
    deliveries: list[tuple[float, float]] = []
    """Broker's time and ours of each delivered message, in seconds."""

    def on_delivery(failure: Any, message: Any) -> None:
        if failure is None:
            deliveries.append((message.timestamp()[1] / 1000, clock()))

    producer.init_transactions(TIMEOUT_S)
    # The first message waits for the topic's metadata; the second measures one round trip.
    for _ in range(2):
        producer.begin_transaction()
        before_s = clock()
        producer.produce(topic, b"", on_delivery=on_delivery)
        producer.flush(TIMEOUT_S)
        producer.commit_transaction(TIMEOUT_S)
    yield ok("Kafka", "Transactions begin and commit.")
    if len(deliveries) == 2:
        broker_s, after_s = deliveries[1]
        yield compare_clocks(f"Kafka at {settings.bootstrap_servers}", broker_s, before_s, after_s)


def compare_clocks(server: str, server_s: float, before_s: float, after_s: float) -> Finding:
    """Compare a server's time with ours, which was between `before_s` and `after_s` when the server read its clock."""
    ahead_s = server_s - (before_s + after_s) / 2
    error_s = abs(after_s - before_s) / 2 + 0.001
    certain_s = max(0.0, abs(ahead_s) - error_s)
    direction = "ahead of" if ahead_s > 0 else "behind"
    text = f"The clock of {server} is {abs(ahead_s):,.1f} s {direction} this machine's (± {error_s:.2g} s)."
    if certain_s >= ERROR_S:
        return error(COMPONENT, text, SYNCHRONIZE)
    if certain_s >= WARNING_S:
        return warning(COMPONENT, text, SYNCHRONIZE)
    return ok(COMPONENT, f"The clock of {server} agrees with this machine's (± {max(error_s, abs(ahead_s)):.2g} s).")
