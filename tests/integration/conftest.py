"""What tests of the whole path share."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from barograph_server.local.child_process import PartMissingError
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.local.language_model import LocalLanguageModel
from barograph_server.warehouse.client import Client
from tests.support import scoring
from tests.support.browser import chromium
from tests.support.environment import write_settings
from tests.support.missing_dependencies import skip_without
from tests.support.page_scenes import ServedModels, served_models
from tests.support.pipeline import Pipeline
from tests.support.scoring import DAY_MS, START_MS, Score
from tests.support.shop_model import Shop, make_shop, run_shop
from tests.support.stub_grafana import StubGrafana
from tests.support.warehouse import migrated


@pytest.fixture
def pipeline(broker: LocalKafka, engine: LocalClickHouse, topic_prefix: str, tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline of a test's own on the run's broker and engine, on the replay clock; its processors end with it."""
    with migrated(engine) as client:
        result = Pipeline(broker.bootstrap_servers, engine.address(client.database), topic_prefix, tmp_path)
        yield result
        result.stop()


@pytest.fixture
def config(client: Client, engine: LocalClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    where = engine.address(client.database)
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", where.password)
    return write_settings(tmp_path / "barograph.toml", where)


@pytest.fixture
def stub() -> Iterator[StubGrafana]:
    with StubGrafana() as server:
        yield server


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def shop_pipeline(
    broker: LocalKafka, engine: LocalClickHouse, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    with migrated(engine) as client:
        address, prefix = engine.address(client.database), f"shop{uuid.uuid4().hex[:10]}-"
        result = Pipeline(broker.bootstrap_servers, address, prefix, tmp_path_factory.mktemp("shop"))
        run_shop(result, shop)
        yield result
        result.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(engine: LocalClickHouse) -> Iterator[dict[str, ServedModels]]:
    """The preview of planted incidents, with one and with twelve models."""
    with served_models(engine) as served:
        yield served


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalLanguageModel]:
    model = LocalLanguageModel(tmp_path_factory.mktemp("language-model"), port=0)
    try:
        model.start()
    except PartMissingError as error:
        skip_without(error)
    yield model
    model.stop()


@pytest.fixture
def score(client: Client, engine: LocalClickHouse) -> Score:
    """A scorer of one contract that runs some days after `START_MS`: no week has passed, so there is no reference."""
    address = engine.address(client.database)
    usual: dict[str, Any] = {"clock": lambda: (START_MS + 6 * DAY_MS) / 1000}
    return lambda contract, **changes: scoring.scorer(client, address, contract, **{**usual, **changes})
