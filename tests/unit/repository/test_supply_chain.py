"""Installed packages match their locked hashes, and no format that is read can execute code."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def test_every_build_requirement_has_hashes_and_uv_requires_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    settings = project["tool"]["uv"]
    assert settings["require-build-hashes"] is True
    constraints = {each["requirement"]: each["hashes"] for each in settings["build-constraint-dependencies"]}
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", name) for name in constraints)
    assert all(hashes and all(map(SHA_256.fullmatch, hashes)) for hashes in constraints.values())
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    locked = {f"{each['name']}{each['specifier']}": each["hashes"] for each in lock["manifest"]["build-constraints"]}
    assert locked == constraints
    for path in ("pyproject.toml", "client/pyproject.toml"):
        build = tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["build-system"]
        assert set(build["requires"]) <= constraints.keys(), path


def test_uv_of_every_platform_has_its_hash_and_is_new_enough() -> None:
    lines = [line.rstrip(" \\") for line in FILES["tools/uv.txt"].splitlines() if not line.startswith("#")]
    assert re.fullmatch(r"uv==\d+\.\d+\.\d+", lines[0])
    assert len(lines) > 10
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in lines[1:])
    minimum = re.search(r"^readonly MINIMUM=([0-9.]+)", FILES["tools/uv"], re.MULTILINE)
    assert minimum is not None
    # The first version with require-build-hashes; older versions ignore it.
    assert tuple(map(int, minimum[1].split("."))) >= (0, 13, 0)


def test_the_compose_validator_is_built_from_hashed_modules() -> None:
    commands = re.findall(r"go (?:install|build|run) .*", FILES["Makefile"])
    assert commands
    assert all("-mod=readonly" in command and "@" not in command.replace("$@", "") for command in commands)
    required = re.findall(r"^\s(\S+ v\S+)", FILES["tools/compose-validator/go.mod"], re.MULTILINE)
    hashed = {" ".join(line.split()[:2]) for line in FILES["tools/compose-validator/go.sum"].splitlines()}
    assert required
    assert set(required) <= hashed


def test_grafanas_package_is_installed_from_the_lock_with_a_hash_of_every_package() -> None:
    packages = json.loads(FILES["tests/grafana_data/package-lock.json"])["packages"]
    unverified = [
        name
        for name, package in packages.items()
        if name and re.fullmatch(r"sha512-[\w+/]{86}==", package.get("integrity", "")) is None
    ]
    assert len(packages) > 50
    assert not unverified
    commands = re.findall(r"npm .*", FILES["Makefile"])
    assert commands == ["npm ci --ignore-scripts --no-audit --no-fund"]


WORKFLOWS = {name: text for name, text in FILES.items() if name.startswith(".github/workflows/")}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_pin_actions_by_commit_and_get_no_more_than_read_access(name: str) -> None:
    uses = re.findall(r"uses: (.*)", WORKFLOWS[name])
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    workflow = yaml.safe_load(WORKFLOWS[name])
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_audit_has_its_own_group_that_nothing_else_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "audit" not in project["tool"]["uv"]["default-groups"]
    assert not [
        name
        for name, group in project["dependency-groups"].items()
        if name != "audit" and any(each == {"include-group": "audit"} or "pip-audit" in each for each in group)
    ]
    (audit,) = re.findall(r"^\t.*--only-group audit.*$", FILES["Makefile"], re.MULTILINE)
    assert "--isolated" in audit
    assert "--locked" in audit


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
