"""Fixtures of the tests of alerts: a migrated database, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.clickhouse import LocalClickHouse
from tests.support.warehouse import emptied, migrated
from warehouse.client import Client


@pytest.fixture(scope="module")
def migrated_client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        yield client


@pytest.fixture
def client(migrated_client: Client) -> Client:
    return emptied(migrated_client)
