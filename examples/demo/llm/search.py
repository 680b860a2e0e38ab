"""Searches a text in everything that the pipeline has stored: all topics of a run, and all tables of a database."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from barograph_server.examples.demo.queries import rows_with_text
from barograph_server.settings import Settings
from barograph_server.streams.broker.client import consumer_config
from barograph_server.streams.broker.reread import reread
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.server import tables

TIMEOUT_S = 30.0
_MESSAGES, _POLL_S = 1000, 1.0


def topics_with(settings: Settings, text: str) -> tuple[int, list[str]]:
    """Return how many messages were searched, and the topics of the run that have the text in a key or value."""
    needle, searched, matches = text.encode(), 0, []
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 2})
    topics = admin.list_topics(timeout=TIMEOUT_S).topics
    processor = settings.processor()
    for topic in sorted(name for name in topics if name.startswith(settings.topic_prefix)):
        ranges = _ranges(processor, topic, list(topics[topic].partitions))
        for messages in reread(processor, "search", topic, ranges, poll_messages=_MESSAGES, poll_s=_POLL_S):
            searched += len(messages)
            if any(needle in (message.value() or b"") or needle in (message.key() or b"") for message in messages):
                matches.append(topic)
    return searched, sorted(set(matches))


def tables_with(client: Client, text: str) -> tuple[int, list[str]]:
    """Return how many rows were searched, and the tables that have the text in a column."""
    searched, matches = 0, []
    for table in tables(client, stored=True):
        rows, hits = rows_with_text(client, table, text)
        searched += rows
        if hits:
            matches.append(table)
    return searched, matches


def _ranges(processor: ProcessorSettings, topic: str, partitions: list[int]) -> dict[int, tuple[int, int]]:
    consumer = Consumer(consumer_config(processor, "search"))
    try:
        return {each: consumer.get_watermark_offsets(TopicPartition(topic, each), TIMEOUT_S) for each in partitions}
    finally:
        consumer.close()
