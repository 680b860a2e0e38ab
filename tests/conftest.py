"""Fixtures of all tests: one broker and one engine per run; the markers that select a level, and shards."""

import gc
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import clickhouse_connect
import pytest
import structlog
from hypothesis import settings

from barograph_server.local.child_process import PartMissingError
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.warehouse.client import Client
from tests.support import command_line
from tests.support.command_line import OutputOf
from tests.support.missing_dependencies import skip_without
from tests.support.shared_servers import SERVERS, SharedServers, shared
from tests.support.warehouse import emptied, login, migrated

_TESTS = Path(__file__).parent

# How long an example takes depends on the machine.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shard", metavar="I/N", help="run the I-th of N parts of the selected tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        fixtures: list[str] = getattr(item, "fixturenames", [])
        for name in ("broker", "engine"):
            if name in fixtures:
                item.add_marker(name)
        if item.path.is_relative_to(_TESTS / "integration") and item.get_closest_marker("smoke") is None:
            item.add_marker("integration")
    if shard := config.getoption("shard"):
        number, count = map(int, shard.split("/"))
        selected = [item for item in items if _shard(item, count) == number]
        config.hook.pytest_deselected(items=[item for item in items if _shard(item, count) != number])
        items[:] = selected


def _shard(item: pytest.Item, count: int) -> int:
    """Return the part of a test, 1 to `count`: all cases of a function are in one part."""
    return crc32(item.nodeid.partition("[")[0].encode()) % count + 1


def pytest_collection_finish() -> None:
    # Thousands of tests and their modules are alive to the end: without this, each full garbage collection visits them.
    gc.collect()
    gc.freeze()


_SHARED_SERVERS = pytest.StashKey[SharedServers]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    stash: pytest.Stash = node.config.stash
    if _SHARED_SERVERS not in stash:
        stash[_SHARED_SERVERS] = SharedServers()
    node.workerinput["shared_servers"] = str(stash[_SHARED_SERVERS].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    servers = config.stash.get(_SHARED_SERVERS, None)
    if servers is not None:
        servers.close()
    # Frozen objects would be reported as leaks when the process ends.
    gc.unfreeze()


def _server(config: pytest.Config, paths: pytest.TempPathFactory, name: str) -> Iterator[Any]:
    """The server of the run, or one of this process where pytest runs without workers."""
    folder = getattr(config, "workerinput", {}).get("shared_servers")
    try:
        if folder is not None:
            yield shared(Path(folder), name)
            return
        server = SERVERS[name](paths.mktemp("server"), port=0)
        server.start()
    except PartMissingError as error:
        skip_without(error)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    yield from _server(pytestconfig, tmp_path_factory, "kafka")


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClickHouse]:
    yield from _server(pytestconfig, tmp_path_factory, "clickhouse")


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """Undo what a test configured: pytest closes the file that was standard error then."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def output_of(capsys: pytest.CaptureFixture[str]) -> OutputOf:
    return partial(command_line.output_of, capsys)


@pytest.fixture
def topic_prefix() -> str:
    """What a test begins its topics', groups' and transactional ids' names with, so that no two meet."""
    return f"t{uuid.uuid4().hex[:10]}-"


@pytest.fixture
def database(engine: LocalClickHouse) -> Iterator[str]:
    name = f"t{uuid.uuid4().hex[:10]}"
    with clickhouse_connect.get_client(**login(engine.address())) as client:
        client.command(f"CREATE DATABASE {name}")
        yield name
        client.command(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def migrated_client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        yield client


@pytest.fixture
def client(migrated_client: Client) -> Client:
    return emptied(migrated_client)
