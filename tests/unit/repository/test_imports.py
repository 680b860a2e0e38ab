"""Imports point one way, and no room reaches into another's private names."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[3]

MAY_IMPORT: dict[str, frozenset[str]] = {}
"""Room → the rooms that it may import: all below it. Rooms of one level do not import one another."""
for level in (
    ("barograph",),
    ("sketches",),
    ("warehouse",),
    ("streams", "dashboards"),
    ("alerts",),
    ("local",),
    ("examples",),
    ("cli",),
):
    below = frozenset(MAY_IMPORT)
    MAY_IMPORT.update(dict.fromkeys(level, below))

NO_IO_NO_CLOCK = {
    "asyncio", "confluent_kafka", "clickhouse_connect", "chdb", "datetime", "faust", "http", "io", "os", "pathlib",
    "random", "shutil", "socket", "subprocess", "sys", "tempfile", "time", "urllib",
}  # fmt: skip


class Import(NamedTuple):
    """One import statement's target, as `module` and, for `from module import name`, the name."""

    file: Path
    line: int
    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}: {self.module} {self.name}".rstrip()


def folder(room: str) -> Path:
    return ROOT / "client/src/barograph" if room == "barograph" else ROOT / room


ROOMS = [room for room in MAY_IMPORT if folder(room).is_dir()]


def imports(room: str) -> Iterator[Import]:
    """All imports of a room, those inside functions and of type checkers too."""
    for file in sorted(folder(room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (Import(file, node.lineno, alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}:{node.lineno}: write imports absolutely"
                yield from (Import(file, node.lineno, node.module or "", alias.name) for alias in node.names)


def room_of(found: Import) -> str:
    return found.module.partition(".")[0]


def test_every_room_is_known() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {"barograph", *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    wrong = [str(found) for found in imports(room) if room_of(found) in MAY_IMPORT and room_of(found) not in allowed]
    assert not wrong, f"{room} may import {sorted(allowed)}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_uses_anothers_private_names(room: str) -> None:
    def private(found: Import) -> bool:
        return any(part.startswith("_") and part != "__future__" for part in (*found.module.split("."), found.name))

    wrong = [str(found) for found in imports(room) if room_of(found) in MAY_IMPORT.keys() - {room} and private(found)]
    assert not wrong


def test_sketches_know_no_io_and_no_clock() -> None:
    wrong = [str(found) for found in imports("sketches") if room_of(found) in NO_IO_NO_CLOCK]
    assert not wrong


def test_the_client_needs_only_its_own_dependencies() -> None:
    project = tomllib.loads((folder("barograph").parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {
        {"pyyaml": "yaml", "confluent-kafka": "confluent_kafka"}.get(name, name)
        for name in (dependency.partition(">")[0] for dependency in project["project"]["dependencies"])
    }
    foreign = {room_of(found) for found in imports("barograph")} - {"barograph", *sys.stdlib_module_names}
    # Whoever passes a pandas table has pandas; it is asked for by name and never required.
    assert foreign - {"pandas", "polars"} == declared


def users(libraries: set[str], rooms: list[str]) -> set[str]:
    return {
        found.file.relative_to(folder(room).parent).as_posix()
        for room in rooms
        for found in imports(room)
        if room_of(found) in libraries
    }


def test_only_the_publisher_knows_kafka_in_the_client() -> None:
    assert users({"confluent_kafka"}, ["barograph"]) == {"barograph/publisher/outbox.py"}
    assert not users({"confluent_kafka"}, ["sketches", "warehouse"])


def test_faust_is_known_to_one_module_alone() -> None:
    assert users({"faust", "mode", "aiokafka"}, ROOMS) == {"streams/monitor/app.py"}


def test_grafanas_client_is_known_where_it_is_called_alone() -> None:
    assert users({"grafana_client", "niquests"}, ROOMS) == {
        "cli/apply/grafana/client.py",
        "cli/apply/grafana/errors.py",
    }
