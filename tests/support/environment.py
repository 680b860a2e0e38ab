"""The environment of commands under test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from barograph_server.warehouse.client import Address


def unset_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the settings in the environment, so that a command reads those of the test alone."""
    for name in [name for name in os.environ if name.startswith("BAROGRAPH_")]:
        monkeypatch.delenv(name)


def enter_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, where: Address, *lines: str) -> None:
    """Change to a folder whose settings file has some lines and names a database."""
    monkeypatch.chdir(folder)
    unset_settings(monkeypatch)
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", where.password)
    database = f'host = "{where.host}"\nport = {where.port}\ndatabase = "{where.database}"'
    Path("barograph.toml").write_text("\n".join([*lines, "[clickhouse]", database, ""]))
