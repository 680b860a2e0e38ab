"""What is installed is what was locked, byte for byte; what is read cannot run."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.repository.test_code import OPENS_CODE
from tests.unit.repository.test_files import FILES

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = {name: ast.parse(text) for name, text in FILES.items() if name.endswith(".py")}
SHA_256 = re.compile(r"sha256:[0-9a-f]{64}")


def test_every_package_of_the_lock_has_hashes() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    ours = {"barograph", "barograph-app"}
    strange = []
    for package in lock["package"]:
        if package["name"] in ours:
            assert package["source"].keys() == {"editable"}
            continue
        files: list[dict[str, Any]] = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        if "registry" not in package["source"] or not files:
            strange.append(package["name"])
        strange += [package["name"] for file in files if SHA_256.fullmatch(file.get("hash", "")) is None]
    assert len(lock["package"]) > 50
    assert not strange


def test_every_jar_has_its_hash() -> None:
    lines = [line for line in (ROOT / "local/kafka-jars.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert not [line for line in lines if re.fullmatch(r"\S+:\S+:\S+\s+[0-9a-f]{64}", line) is None]


def test_installations_take_the_lock_as_it_is() -> None:
    for name in ("Makefile", "Dockerfile"):
        synced = [line for line in FILES[name].splitlines() if re.search(r"\buv\S* sync\b", line)]
        assert synced, name
        assert all("--locked" in line or "--frozen" in line for line in synced), name


def opened(tree: ast.AST) -> list[str]:
    """Modules of a program whose formats run what is in them, however they are imported."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "import_module",
            "importlib.import_module",
        ):
            names = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        elif isinstance(node, ast.Attribute) and node.attr in ("read_pickle", "to_pickle"):
            names = ["pickle"]
        found += [name for name in names if name.partition(".")[0] in OPENS_CODE]
    return found


def test_no_program_opens_what_could_run() -> None:
    assert {name: wrong for name, tree in PROGRAMS.items() if (wrong := opened(tree))} == {}


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from joblib import load", "__import__('marshal')", "import_module('dill')", "pd.read_pickle(x)"],
)
def test_other_ways_in_are_found(code: str) -> None:
    assert opened(ast.parse(code))


def unsafe_yaml(tree: ast.AST) -> list[str]:
    """Calls of PyYAML that may build any object: all that load, but for `safe_load` and a safe loader."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        if called.startswith("yaml.") and name in ("load", "load_all", "compose", "compose_all"):
            loaders = [*map(ast.unparse, node.args[1:]), *(ast.unparse(each.value) for each in node.keywords)]
            if not any("Safe" in loader for loader in loaders):
                found.append(called)
        if name in ("full_load", "full_load_all", "unsafe_load", "unsafe_load_all", "UnsafeLoader", "FullLoader"):
            found.append(called)
    return found


def test_yaml_is_read_safely_everywhere() -> None:
    assert {name: wrong for name, tree in PROGRAMS.items() if (wrong := unsafe_yaml(tree))} == {}


@pytest.mark.parametrize(
    "code",
    ["yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)", "yaml.unsafe_load(text)", "yaml.FullLoader(text)"],
)
def test_unsafe_ways_are_found(code: str) -> None:
    assert unsafe_yaml(ast.parse(code))
