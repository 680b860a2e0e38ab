"""What tests of alerts share: a laid out database, empty for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.clickhouse import LocalClickHouse
from tests.support.warehouse import emptied, migrated
from warehouse.client import Client


@pytest.fixture(scope="module")
def filled(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        yield client


@pytest.fixture
def client(filled: Client) -> Client:
    return emptied(filled)
