"""Clocks: this machine's against the broker's and the warehouse's.

Windows rest on when Kafka took an event, and silence is sealed by when a sketcher found a partition read to its end: by
its own clock, and never later than when Kafka took its record. So one whose clock is behind seals late by as much, and
a broker's clock that is wrong puts events aside that are not.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from cli.doctor.finding import Finding, look, ok, unknown, wrong
from cli.settings import Settings
from streams.broker.client import explain
from warehouse.client import Client

PART = "Clocks"
LOOK_S, WRONG_S = 1.0, 10.0
"""Differences from which on a clock should be looked at, and is wrong: verdicts are as late as the clock is, and by
default events are late after three minutes."""
TRY_S = 20.0
MEND = "Have both machines set their clocks by NTP (`timedatectl`, chrony)."


def check_warehouse(client: Client, clock: Callable[[], float]) -> Iterator[Finding]:
    """Compare with the warehouse's clock."""
    before_s = clock()
    told_ms = client.rows("SELECT toUnixTimestamp64Milli(now64(3))")[0][0]
    yield _judged(f"ClickHouse at {client.where}", told_ms / 1000, before_s, clock())


def check_broker(settings: Settings, admin: AdminClient, clock: Callable[[], float]) -> Iterator[Finding]:
    """Compare with the broker's clock, which only a message tells; on the way it shows that transactions work.

    A topic of its own is made for it and deleted again.
    """
    topic = f"{settings.topic_prefix}doctor-{uuid.uuid4().hex[:8]}"
    try:
        _make(admin, topic)
    except KafkaException as error:
        yield unknown(
            PART,
            f"The broker's clock and transactions were not tried: the topic {topic} could not be made "
            f"({error.args[0].str()}).",
            "Run the doctor as the user of `barograph apply`, which may create topics.",
        )
        return
    try:
        yield from _tried(settings, topic, clock)
    except KafkaException as error:
        yield wrong("Kafka", str(explain(error, "commit a transaction")))
    finally:
        for future in admin.delete_topics([topic], operation_timeout=TRY_S).values():
            try:
                future.result(TRY_S)
            except KafkaException:
                yield look("Kafka", f"The doctor's own topic {topic} could not be deleted.", "Delete it by hand.")


def _make(admin: AdminClient, topic: str) -> None:
    wanted = NewTopic(topic, 1, -1, config={"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"})
    admin.create_topics([wanted], operation_timeout=TRY_S)[topic].result(TRY_S)


def _tried(settings: Settings, topic: str, clock: Callable[[], float]) -> Iterator[Finding]:
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "transactional.id": topic,
            "transaction.timeout.ms": int(TRY_S * 1000),
            "linger.ms": 0,
            "log_level": 0,
            **settings.kafka,
        }
    )
    told: list[tuple[float, float]] = []

    def delivered(error: Any, message: Any) -> None:
        if error is None:
            told.append((message.timestamp()[1] / 1000, clock()))

    producer.init_transactions(TRY_S)
    # The first message waits until the producer knows the topic; the second takes one way there and back.
    for _ in range(2):
        producer.begin_transaction()
        before_s = clock()
        producer.produce(topic, b"", on_delivery=delivered)
        producer.flush(TRY_S)
        producer.commit_transaction(TRY_S)
    yield ok("Kafka", "Transactions begin and commit.")
    if len(told) == 2:
        yield _judged(f"Kafka at {settings.bootstrap_servers}", told[1][0], before_s, told[1][1])


def _judged(whose: str, told_s: float, before_s: float, after_s: float) -> Finding:
    """Hold a clock against ours; it was read somewhere between two moments of ours."""
    ahead_s = told_s - (before_s + after_s) / 2
    unsure_s = abs(after_s - before_s) / 2 + 0.001
    surely_s = max(0.0, abs(ahead_s) - unsure_s)
    direction = "ahead of" if ahead_s > 0 else "behind"
    text = f"The clock of {whose} is {abs(ahead_s):,.1f} s {direction} this machine's (± {unsure_s:.2g} s)."
    if surely_s >= WRONG_S:
        return wrong(PART, text, MEND)
    if surely_s >= LOOK_S:
        return look(PART, text, MEND)
    return ok(PART, f"The clock of {whose} agrees with this machine's (± {max(unsure_s, abs(ahead_s)):.2g} s).")
