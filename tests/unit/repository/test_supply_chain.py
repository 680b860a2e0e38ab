"""Installed packages match their locked hashes, and no format that is read can execute code."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.repository.test_files import FILES

ROOT = Path(__file__).resolve().parents[3]
OPENS_CODE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
"""Modules whose formats execute code when they are read."""
SHA_256 = re.compile(r"sha256:[0-9a-f]{64}")


def test_every_package_of_the_lock_has_hashes() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    own = {"barograph", "barograph-app"}
    unverified = []
    for package in lock["package"]:
        if package["name"] in own:
            assert package["source"].keys() == {"editable"}
            continue
        files: list[dict[str, Any]] = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        if "registry" not in package["source"] or not files:
            unverified.append(package["name"])
        unverified += [package["name"] for file in files if SHA_256.fullmatch(file.get("hash", "")) is None]
    assert len(lock["package"]) > 50
    assert not unverified


def test_every_jar_has_its_hash() -> None:
    lines = [line for line in (ROOT / "local/kafka-jars.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert not [line for line in lines if re.fullmatch(r"\S+:\S+:\S+\s+[0-9a-f]{64}", line) is None]


def test_installations_use_the_lock_file_unchanged() -> None:
    for name in ("Makefile", "Dockerfile"):
        synced = [line for line in FILES[name].splitlines() if re.search(r"\buv\S* sync\b", line)]
        assert synced, name
        assert all("--locked" in line or "--frozen" in line for line in synced), name


def unsafe_modules(tree: ast.AST) -> list[str]:
    """Modules of a program whose formats execute code when read, however they are imported."""
    modules = []
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
        modules += [name for name in names if name.partition(".")[0] in OPENS_CODE]
    return modules


def programs_with(words: set[str]) -> Iterator[tuple[str, ast.Module]]:
    """Each Python file that contains one of the words, with its syntax tree."""
    for name, text in FILES.items():
        if name.endswith(".py") and any(word in text for word in words):
            yield name, ast.parse(text)


def test_no_program_reads_formats_that_execute_code() -> None:
    assert {name: wrong for name, tree in programs_with(OPENS_CODE) if (wrong := unsafe_modules(tree))} == {}


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from joblib import load", "__import__('marshal')", "import_module('dill')", "pd.read_pickle(x)"],
)
def test_indirect_imports_are_reported(code: str) -> None:
    assert unsafe_modules(ast.parse(code))


def unsafe_yaml(tree: ast.AST) -> list[str]:
    """Calls of PyYAML that may build any object: all loading functions except `safe_load` and safe loaders."""
    calls = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        name = function.rpartition(".")[2]
        if function.startswith("yaml.") and name in ("load", "load_all", "compose", "compose_all"):
            loaders = [*map(ast.unparse, node.args[1:]), *(ast.unparse(each.value) for each in node.keywords)]
            if not any("Safe" in loader for loader in loaders):
                calls.append(function)
        if name in ("full_load", "full_load_all", "unsafe_load", "unsafe_load_all", "UnsafeLoader", "FullLoader"):
            calls.append(function)
    return calls


def test_yaml_is_loaded_safely_everywhere() -> None:
    words = {"yaml.", "full_load", "unsafe_load", "UnsafeLoader", "FullLoader"}
    assert {name: wrong for name, tree in programs_with(words) if (wrong := unsafe_yaml(tree))} == {}


@pytest.mark.parametrize(
    "code",
    ["yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)", "yaml.unsafe_load(text)", "yaml.FullLoader(text)"],
)
def test_unsafe_loaders_are_reported(code: str) -> None:
    assert unsafe_yaml(ast.parse(code))
