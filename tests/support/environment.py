"""The environment of commands under test."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.local.kafka_jars import cache_dir
from barograph_server.settings import CONFIG_VARIABLE, KEYS, OTHER_VARIABLES, Settings
from barograph_server.warehouse.client import Address, connect


def unset_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BAROGRAPH_")]:
        monkeypatch.delenv(name)


def documented_environment(folder: Path) -> dict[str, str]:
    """Every variable that docs/commands.md lists: settings at their defaults, all others and secrets with a value."""
    (folder / "barograph.toml").touch()
    special = {"grafana.url": "", "grafana.clickhouse_port": 8123, "clickhouse.secure": "false", "metrics.port": 0}
    special |= {"evaluator.endpoints": "", "scrape.targets": ""}
    values = {key.variable: special.get(key.name, key.default) for key in KEYS.values()}
    values |= dict.fromkeys((key.variable for key in KEYS.values() if key.setting.is_secret), "a-secret")
    values |= dict.fromkeys(OTHER_VARIABLES, "a-secret-of-sixteen-bytes")
    values |= {CONFIG_VARIABLE: folder / "barograph.toml", "BAROGRAPH_CACHE": cache_dir()}
    return {name: str(value) for name, value in {**values, "BAROGRAPH_HOME": folder / ".barograph"}.items()}


def enter_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, where: Address, *lines: str) -> None:
    monkeypatch.chdir(folder)
    unset_settings(monkeypatch)
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", where.password)
    write_settings(Path("barograph.toml"), where, *lines)


def write_settings(path: Path, where: Address, *lines: str, sections: str = "") -> str:
    """Write a settings file with lines, the address of a database and further sections; return its path."""
    keys = ("host", "port", "database", "username")
    path.write_text(
        "\n".join([*lines, "[clickhouse]", *(f"{key} = {getattr(where, key)!r}" for key in keys), sections])
    )
    return str(path)


def kafka_lines(bootstrap: str, prefix: str) -> str:
    return f'bootstrap_servers = "{bootstrap}"\ntopic_prefix = "{prefix}"'


@contextmanager
def installation(broker: LocalKafka, engine: LocalClickHouse, prefix: str, **settings: Any) -> Iterator[Settings]:
    address = engine.address(prefix.rstrip("-"))
    yield Settings(bootstrap_servers=broker.bootstrap_servers, warehouse=address, topic_prefix=prefix, **settings)
    with connect(dataclasses.replace(address, database="default")) as client:
        client.command(f"DROP DATABASE IF EXISTS {address.database}")
