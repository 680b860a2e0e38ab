"""What tests of the whole path share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from tests.support.pipeline import Pipeline
from warehouse.client import Address


@pytest.fixture
def pipeline(
    broker: LocalKafka, engine: LocalClickHouse, database: str, topic_prefix: str, tmp_path: Path
) -> Iterator[Pipeline]:
    """A pipeline of a test's own on the run's broker and engine, on the replay clock; its processors end with it."""
    made = Pipeline(broker.bootstrap_servers, Address(engine.host, engine.port, database), topic_prefix, tmp_path)
    yield made
    made.stop()
