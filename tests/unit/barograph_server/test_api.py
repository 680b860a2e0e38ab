"""The Python API: its names, what they load, and that no file beside a program replaces a module of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import barograph_server

FUNCTIONS = ("apply", "backfill", "check", "compare", "decide", "evaluate", "infer", "plan", "rates", "skew")


def typed_names() -> Iterator[tuple[str, str]]:
    tree = ast.parse(Path(barograph_server.__file__).read_text("utf-8"))
    block = next(each for each in tree.body if isinstance(each, ast.If))
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.module is not None
        for alias in statement.names:
            yield alias.name, statement.module


def test_every_public_name_resolves_and_is_known_to_type_checkers() -> None:
    typed = dict(typed_names())
    assert sorted(typed) == sorted(barograph_server.__all__)
    assert set(FUNCTIONS) <= set(dir(barograph_server))
    assert set(barograph_server.__all__) <= set(dir(barograph_server))
    for name, module in typed.items():
        assert getattr(barograph_server, name) is getattr(import_module(module), name)
        assert not Path(barograph_server.__file__).with_name(name).exists(), "a package has the name of a function"
    for name in FUNCTIONS:
        assert getattr(barograph_server, name).__doc__, name
    with pytest.raises(AttributeError, match="module 'barograph_server' has no attribute 'comparison'"):
        _ = barograph_server.comparison


def test_the_import_loads_no_library() -> None:
    heavy = "{'numpy', 'scipy', 'pyarrow', 'confluent_kafka', 'clickhouse_connect', 'faust', 'chdb', 'typer'}"
    code = f"import barograph_server, sys; dir(barograph_server); print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_files_beside_a_program_replace_no_module(tmp_path: Path) -> None:
    for name in ("cli.py", "streams.py", "warehouse.py", "alerts/rules.py", "examples/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('a file of the user was imported')\n")
    command = Path(sys.executable).with_name("barograph")
    code = "from barograph_server import compare; print(compare.__module__)"
    for words, expected in (
        ((sys.executable, "-c", code), "barograph_server.batch.compare.compare"),
        ((command, "--help"), "Usage: barograph"),
    ):
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout
