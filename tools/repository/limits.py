"""Values of the repository stay within `tools/budgets.toml`; `python -m tools.repository` prints them."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from tools.repository.imports import imports_of, no_modules_import_each_other_in_a_cycle
from tools.repository.tree import PACKAGES, Repository, check, package_of

CLI = "barograph_server.cli"
BUDGETS = "tools/budgets.toml"
CHANGELOG = "CHANGELOG.md"
_TAG = re.compile(r"<(svg|html|div|p|ul|li|table|tr|td|section|span|h[1-6]|rect|line|path|circle|polyline)[ >]")
LARGEST = 8
"""A finding names this many parts of a value that is too high."""
MANY_PARAMETERS = 10


class Limit(NamedTuple):
    """A value of the repository, as the sum of its parts, and the most that it may be."""

    name: str
    most: int
    parts: Mapping[str, int]


def _each(names: Iterable[str]) -> dict[str, int]:
    return dict.fromkeys(names, 1)


def _lines(repository: Repository, names: Iterable[str]) -> dict[str, int]:
    return {path: repository.texts[path].count("\n") for path in names}


def _cli_imports(repository: Repository, paths: Iterable[str]) -> dict[str, int]:
    """Find the pairs of a file and a module of cli that it imports, also inside functions."""
    pairs = set()
    for path in paths:
        for target in imports_of(path, ast.walk(repository.tree(path))):
            module = f"{target.module}.{target.name}" if target.module in ("barograph_server", CLI) else target.module
            if f"{module}.".startswith(f"{CLI}."):
                pairs.add(f"{path} → {module.removeprefix(f'{CLI}.')}")
    return _each(pairs)


def _importers_of_cli(repository: Repository) -> dict[str, int]:
    others = [path for path in repository.python() if not path.startswith(("cli/", "tests/", "tools/"))]
    others = [path for path in others if "cli" in repository.texts[path]]
    return _each(pair.partition(" ")[0] for pair in _cli_imports(repository, others))


def _imports_among_packages(repository: Repository) -> dict[str, int]:
    pairs = set()
    for path in repository.product():
        package = package_of(path)
        targets = {target.package for target in imports_of(path, ast.walk(repository.tree(path)))}
        pairs |= {f"{package} → {target}" for target in targets & PACKAGES.keys() - {package}}
    return _each(pairs)


def _long_signatures(repository: Repository) -> dict[str, int]:
    signatures = []
    for path in repository.product():
        for node in ast.walk(repository.tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if sum(each.arg not in ("self", "cls") for each in parameters) >= MANY_PARAMETERS:
                    signatures.append(f"{path}:{node.lineno}")
    return _each(signatures)


def _files_with_text(repository: Repository, pattern: re.Pattern[str], without: str = "") -> dict[str, int]:
    """Find the product's files, without those of a folder, with a pattern in a text that is no docstring."""
    paths = [path for path in repository.product() if not (without and path.startswith(without))]
    return _each(
        path for path in paths if pattern.search(repository.texts[path]) and _has_text(repository.tree(path), pattern)
    )


def _has_text(tree: ast.Module, pattern: re.Pattern[str]) -> bool:
    nodes = list(ast.walk(tree))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return any(isinstance(node.value, str) and pattern.search(node.value) for node in texts)


LAYOUT: dict[str, Callable[[Repository], Mapping[str, int]]] = {
    "files outside cli/, tests/ and tools/ that import cli/": _importers_of_cli,
    "functions with ten or more parameters": _long_signatures,
    "imports among packages": _imports_among_packages,
    "imports among modules of cli/": lambda repository: _cli_imports(repository, repository.python("cli")),
    "modules in warehouse/ outside its folders": lambda repository: _each(
        path for path in repository.names if re.fullmatch(r"warehouse/\w+\.py", path)
    ),
    "product files with SELECT outside warehouse/": lambda repository: _files_with_text(
        repository, re.compile(r"\bSELECT\s"), "warehouse/"
    ),
    "product files with tags of HTML or SVG outside templates": lambda repository: _files_with_text(repository, _TAG),
    "modules in a circle of imports, Python and JavaScript": lambda repository: _each(
        no_modules_import_each_other_in_a_cycle(repository)
    ),
    "packages in the wheel": lambda repository: _each(
        repository.project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ),
    "folders at the root": lambda repository: _each(
        name.partition("/")[0] for name in repository.names if "/" in name and not name.startswith(".")
    ),
}
"""Values of the section `layout` of the budgets."""


@cache
def limits(repository: Repository) -> list[Limit]:
    """Measure all values that have a budget."""
    budgets = repository.toml(BUDGETS)
    lines = [
        Limit(f"lines in {root}/", budget[-1], _lines(repository, repository.python(root)))
        for root, budget in budgets["python-lines"].items()
    ]
    lines.append(Limit("lines of Markdown", budgets["markdown-lines"][-1], _lines(repository, repository.pages())))
    return lines + [Limit(name, budgets["layout"][name][-1], parts(repository)) for name, parts in LAYOUT.items()]


def table(repository: Repository) -> Iterator[str]:
    """Return a line for each limit: the value, the limit, what they count."""
    for name, most, parts in limits(repository):
        yield f"{sum(parts.values()):6,} of {most:6,}  {name}"


@check
def limits_hold(repository: Repository) -> Iterator[str]:
    """No value is above its budget."""
    for name, most, parts in limits(repository):
        if (value := sum(parts.values())) > most:
            largest = sorted(parts, key=lambda part: (-parts[part], part))[:LARGEST]
            yield f"{name}: {value:,} of {most:,}, such as {', '.join(largest)}"


@check
def every_root_has_a_budget(repository: Repository) -> Iterator[str]:
    """Every root folder with Python has a budget of lines."""
    roots = {name.partition("/")[0] for name in repository.python() if "/" in name}
    for root in sorted(roots - repository.toml(BUDGETS)["python-lines"].keys()):
        yield f"{BUDGETS}: no lines for {root}/"


@check
def a_raised_budget_has_a_reason(repository: Repository) -> Iterator[str]:
    """The changelog has a line for each number that was appended to a budget and is above the one before."""
    budgets = repository.toml(BUDGETS)
    named = {**budgets["python-lines"], **budgets["layout"], **budgets["seconds"]}
    entries = [line for line in repository.texts[CHANGELOG].splitlines() if "budget" in line.lower()]
    for name, numbers in {**named, "Markdown": budgets["markdown-lines"]}.items():
        for before, after in pairwise(numbers):
            if after > before and not any(name in entry and f"{after:,}" in entry for entry in entries):
                yield f"{BUDGETS}: {name} rose to {after:,}; say why in {CHANGELOG}, on a line that begins `- Budget`"
